"""The shared reader of a path, a store or a directory of stores: open for several threads, reopened when replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.read import StoreReader, StoresReader, open_reader

T = TypeVar("T")
REOPEN_NS = 5 * NS_PER_S  # a directory of stores says of none of them that it is new

Reader = StoreReader | StoresReader


class _Open:
    """A reader, and how many threads use it. One of a directory is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.reader = open_reader(path)
        self.turn = threading.Lock() if isinstance(self.reader, StoresReader) else None
        self.opened_ns = monotonic_ns()
        self.n_users, self.retired = 0, False


class SharedReader:
    """The reader of a path, for any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open what is there. Raises: as `open_reader`."""
        self._path = path
        self._lock, self._reopening = threading.Lock(), threading.Lock()
        self._current = _Open(path)

    @contextmanager
    def reader(self, *, reopen: bool = True) -> Iterator[Reader]:
        """Give the reader of what is at the path now, to use and not to keep.

        Args: `reopen`: open what has come to be there, which takes long for a directory; else what was there is good.
        Raises: as `open_reader`, where something else is there than was.
        """
        if reopen:
            self._reopen()
        with self._held() as held:
            if held.turn is None:
                yield held.reader
                return
            with held.turn:
                yield held.reader

    def is_directory(self) -> bool:
        """Say whether it is a directory of stores."""
        return isinstance(self._current.reader, StoresReader)

    def is_due(self) -> bool:
        """Say whether something else may be at the path by now."""
        held = self._current
        if isinstance(held.reader, StoresReader):
            return monotonic_ns() - held.opened_ns > REOPEN_NS
        return held.reader.is_outdated()

    def _reopen(self) -> None:
        if not self.is_due() or not self._reopening.acquire(blocking=False):
            return  # another thread is at it: until it is done what was there is as good
        try:
            if not self.is_due():
                return
            fresh = _Open(self._path)
            with self._lock:
                old, self._current = self._current, fresh
                old.retired = True
                unused = not old.n_users
            if unused:
                old.reader.close()
        finally:
            self._reopening.release()

    @contextmanager
    def _held(self) -> Iterator[_Open]:
        with self._lock:
            held = self._current
            held.n_users += 1
        try:
            yield held
        finally:
            with self._lock:
                held.n_users -= 1
                unused = held.retired and not held.n_users
            if unused:
                held.reader.close()

    def close(self) -> None:
        """Release it, unless a thread still reads: then with the process."""
        with self._lock:
            self._current.retired = True
            unused = not self._current.n_users
        if unused:
            self._current.reader.close()


def of_each(reader: Reader, read: Callable[[str, StoreReader], T]) -> list[T]:
    """Call with each store and its name below the directory; the name of a store that is alone is empty."""
    return [read("", reader)] if isinstance(reader, StoreReader) else reader.of_each(read)
