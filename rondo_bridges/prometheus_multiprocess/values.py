"""The values of prometheus_client's instruments, each kept by a series of this process's own store.

The store is opened at the first record, in a child that was forked at its first one, with a series for every value
that there is by then. A value that gets no series is kept in memory, counted and said once: it is missing where all
processes are put together.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import values as client_values

from rondo_bridges.prometheus_multiprocess.directory import alone, directory_of
from rondo_bridges.prometheus_multiprocess.ended import failures, fold_ended
from rondo_bridges.prometheus_multiprocess.samples import Identity
from rondo_bridges.prometheus_multiprocess.value import Level, Sum, TotalValue, Value
from rondo_core import Plugins, Schema, Store, Tier, hookimpl
from rondo_core.errors import StoreError, UsageError

TIERS = (Tier("1s", "5m"), Tier("10s", "30m"))
MAX_TOTALS, MAX_GAUGES = 512, 128


def install(
    directory: str | Path | None = None,
    *,
    max_totals: int = MAX_TOTALS,
    max_gauges: int = MAX_GAUGES,
    tiers: Iterable[Tier] = TIERS,
) -> None:
    """Let instruments of prometheus_client that are made from now on keep their values in stores below a directory.

    Nothing is opened yet. A second call for the same directory does nothing.

    Args: `directory`: by default what PROMETHEUS_MULTIPROC_DIR names; the rest: how much room the store of each
        process has: for how many counters, counts, sums and buckets, for how many gauges, and for how long.
    Raises: UsageError: no directory is named, or another was installed; SchemaError: the room cannot be.
    """
    place = directory_of(directory)
    schemas = (
        Schema("totals", "counter", max_totals, tuple(tiers)),
        Schema("gauges", "gauge", max_gauges, tuple(tiers)),
    )
    known = client_values.ValueClass
    if isinstance(known, Values):
        if known.directory != place:
            raise UsageError(f"prometheus_multiprocess: {place}: {known.directory} is installed; keep to one directory")
        return
    client_values.ValueClass = Values(place, schemas)


class Values:
    """Makes values, and opens the store of whichever process they are recorded in; in the place of `ValueClass`.

    Attributes: `directory`: that of the stores; `store`: this process's own, None before its first record, or for good.
    """

    _multiprocess = True

    def __init__(self, directory: Path, schemas: Sequence[Schema]) -> None:
        """Have no store yet."""
        self.directory, self._schemas = directory, schemas
        self._made: weakref.WeakSet[Value] = weakref.WeakSet()
        self.store: Store | None = None
        self._opened = False
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._in_child)

    def __call__(
        self,
        typ: str,
        metric_name: str,  # noqa: ARG002 - the sample's name begins with it
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> Value:
        """Make a value, as prometheus_client asks for it."""
        identity = Identity(name, tuple(zip(labelnames, labelvalues, strict=False)), multiprocess_mode)
        kind = Level if typ == "gauge" else Sum if name.endswith("_sum") else TotalValue
        value = kind(self, identity, help_text)
        with self._lock:
            self._made.add(value)
            if self._opened:
                value.bind(self.store)
        return value

    def open(self) -> None:
        """Open this process's store, once, and give every value its series."""
        with self._lock:
            if self._opened:
                return
            self._opened = True
            try:
                self.store = self._own_store()
            except Exception as error:  # noqa: BLE001 - the program goes on, its values in memory
                failures.take(error, "values stay in memory")
            for value in tuple(self._made):
                value.bind(self.store)

    def made(self) -> list[Value]:
        """Give the values that there are."""
        with self._lock:  # other threads make more
            return list(self._made)

    def open_if_made(self) -> None:
        """Open it where there are values, for a look at all of them, the untouched ones included."""
        if self._made:
            self.open()

    def _own_store(self) -> Store:
        plugins = Plugins()
        plugins.register(self, "prometheus_multiprocess")
        try:
            with alone(self.directory):
                fold_ended(self.directory)
                store = self._made_store()
        except StoreError as error:
            failures.take(error)
            store = self._made_store()  # whoever keeps the lock, it is not this process's business
        store.bind_recorders(plugins)
        return store

    def _made_store(self) -> Store:
        path = self.directory / f"{os.getpid()}-{os.urandom(6).hex()}.rondo"
        return Store(path, self._schemas, writer="prometheus_client", tick_interval_s=1.0, strict=True)

    @hookimpl
    def rondo_recorder_bind(self) -> Callable[[int], None]:
        """Give what sets each gauge again in every second, so that its value is always among the newest rows."""
        owner = weakref.ref(self)

        def tick(now_ns: int) -> None:
            values = owner()
            if values is not None:
                for value in values.made():
                    value.keep(now_ns)

        return tick

    def _in_child(self) -> None:
        """Count from 0, into a store of the child's own, from its first record on."""
        self._lock = threading.RLock()
        self.store, self._opened = None, False
        for value in tuple(self._made):
            value.begin()
