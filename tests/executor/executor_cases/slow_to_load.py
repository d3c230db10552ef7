"""A module that takes long to be loaded, and that a row imports."""

import time

time.sleep(1.5)
