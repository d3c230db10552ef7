"""Arrow and Parquet without a domain: arrays made without pandas, types and tables unified, checksums inside of files.

The modules know neither specs nor runs. The room may use `errors` alone.
"""
