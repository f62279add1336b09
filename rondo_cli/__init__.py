"""The command `rondo`: parse, call, print; no rule of the domain."""

import gc

USUAL = gc.get_threshold()
gc.set_threshold(10_000)  # a command's start makes many objects and no garbage: collections would be a twentieth of it
