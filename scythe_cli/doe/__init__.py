"""Designs of experiments: which fields of an input model vary, and the rows of a design over them.

`sample_file.sample_file` makes a sampling file, by way of `domains` (what a field can be), `settings` (what the user
says of it), `variables` (its values) and `rows` (the designs). The room may use what checks sampling files, the record
of a design in a run's folder, the model and what lies below; it knows nothing of engines.
"""
