"""The command `rondo`: parse, call, print; no rule of the domain."""

import gc

_USUAL = gc.get_threshold()
gc.set_threshold(10_000)  # a command's start makes many objects and no garbage: collections would be a twentieth of it


def run_long() -> None:
    """Collect as usual from here on: what runs for long is to keep no garbage."""
    gc.set_threshold(*_USUAL)
