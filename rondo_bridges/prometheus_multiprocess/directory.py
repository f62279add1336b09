"""The directory of the stores of several processes: where it is, its lock, which stores there are and who lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import values as client_values

from rondo_core.errors import StoreError, UsageError
from rondo_core.model import layout
from rondo_core.storage import writer_pid

ENDED = "prometheus-ended.rondo"  # what processes that have ended had counted
LOCK_FILE = "prometheus-ended.lock"
WAIT_S = 5.0  # for another process that adds up or reads
_POLL_S = 0.002
_held: set[int] = set()


def directory_of(given: str | Path | None) -> Path:
    """Give the directory that is meant: given, installed, or named by prometheus_client's own variable.

    Raises: UsageError: there is none.
    """
    installed = getattr(client_values.ValueClass, "directory", None)
    older = os.environ.get("prometheus_multiproc_dir")  # noqa: SIM112 - so it was called
    name = given or installed or os.environ.get("PROMETHEUS_MULTIPROC_DIR") or older
    if not name:
        raise UsageError("prometheus_multiprocess: no directory; give one, or set PROMETHEUS_MULTIPROC_DIR")
    return Path(name).absolute()


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Be the only one, of all threads and processes, that makes, adds up, removes or reads the directory's stores.

    Raises: StoreError: another has been it for five seconds, or the lock cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{directory}: {os.strerror(error.errno or 0)}; choose one that can be written") from None
    _held.add(descriptor)
    try:
        _lock(directory, descriptor)
        yield
    finally:
        if descriptor in _held:  # not in a child that was forked meanwhile
            _held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child may have it open
            os.close(descriptor)


def _lock(directory: Path, descriptor: int) -> None:
    until = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                what = "another process keeps its lock; look for one that is stopped"
                raise StoreError(f"{directory}: {what}") from None
            time.sleep(_POLL_S)
        else:
            return


def stores_of(directory: Path) -> list[tuple[Path, bool]]:
    """Give the stores of processes, and whether each one's process lives; not that of the ended."""
    if not directory.is_dir():
        return []
    found = sorted(path for path in directory.iterdir() if path.name != ENDED and not path.name.startswith("."))
    stores = [path for path in found if (path / layout.META_FILE).is_file()]
    return [(path, writer_pid(path / layout.LOCK_FILE) is not None) for path in stores]


def _in_child() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_in_child)
