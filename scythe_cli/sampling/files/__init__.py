"""One reader for each format of sampling files: from a path to columns of cells, and to a name for each row."""
