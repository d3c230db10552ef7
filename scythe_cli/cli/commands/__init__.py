"""The commands, each group of them in a module that is imported when one of its commands is asked for.

A command turns its arguments into a call of a service, and hands the record to `render` or prints it as JSON. It may
touch its arguments, services, and the output of the process.
"""
