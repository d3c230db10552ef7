"""Arrow tables and Parquet files as such: building arrays, bringing tables to one schema, checksums inside a file.

Nothing here knows what a column means. It may touch the arrays and files that it is handed, and imports nothing of the
package but `errors`.
"""
