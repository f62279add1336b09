"""A process's three streams: closed ones, those that stall, and where a guest's console reads and writes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rondo_core.errors import UsageError
from rondo_job.streams import write_all

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = range(3)
_CLOSED = ((STDIN, "stdin", os.O_RDONLY), (STDOUT, "stdout", os.O_RDONLY), (STDERR, "stderr", os.O_WRONLY))


def prepare_streams() -> None:
    """Take the numbers 0 to 2 where they are closed, as some service managers have it, lest a store's file gets one.

    Standard input is at its end then, and complaints go nowhere; but what is written to standard output fails, so that
    no command takes its data for delivered; what fails names standard output.
    """
    for number, name, flags in _CLOSED:
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, flags)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - no path
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(STDOUT, "w", closefd=False)),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=bool(before.line_buffering),
    )


class _Stdout(io.FileIO):
    def write(self, data: ReadableBuffer) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


def to_descriptor(descriptor: int) -> Callable[[bytes], None]:
    """Give what writes bytes to a descriptor, all of them, however long that takes. It raises: OSError."""
    return partial(write_all, descriptor)


def _to_stream(stream: TextIO) -> Callable[[bytes], object]:
    try:
        return to_descriptor(stream.fileno())
    except (OSError, ValueError):  # one that is in memory only
        return lambda data: stream.write(data.decode(errors="replace"))


@contextmanager
def unstalled_stderr() -> Iterator[None]:
    """Have no one who says something on standard error, log and warnings included, wait for whoever reads it.

    Where this process may have no more threads it stays as it is: that very error may be what is to be said.
    """
    from rondo_vmm.observe.console_output import STOPPED_DRAIN_TIMEOUT_S, ConsoleOutput

    before = sys.stderr
    try:
        output = ConsoleOutput(_to_stream(before))
    except (RuntimeError, MemoryError):
        yield
        return
    encoding = before.encoding or "utf-8"
    sys.stderr = io.TextIOWrapper(
        _Unstalled(output, before), encoding=encoding, errors="backslashreplace", line_buffering=True
    )
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        output.close(STOPPED_DRAIN_TIMEOUT_S)


class _Unstalled(io.BufferedIOBase):
    def __init__(self, output: Callable[[bytes], None], stream: TextIO) -> None:
        self._output, self._stream = output, stream

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()  # a child, in which no thread of this one is, writes there itself

    def write(self, data: ReadableBuffer) -> int:
        whole = bytes(data)
        self._output(whole)
        return len(whole)


def own_terminal() -> bool:
    """Whether standard input is a terminal that this process may read now: it is in the foreground."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no standard input, or none with a descriptor
        return False


_KEYS = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
}


@contextmanager
def keys_of_terminal() -> Iterator[Callable[[float], str]]:
    """Give what waits so many seconds for a key of standard input, a terminal: its name, or empty for none.

    An interrupt stays one. A terminal that has gone is the key "q".
    """
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def next_key(timeout_s: float) -> str:
        if not select.select([descriptor], [], [], timeout_s)[0]:
            return ""
        try:
            read = os.read(descriptor, 16)
        except OSError:
            return "q"
        return _KEYS.get(read.replace(b"\x1bO", b"\x1b["), read[:1].decode(errors="replace")) if read else "q"

    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield next_key
    finally:
        with suppress(termios.error):  # a terminal that is gone keeps no settings
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


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
        with suppress(termios.error):  # a terminal that is gone keeps no settings
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
