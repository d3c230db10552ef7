"""Small helpers, under the names that they have in scythe-engine."""
