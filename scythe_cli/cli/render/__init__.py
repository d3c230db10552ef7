"""Records as a person reads them: lines and tables that fit 80 columns, and that are not cut where they are piped.

Functions take a record of the package and return what Rich prints, or print it where lists of notes belong to it; they
read nothing and decide no exit code, and text that comes from outside goes through `clean`. They may use the records of
any room, and of `cli/` only `output`.
"""
