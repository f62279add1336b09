"""A store for one test: in memory, on a clock that the test moves, gone when it is closed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rondo_core.clock import ManualClock
from rondo_core.model.schema import DEFAULT_SCHEMAS, Schema, Tier, check_schemas
from rondo_core.storage.directory import size_bytes
from rondo_core.store import Store
from rondo_core.testing.assertions import StoreAssertions
from rondo_core.testing.stores import START_NS

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of one's own is made in it
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
_SPARE = 4  # containers have a few MiB there, for all that run tests in them
SCHEMAS = tuple(schema._replace(tiers=TIERS) for schema in DEFAULT_SCHEMAS)


class TemporaryStore(Store, StoreAssertions):
    """A store whose files lie in memory, or where there is no room for them in the directory of temporary files.

    Nothing of it is synced. What a program would be told by a warning is an error, as with `strict`: a schema that is
    full, a child of a fork that records. It is removed when it is closed, or dropped.

    Attributes: `clock`, which stands until `advance` moves it.
    """

    clock: ManualClock

    def __init__(
        self, schemas: Iterable[Schema] | None = None, *, clock: ManualClock | None = None, strict: bool = True
    ) -> None:
        """Make it. Args: `schemas`: default: the usual ones, 1 s for 10 minutes, 10 s for an hour."""
        kept = SCHEMAS if schemas is None else tuple(schemas)
        directory = _directory(kept)
        self._remove = weakref.finalize(self, _remove, directory, os.getpid())
        try:
            Store.__init__(self, directory / "store.rondo", kept, clock=clock or ManualClock(START_NS), strict=strict)
        except BaseException:
            self._remove()
            raise
        StoreAssertions.__init__(self, self)

    def advance(self, seconds: float = 1.0) -> None:
        """Let time go on, and tick the store once, as its owner would: recorders and functions of gauges are read."""
        self.clock.advance(seconds)
        self.tick()

    def close(self, *how: Any, **options: Any) -> None:
        """Close it as any store, and remove it."""
        try:
            super().close(*how, **options)
        finally:
            if self.closed:
                self._remove()


def _directory(schemas: Iterable[Schema]) -> Path:
    """Make a directory of one's own, in memory where that can be and has room for a few such stores."""
    memory = None
    if os.access(MEMORY, os.W_OK | os.X_OK):
        room = os.statvfs(MEMORY)
        if room.f_bavail * room.f_frsize > _SPARE * size_bytes(check_schemas(schemas)):
            memory = MEMORY
    return Path(tempfile.mkdtemp(prefix="rondo-test-", dir=memory))


def _remove(directory: Path, pid: int) -> None:
    """Remove it, in the process that made it alone: a child of a fork ends too."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)
