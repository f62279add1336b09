"""What lies at a path, open for several threads: a store, or a directory of stores; followed when it is replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import RondoError
from rondo_core.read import StoreReader, StoresReader, open_reader

REOPEN_NS = 5 * NS_PER_S
PATIENCE_S = 0.3

Reader = StoreReader | StoresReader


class Facts(NamedTuple):
    """What /health tells."""

    newest_ns: int
    writer_pid: int | None


class _Open:
    """A reader, and how many threads use it. One of a directory is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.reader = open_reader(path)
        self.turn = threading.Lock() if isinstance(self.reader, StoresReader) else None
        self.opened_ns = monotonic_ns()
        self.n_users, self.retired = 0, False
        self.facts: Facts | None = None

    def look(self) -> Facts:
        self.facts = Facts(self.reader.newest_ns(), self.reader.writer_pid())
        return self.facts


class Served:
    """A path that is served. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open what is there. Raises: as `open_reader`."""
        self._path = path
        self._lock, self._following = threading.Lock(), threading.Lock()
        self._current = _Open(path)
        self._looker: threading.Thread | None = None  # which asks the stores of a directory; `facts` has one caller
        self._trouble: RondoError | OSError | None = None

    @contextmanager
    def reader(self, *, follow: bool = True) -> Iterator[Reader]:
        """Give the reader of what is at the path now, to use and not to keep.

        Args: `follow`: open what has come to be there, which takes long for a directory; else what was there is good.
        Raises: as `open_reader`, where something else is there than was.
        """
        if follow:
            self._follow()
        with self._held() as held:
            if held.turn is None:
                yield held.reader
                return
            with held.turn:
                yield held.reader

    def facts(self) -> Facts | None:
        """Give what /health tells, at once: of a directory, which takes long, what it told last; None: not yet known.

        Raises: as `reader` and `View.newest_ns`.
        """
        if not self.is_many():
            self._follow()
            with self._held() as held:
                return held.look()
        if self._looker is None or not self._looker.is_alive():
            self._looker = threading.Thread(target=self._look, name="rondo-look", daemon=True)
            self._looker.start()
        self._looker.join(PATIENCE_S)
        if self._trouble is not None:
            raise self._trouble
        return self._current.facts

    def _look(self) -> None:
        try:
            with self._held() as held, held.turn or nullcontext():
                held.look()
            self._trouble = None
        except (RondoError, OSError) as error:
            self._trouble = error

    def is_many(self) -> bool:
        """Say whether it is a directory of stores."""
        return isinstance(self._current.reader, StoresReader)

    def is_due(self) -> bool:
        """Say whether something else may be at the path by now."""
        held = self._current
        if isinstance(held.reader, StoresReader):
            return monotonic_ns() - held.opened_ns > REOPEN_NS
        return held.reader.is_outdated()

    def _follow(self) -> None:
        if not self.is_due() or not self._following.acquire(blocking=False):
            return  # another thread is at it: until it is done what was there is as good
        try:
            if not self.is_due():
                return
            fresh = _Open(self._path)
            with self._lock:
                old, self._current = self._current, fresh
                fresh.facts = old.facts
                old.retired = True
                unused = not old.n_users
            if unused:
                old.reader.close()
        finally:
            self._following.release()

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
        """Let go of it, unless a thread still reads: then with the process."""
        with self._lock:
            self._current.retired = True
            unused = not self._current.n_users
        if unused:
            self._current.reader.close()
