"""Where a store records: at its path, beside it where another process writes it, or nowhere."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Self

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import StoreLockedError
from rondo_core.model.labels import Labels
from rondo_core.model.schema import DEFAULT_SCHEMAS, Schema, check_schemas
from rondo_core.record.after_fork import OFF, ForkableStore
from rondo_core.record.growing import default_schemas, make_missing, open_grown
from rondo_core.storage.directory import Meta
from rondo_core.storage.own import create_own, sibling_paths, sync_own
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import on_record, this_run


class Placement(ForkableStore):
    """What a store does to have a directory, or to do without."""

    _made: bool  # by this opening
    _writer: str
    _max_bytes: int | None = None
    _labels: Labels = ()  # of a store that is made

    @abc.abstractmethod
    def _begin_unopened(self, path: str | Path, clock: Clock, writer: str, *, strict: bool) -> None:
        """Be a store of which nothing is open yet."""

    @abc.abstractmethod
    def _prepare(self, schemas: tuple[Schema, ...]) -> None:
        """Have what handles are bound to, before and beyond any file."""

    def _find(self, asked: tuple[Schema, ...] | None, given: tuple[Schema, ...] | None, create_missing: bool) -> None:
        """Open the directory at the store's path, made first where it is missing, and take its lock."""

        def make() -> None:
            schemas = asked or default_schemas(self._max_bytes)
            make_missing(self.path, schemas, self._max_bytes, on_record(self.clock()), self._labels)
            self._made = True

        opened = open_grown(self.path, given, self._max_bytes, self._notices, make if create_missing else None)
        self._folder, self.meta, self._lock_file = opened

    def _do_without(self, locked: StoreLockedError, schemas: tuple[Schema, ...], *, off: bool) -> None:
        """Record beside a store that another process writes, or nowhere."""
        if off:
            self._record_nothing(schemas)
            self._notices.warn(f"{locked.who} writes this store; process {os.getpid()} keeps nothing")
            return
        self._paths = partial(sibling_paths, self.path.absolute())
        path = create_own(self._paths(), schemas, (), on_record(self.clock()), self._labels)
        sync_own(path)
        self._notices.warn(f"{locked.who} writes this store; process {os.getpid()} records into {path}")
        self.path = path
        self._notices.name(path)
        self._find(None, None, create_missing=False)

    def _record_nothing(self, schemas: tuple[Schema, ...]) -> None:
        """Be a store that takes everything and keeps nothing."""
        self.meta = Meta("", on_record(self.clock()), schemas)
        self.registry = Registry.in_memory(str(self.path), schemas)
        self._prepare(schemas)
        self.run, self._closed = this_run(0, self.clock(), self._writer), False
        self._keep_nothing(OFF)

    @classmethod
    def nowhere(
        cls, path: str | Path, schemas: Iterable[Schema] | None = None, *, clock: Clock = wall_ns, why: str
    ) -> Self:
        """Give a store without files, for a program that goes on where it can have none: it keeps nothing.

        Args: `path`: where it would be; `why`: why it cannot be there, for the log. Raises: SchemaError.
        """
        self = cls.__new__(cls)
        self._begin_unopened(path, clock, "", strict=False)
        self._record_nothing(check_schemas(DEFAULT_SCHEMAS if schemas is None else schemas))
        self._notices.warn(f"process {os.getpid()} keeps nothing of what it records: {why}")
        return self
