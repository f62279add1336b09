"""A process's own store in a directory of such: its name, its children's, and the bound of the directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rondo_core import forking
from rondo_core.errors import StoreLockedError
from rondo_core.model.schema import Schema
from rondo_core.record.placing import Placement
from rondo_core.storage.own import own_paths
from rondo_core.units import Duration

if TYPE_CHECKING:
    from rondo_core.retention.bound import Bound


class InDirectory(Placement):
    """What a store does that lies in a directory of stores."""

    if TYPE_CHECKING:

        def __init__(self, path: str | Path, schemas: Iterable[Schema] | None = None, **options: Any) -> None:
            """Open the store at `path`."""

    @classmethod
    def for_process(
        cls,
        directory: str | Path,
        schemas: Iterable[Schema] | None = None,
        *,
        name: str = "",
        keep_last: int | None = None,
        keep_for: Duration | None = None,
        keep_bytes: int | str | None = None,
        exporters: Iterable[str] | None = None,
        rondo_store: str = "",
        labels: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Open the calling process's own store below `directory`, named by pid, start and a text that no other has.

        For programs of many processes: `rondo query DIRECTORY` reads them together. A process that is forked has its
        own there from its first record on, through the handles that it has from its parent. With a bound, dead
        processes' stores beyond it are folded into the store of the ended, `ended.rondo`, by a thread of this process,
        now and each minute, and once more after `close`.

        Args:
            name: what the store's name begins with, such as "web".
            keep_last: how many stores of dead processes are kept; keep_for: for how long after their end ("1d").
            keep_bytes: what all stores of the directory may take ("1GiB"), sent by exporters or not.
            exporters: whose cursors keep_last and keep_for wait for; None: all that a store has one of.
            rondo_store: the label of that name where the directory is read, in place of the store's own name.
            labels, options: as for the constructor.
        Raises: as the constructor; UsageError: a name or a bound that cannot be.
        """
        from rondo_core.retention.bound import Bound

        given = {"keep_last": keep_last, "keep_for": keep_for, "keep_bytes": keep_bytes}
        telling = {**(labels or {}), **({"rondo_store": rondo_store} if rondo_store else {})}
        bound = Bound.read(given, None if exporters is None else tuple(exporters))
        paths = partial(own_paths, Path(directory).absolute(), name)
        for path in paths():
            try:
                store = cls(Path(directory) / path.name, schemas, labels=telling, **options)
            except StoreLockedError as error:
                if not error.here:
                    raise
            else:
                store.set_child_paths(paths)
                store.keep_within(bound)
                return store
        raise AssertionError  # there is no last path

    def keep_within(self, bound: Bound) -> None:
        """Keep the directory that the store lies in within a bound, from this process, until the store is closed."""
        if bound and forking.is_untold_parent():
            self._retain_in_child = partial(self.keep_within, bound)
        elif bound and not self.unkept:
            from rondo_core.retention.retention_thread import RetentionThread

            try:
                self.retention_thread = RetentionThread(self.path.parent, bound, self.clock)
            except RuntimeError as error:  # the process may have no more threads
                self._warn_of_absence("a bound of its directory", error)
