"""What is left on a disk when the power fails: a command's writes are recorded, and the disks built that could be."""
