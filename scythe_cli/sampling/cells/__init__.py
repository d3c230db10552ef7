"""What single cells mean, and what becomes of their values.

Which reading of a text a field takes, nulls inside nested cells, and values that arrive in another form. It asks
pydantic about values, and reads and writes nothing.
"""
