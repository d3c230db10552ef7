"""Designs of experiments: sampling files made from an input model's own bounds.

| module | what |
| --- | --- |
| `domains` | from the fields of a model to what can be drawn for them |
| `scales` | numbers, dates and times as positions on an axis, and back as columns |
| `settings` | what the user says of single fields: ranges, values, distributions, levels |
| `variables` | a field that varies: from a number in [0, 1) to a value; its levels |
| `points` | the designs: points of the unit cube |
| `drawing` | all of it together: a table and the record of how it was made |
| `quality` | discrepancy and correlation of a design |
| `record` | the record that is kept in the file and in a run's manifest |
| `writing` | the file itself |
"""

from __future__ import annotations
