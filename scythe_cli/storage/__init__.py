"""A local folder or an S3 bucket behind one interface, `Storage`, and files fetched from wherever a reference points.

Keys are just keys here: what lies under them is for the rooms above, and what other libraries raise becomes a
`StorageError` before it leaves. It may touch the disk and the network.
"""
