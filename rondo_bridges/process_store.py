"""The store of the calling process: given, or opened by a callable or by `open_store`; after a fork it is another."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic

from rondo_core import Store, open_store

Source = Store | Callable[[], Store] | None
RETRY_S = 10.0  # until a store that could not be opened is tried again
_open = contextlib.ExitStack()
_live: weakref.WeakSet[ProcessStore] = weakref.WeakSet()


class ProcessStore:
    """Opens a process's store at its first use, and tells when the process has become another.

    Attributes: `began`: called in a child after a fork, with a lock that nobody holds.
    """

    def __init__(self, source: Source, began: Callable[[], None] = lambda: None) -> None:
        """Take a store, which stays its giver's to close; a callable that gives one, called in each process that
        records; or None for `open_store`, which is closed when the process ends.
        """
        self._source, self._store, self.began = source, source if isinstance(source, Store) else None, began
        self.lock = threading.RLock()
        self._failed: tuple[float, Exception] | None = None
        _live.add(self)

    def get(self) -> Store:
        """Give the store. Raises: whatever opening it raises, tried again after ten seconds."""
        if self._store is None:
            with self.lock:
                if self._store is None:
                    self._store = self._opened()
        return self._store

    def _opened(self) -> Store:
        if self._failed is not None and monotonic() < self._failed[0]:
            raise self._failed[1]
        try:
            if callable(self._source):
                return self._source()
            return _open.enter_context(open_store())
        except Exception as error:
            self._failed = monotonic() + RETRY_S, error
            raise

    def end(self, ended: str) -> None:
        """Close the store that this process has, as it ends in a way that the interpreter does not tell.

        Args: `ended`: how, in the words of the record of runs.
        """
        if self._store is not None:
            self._store.end_with_process(ended)

    def forked(self) -> None:
        """Forget what is the parent's."""
        self.lock, self._failed = threading.RLock(), None
        if not isinstance(self._source, Store):
            self._store = None
        self.began()


def _in_child() -> None:
    global _open  # noqa: PLW0603 - what the parent has opened is the parent's to close
    _open.pop_all()
    _open = contextlib.ExitStack()
    for each in tuple(_live):
        each.forked()


def _close() -> None:
    _open.close()


atexit.register(_close)
os.register_at_fork(after_in_child=_in_child)
