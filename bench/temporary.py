"""Folders that a benchmark writes into, and how it is interrupted: neither a folder nor a process is left of it.

A folder is removed when the processes that were started since it was made have ended: nobody writes into it then.

An interrupt is handled nowhere in the benchmark's own code. It replaces the program of this process by the one below,
which has neither its threads nor its state, ends all processes that descend from it, removes the folders, and gives the
status. So it makes no difference what the benchmark does then: start a process, remove a folder, or end by itself.

Run as a program, it is what takes the place of an interrupted benchmark: temporary.py NAME PATH ...
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from procfs import children, family

INTERRUPTED = 128 + signal.SIGINT
END_WITHIN_S = 10.0
_PR_SET_CHILD_SUBREAPER = 36  # Source: prctl(2)
_made: list[Path] = []


@contextmanager
def temporary_folder(parent: str | Path | None = None) -> Iterator[Path]:
    """Make a folder, and remove it when this ends, once each process that was started meanwhile has ended.

    Args: `parent`: where it is made; default: where temporary files are.
    """
    path, before = Path(parent or tempfile.gettempdir()) / f"rondo-bench-{secrets.token_hex(4)}", children(os.getpid())
    _made.append(path)  # before it is there: the interrupt may come in between
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        end_children(before)
        shutil.rmtree(path)
        _made.remove(path)


def save(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    _made.append(unfinished)
    unfinished.write_text(text)
    unfinished.replace(path)
    _made.remove(unfinished)


def end_children(but: Collection[int] = ()) -> None:
    """End the children of this process but these, with all that descend from them, and wait until they have."""
    until = time.monotonic() + END_WITHIN_S
    for pid in asked_to_end(but):
        while time.monotonic() < until and not has_ended(pid):
            time.sleep(0.01)
    while left := set(children(os.getpid())) - set(but):  # orphans of those that were killed have become children
        for pid in left:
            for each in family(pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def asked_to_end(but: Collection[int]) -> list[int]:
    """Send a SIGTERM to the children of this process but these; give their pids."""
    found = [pid for pid in children(os.getpid()) if pid not in but]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return found


def has_ended(pid: int) -> bool:
    """Say whether a child has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def interruptible(main: Callable[[], int | None]) -> int | None:
    """Run a benchmark whose temporary files, and those of all that it starts, lie in one folder; give its status."""
    owner = os.getpid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def interrupt(*_: object) -> None:
        if os.getpid() != owner:  # a child that has no program of its own, or none yet
            os._exit(INTERRUPTED)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-BES", __file__, sys.argv[0], *map(str, _made)])

    signal.signal(signal.SIGINT, interrupt)
    with temporary_folder() as whole:
        tempfile.tempdir = os.environ["TMPDIR"] = str(whole)
        try:
            return main()
        except KeyboardInterrupt:  # of a machine that had the signal for itself
            interrupt()
            raise


if __name__ == "__main__":
    end_children()
    for each in map(Path, sys.argv[2:]):
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)
    print(f"{Path(sys.argv[1]).stem}: interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)
