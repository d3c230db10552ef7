"""What commands and notebooks call: one call for each thing that can be done, which returns a typed record.

A service puts the rooms below in order, such as configuration, sampling file, run, engine and tables for an allocation.
It may touch all that lies below; it prints nothing, and does not know how its record will be shown.
"""
