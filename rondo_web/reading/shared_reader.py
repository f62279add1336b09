"""The shared reader of a path, a store or a directory of stores: open for several threads, reopened when replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import StoreNotFoundError
from rondo_core.read import StoreChoice, StoreReader, StoresReader, holds_stores, open_reader

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
    """The reader of a path, for any number of threads. Attributes: `path`."""

    def __init__(self, path: Path) -> None:
        """Open the store that is there; stores below a directory are opened when they are asked for.

        Raises: as `open_reader`.
        """
        self.path = path
        self._lock, self._reopening = threading.Lock(), threading.Lock()
        many = holds_stores(path)
        if many:
            _check_stores(path)
        self._current = None if many else _Open(path)

    @contextmanager
    def reader(self, *, reopen: bool = True) -> Iterator[Reader]:
        """Give the reader of what is at the path now, to use and not to keep.

        Args: `reopen`: open what has come to be there, which takes long for a directory; else what was there is good.
        Raises: as `open_reader`, where something else is there than was.
        """
        if reopen or self._current is None:
            self._reopen()
        with self._held() as held:
            if held.turn is None:
                yield held.reader
                return
            with held.turn:
                yield held.reader

    def is_directory(self) -> bool:
        """Say whether it is a directory of stores."""
        held = self._current
        return held is None or isinstance(held.reader, StoresReader)

    def is_open(self) -> bool:
        """Say whether what is read is open already: the stores of a directory are not before they are asked for."""
        return self._current is not None

    def is_due(self) -> bool:
        """Say whether something else may be at the path by now."""
        held = self._current
        if held is None:
            return True
        if isinstance(held.reader, StoresReader):
            return monotonic_ns() - held.opened_ns > REOPEN_NS
        return held.reader.is_outdated()

    def _reopen(self) -> None:
        if not self.is_due() or not self._reopening.acquire(blocking=self._current is None):
            return  # another thread is at it: until it is done what was there is as good
        try:
            if not self.is_due():
                return
            fresh = _Open(self.path)
            with self._lock:
                old, self._current = self._current, fresh
                unused = old is not None and self._is_retired(old)
            if old is not None and unused:
                old.reader.close()
        finally:
            self._reopening.release()

    @staticmethod
    def _is_retired(held: _Open) -> bool:
        """Have the last thread that reads it close it; say whether there is none."""
        held.retired = True
        return not held.n_users

    @contextmanager
    def _held(self) -> Iterator[_Open]:
        with self._lock:
            held = self._current
            assert held is not None  # noqa: S101 - for the type checker: whoever asks has opened it
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
            held = self._current
            unused = held is not None and self._is_retired(held)
        if held is not None and unused:
            held.reader.close()


def _check_stores(directory: Path) -> None:
    """Open the newest store below a directory, or all of them where that cannot be read. Raises: as `StoresReader`."""
    try:
        StoresReader(directory, StoreChoice(last=1)).close()
    except StoreNotFoundError:
        StoresReader(directory).close()
