"""What a job gets for its standard output and error: what is there, or a pipe or pseudo-terminal of the same kind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import termios
from collections.abc import Mapping

import attrs

STDIN, STDOUT, STDERR = range(3)
_NUMBERS = {"stdout": STDOUT, "stderr": STDERR}
_OPOST = 1  # the index of the output modes among what tcgetattr gives


@attrs.frozen
class Stream:
    """One stream that is copied.

    Attributes: `name`: "stdout" or "stderr"; `inner`: what the relay reads; `outer`: where that goes; `is_terminal`.
    """

    name: str
    inner: int
    outer: int
    is_terminal: bool = False


@attrs.frozen
class Output:
    """What a job's streams are.

    Attributes:
        kinds: see `facts.LifeStart.output`.
        streams: those that are copied; job: its descriptors by number, only those that differ from this process's.
        session: the terminal is the job's own: it has a session with it, and reads it.
        files: regular files by name, with where they ended before the job began.
    """

    kinds: Mapping[str, str]
    streams: tuple[Stream, ...] = ()
    job: Mapping[int, int] = attrs.field(factory=dict)
    session: bool = False
    files: Mapping[str, int] = attrs.field(factory=dict)

    def close_inner(self) -> None:
        """Close the relay's ends, in a process that is not the relay."""
        for stream in self.streams:
            os.close(stream.inner)

    def close_job(self) -> None:
        """Close the job's ends, in a process that is not the job."""
        for descriptor in set(self.job.values()):
            os.close(descriptor)


def plan_output(*, copied: bool = True) -> Output:
    """Look what this process's streams are, and make what a job gets for them; not `copied`: those very ones."""
    if not copied:
        return Output(dict.fromkeys(_NUMBERS, "untouched"))
    kinds = {name: _kind(number) for name, number in _NUMBERS.items()}
    files = {name: os.fstat(_NUMBERS[name]).st_size for name, kind in kinds.items() if kind == "file"}
    streams, job, session = list[Stream](), dict[int, int](), False
    for name, number in _NUMBERS.items():
        if name == "stderr" and kinds["stdout"] in {"terminal", "pipe"} and _is_same(STDOUT, STDERR):
            kinds[name], job[STDERR] = "stdout", job[STDOUT]
        elif kinds[name] == "terminal":
            session = number == STDOUT and _is_same(STDIN, STDOUT) and _is_foreground()
            inner, job[number] = _open_terminal(number, output_only=not session)
            streams.append(Stream(name, inner, number, is_terminal=True))
            if session:
                job[STDIN] = job[STDOUT]
        elif kinds[name] == "pipe":
            inner, job[number] = os.pipe()
            with contextlib.suppress(OSError):
                fcntl.fcntl(inner, fcntl.F_SETPIPE_SZ, fcntl.fcntl(number, fcntl.F_GETPIPE_SZ))
            streams.append(Stream(name, inner, number))
    return Output(kinds, tuple(streams), job, session, files)


def _kind(number: int) -> str:
    try:
        mode = os.fstat(number).st_mode
        if os.isatty(number):
            return "terminal"
    except OSError:
        return "untouched"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return "pipe"
    return "file" if stat.S_ISREG(mode) else "untouched"


def _is_same(one: int, other: int) -> bool:
    """Say whether two descriptors are of one terminal, pipe or socket."""
    try:
        first, second = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino, first.st_rdev) == (second.st_dev, second.st_ino, second.st_rdev)


def _is_foreground() -> bool:
    try:
        return os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:
        return False


def _open_terminal(outer: int, *, output_only: bool) -> tuple[int, int]:
    """Make a pseudo-terminal of the size and modes of another one.

    Args: `output_only`: the other one goes on to write ends of lines as its own modes say, so that this one must not.
    """
    inner, job = os.openpty()
    modes = termios.tcgetattr(outer)
    if output_only:
        modes[_OPOST] &= ~termios.OPOST
    termios.tcsetattr(job, termios.TCSANOW, modes)
    copy_size(outer, inner)
    return inner, job


def copy_size(outer: int, inner: int) -> None:
    """Give a pseudo-terminal the size of another terminal; the kernel tells the processes in its foreground."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(inner, termios.TIOCSWINSZ, fcntl.ioctl(outer, termios.TIOCGWINSZ, bytes(8)))
