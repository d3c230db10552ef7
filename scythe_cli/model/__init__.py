"""What an experiment is: the models of its input and output, their columns, its registration, and what it is called.

These are types, and translations between pydantic models and Arrow tables, the columns of an outcome among them. It may
import a user's modules to find an experiment, and fetch a file when its reference is asked to; it reads and writes no
run.
"""
