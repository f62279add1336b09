"""Where a guest's console reads: a file, standard input, or the terminal, which then hands over every key."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rondo_core.errors import UsageError


def own_terminal() -> bool:
    """Whether standard input is a terminal that this process may read now: it is in the foreground."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no standard input, or none with a descriptor
        return False


@contextmanager
def console_input(path: Path | None, wanted: bool) -> Iterator[tuple[int | None, bool]]:
    """Give the descriptor that the console reads, None for none, and whether it is a raw terminal.

    Args: `path`: a file, or "-" for standard input; None: the terminal, where it is `wanted` and there is one.
    Raises: UsageError: the file cannot be read.
    """
    with ExitStack() as stack:
        if path is not None and str(path) != "-":
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise UsageError(f"--input {path}: {error.strerror}; give a file that can be read") from None
            stack.callback(os.close, descriptor)
            yield descriptor, False
        elif own_terminal() and (wanted or path is not None):
            stack.enter_context(_raw(sys.stdin.fileno()))
            yield sys.stdin.fileno(), True
        else:
            yield (sys.stdin.fileno() if path is not None else None), False


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Hand over every key, Ctrl-C too, while this lasts; what is written to the terminal is as ever."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    changed = termios.tcgetattr(descriptor)
    changed[1] = before[1]
    termios.tcsetattr(descriptor, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
