"""A served store: one path, a store or a directory of stores, as the requests of many clients read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rondo_core.clock import wall_ns
from rondo_core.errors import OpenFilesError, QueryLimitError, RondoError, StoreNotFoundError
from rondo_core.model import store_name
from rondo_core.read import (
    ALL_STORES,
    LABEL,
    Budget,
    NewestStores,
    StoreChoice,
    StoreReader,
    StoreSource,
    StoresSource,
    scan_directory,
)
from rondo_web.errors import FAILURES, BusyError
from rondo_web.reading.descriptions import Description, Descriptions
from rondo_web.reading.health import Health, HealthCheck
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.shared_reader import Reader, SharedReader
from rondo_web.reading.workers import Workers

MAX_OPENED_AT_ONCE = 50  # stores, by a small read


class ServedStore:
    """What a page asks; pages below every path and every family go through here, and share its `workers`."""

    def __init__(self, path: Path, workers: Workers, label: str = "", choice: StoreChoice = ALL_STORES) -> None:
        """Open the store at `path`; the stores of a directory are opened when a request is of them.

        Args: `label`: which in PromQL has the name of a store; empty: `rondo_store`, where there may be several;
            `choice`: which stores of a directory expressions and the page are of.
        Raises: as `open_reader`.
        """
        self.workers = workers
        self._labels = ((label, store_name(path)),) if label else ()
        self.label, self.choice = label or LABEL, choice
        self.path, self._descriptions = path, Descriptions()
        self._shared = SharedReader(path)
        self._health, self._newest = HealthCheck(self._shared), NewestStores()
        self._sources = StoresSource(
            path, scan_directory, self.label, choice=choice
        )  # which looks at no store before it is asked

    @contextmanager
    def reader(self, limits: ReadLimits) -> Iterator[Reader]:
        """Give the reader, with what was declared since; on a worker's thread.

        Where the limits forbid to open a directory anew, another thread does so for whoever comes later.
        Raises: QueryLimitError: they forbid to open it for the first time; as `open_reader`, where something else is
            there than was.
        """
        later = not limits.may_reopen and self._shared.is_directory()
        if later and not self._shared.is_open():
            raise QueryLimitError(f"{self.path}: its stores are not open yet, and to open them takes long")
        if later and self._shared.is_due():
            self._reopen_later()
        with self._shared.reader(reopen=not later) as reader:
            if isinstance(reader, StoreReader):
                reader.refresh()
            yield reader

    def live(self, limits: ReadLimits) -> Iterator[tuple[str, StoreReader]]:
        """Give each store that a process writes, by its name below the directory, open until the next is asked for.

        The name of a store that is alone is empty; one that cannot be read is left out. On a worker's thread.
        Raises: QueryLimitError: they are more than the limits allow to open; StoreNotFoundError: there is no store;
            OpenFilesError; of one that is alone as `reader`.
        """
        if not self.is_directory():
            with self.reader(limits) as reader:
                if isinstance(reader, StoreReader) and reader.writer_pid() is not None:
                    yield "", reader
            return
        stores = scan_directory(self.path).stores
        if not stores:
            raise StoreNotFoundError(f"{self.path}: no store here or below; check the path")
        written = self._newest.written(stores)
        self._newest.forget_others(set(stores))
        if len(written) > MAX_OPENED_AT_ONCE and not limits.may_reopen:
            raise QueryLimitError(f"{len(written)} stores to open; at most {MAX_OPENED_AT_ONCE} at once")
        for path in written:
            try:
                store = StoreReader(path)
            except OpenFilesError:
                raise
            except (RondoError, OSError, ValueError):
                continue
            with store:
                yield str(path.relative_to(self.path)), store

    @contextmanager
    def source(self, budget: Budget, choice: StoreChoice = ALL_STORES) -> Iterator[Any]:
        """Give what is there as a source of PromQL that reads within a budget; on a worker's thread.

        Args: `choice`: only these stores of a directory. Raises: as `reader`.
        """
        if self.is_directory():
            yield self._sources.with_budget(budget, choice)
            return
        with self._shared.reader(reopen=True) as reader:  # a source looks for what was declared since by itself
            assert isinstance(reader, StoreReader)  # noqa: S101 - for the type checker
            yield StoreSource(reader, clock=wall_ns, budget=budget, labels=self._labels)

    def is_directory(self) -> bool:
        """Say whether it is a directory of stores."""
        return self._shared.is_directory()

    def describe(self, max_series: int) -> tuple[list[tuple[str, Description]], list[str]]:
        """Describe each store of the directory from its headers; on a worker's thread.

        Returns: the stores by name, at most `max_series` series of each; a line for each that cannot be read.
        """
        scan = scan_directory(self.path)
        left_out = scan.errors + scan.passed
        paths = {str(path.relative_to(self.path)): path for path in scan.stores}
        return list(self._descriptions.of(paths, max_series, left_out)), left_out

    async def health(self) -> Health:
        """Give the health at once, whoever else asks for what; on the server's loop.

        Raises: BusyError: it is not known yet; else as `HealthCheck.look`.
        """
        found = await self.workers.health.run(self._health.look)
        if found is None:
            raise BusyError
        return found

    def close(self) -> None:
        """Release the store."""
        self._shared.close()
        self._sources.close()

    def _reopen_later(self) -> None:
        """Have what is at the path by now opened, by a thread that may take its time; nobody waits for it."""

        def reopen() -> None:
            with suppress(*FAILURES), self._shared.reader():
                pass

        self.workers.large.submit(reopen)
