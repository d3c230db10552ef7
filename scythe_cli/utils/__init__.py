"""Small helpers; the public ones keep the names that they have in scythe-engine."""
