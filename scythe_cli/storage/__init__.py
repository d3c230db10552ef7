"""A place for files under keys, a local folder or S3, behind one interface.

`opening.open_storage` makes a `base.Storage` of a location; `cache` and `download` fetch files from elsewhere, and
`atomic_files` writes local ones whole or not at all. The room may use `core` and `errors`, turns the errors of the
system and of the clients of S3 and HTTP into `StorageError`, and knows nothing of what the files mean.
"""
