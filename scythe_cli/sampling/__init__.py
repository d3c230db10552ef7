"""Sampling files: read as CSV or Parquet, their columns matched with the fields of the model, and every cell validated.

`reading.read_sampling_file` is the way in; `files` has a reader for each format, and `file_validator` asks pydantic
about what the rules for whole columns do not accept, with the help of processes where that pays. The room may use the
executor's protocol, the model and what lies below, and knows nothing of designs, engines or runs.
"""
