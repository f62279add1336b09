"""The command `rondo`: parse, call, print; no rule of the domain."""

import gc

_USUAL = gc.get_threshold()
gc.set_threshold(100_000)  # a command's start makes many objects and no garbage: collections would be a tenth of it


def run_long() -> None:
    """Collect as usual from here on: what runs for long is to keep no garbage.

    What there is at the first call, the modules above all, stays to the end and is not looked at again.
    """
    if gc.get_threshold() != _USUAL:
        gc.freeze()
        gc.set_threshold(*_USUAL)
