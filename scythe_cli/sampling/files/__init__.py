"""The formats of sampling files: CSV, where every cell is text, and Parquet, where columns have types.

Each module turns a file into raw columns that know the line or row each cell comes from. It may read the file, and
leaves what the cells mean to `sampling`.
"""
