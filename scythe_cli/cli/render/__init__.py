"""From records to what a person reads: tables and lines that fit a terminal of 80 columns.

Text that comes from users or from other programs is cleaned before it is shown. It may touch records and nothing else:
it calls no service and opens no file.
"""
