"""The final tables of runs: shown, asked in SQL, compared, made tidy, exported and fetched.

Time and memory do not grow with a table where its first rows or its statistics are enough. It may read tables and
output files from a storage, and write to the folder or file that the user names.
"""
