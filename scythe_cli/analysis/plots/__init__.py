"""Pictures of results: from columns to numbers, from numbers to shapes, from shapes to a terminal or a file.

What a plot shows is decided before how it is drawn, so that a terminal, an image and a page show the same. It may read
the columns of a run; no picture needs a network.
"""
