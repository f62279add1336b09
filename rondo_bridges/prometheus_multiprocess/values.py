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
from prometheus_client.values import MutexValue

from rondo_bridges.prometheus_multiprocess.directory import alone, directory_of
from rondo_bridges.prometheus_multiprocess.ended import failures, fold_ended
from rondo_bridges.prometheus_multiprocess.samples import LESS, SET_AT, Identity, labels_of
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

    Attributes: `directory`: that of the stores.
    """

    _multiprocess = True

    def __init__(self, directory: Path, schemas: Sequence[Schema]) -> None:
        """Have no store yet."""
        self.directory, self._schemas = directory, schemas
        self._made: weakref.WeakSet[Value] = weakref.WeakSet()
        self._store: Store | None = None
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
                value.bind(self._store)
        return value

    def open(self) -> None:
        """Open this process's store, once, and give every value its series."""
        with self._lock:
            if self._opened:
                return
            self._opened = True
            try:
                self._store = self._own_store()
            except Exception as error:  # noqa: BLE001 - the program goes on, its values in memory
                failures.take(error, "values stay in memory")
            for value in tuple(self._made):
                value.bind(self._store)

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
        self._store, self._opened = None, False
        for value in tuple(self._made):
            value.begin()


def _in_memory() -> MutexValue:
    """Make a place for a value that no store has."""
    return MutexValue("", "", "", (), (), "")  # type: ignore[no-untyped-call]


class Value:
    """A value of one sample: `inc`, `set` and `get`, as prometheus_client calls them.

    `inc` is the store's own from the first record on. Threads may share it.
    """

    __slots__ = ("__weakref__", "_handle", "_help", "_identity", "_values", "inc")

    inc: Callable[[float], None]

    def __init__(self, values: Values, identity: Identity, help_text: str) -> None:
        """Have no series yet."""
        self._values, self._identity, self._help = values, identity, help_text
        self.begin()

    def begin(self) -> None:
        """Stand at 0, with no series."""
        self._handle: Any = None
        self.inc = self._first_inc

    def _first_inc(self, amount: float) -> None:
        self._values.open()
        self.inc(amount)

    def bind(self, store: Store | None) -> None:
        """Take a series of the store; without one, or one that has no room, a place in memory."""
        try:
            if store is not None:
                self._take(store)
        except Exception as error:  # noqa: BLE001 - the program goes on
            failures.take(error, "values stay in memory")
            store = None
        if store is None:
            self._handle = _in_memory()
            self.inc = self._inc_in_memory()

    def _take(self, store: Store) -> None:
        """Bind to the store's series. Raises: as declaring does."""
        raise NotImplementedError

    def _inc_in_memory(self) -> Callable[[float], None]:
        inc: Callable[[float], None] = self._handle.inc
        return inc

    def _declared(self, declare: Callable[..., Any], part: str = "") -> Any:
        return declare(self._identity.name, labels_of(self._identity, part), help=self._help)

    def keep(self, now_ns: int) -> None:
        """Be told the time, once a second."""

    def set_exemplar(self, exemplar: Any) -> None:
        """Leave it: as with prometheus_client's own values of several processes, there are none."""

    def get_exemplar(self) -> None:
        """Give none."""


class TotalValue(Value):
    """A counter's value, a summary's count, or the count of one bucket of a histogram."""

    __slots__ = ("_less",)

    def begin(self) -> None:
        """Stand at 0."""
        super().begin()
        self._less: Any = None

    def _take(self, store: Store) -> None:
        self._handle = self._declared(store.counter)
        self.inc = self._handle.inc

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 - a total is of now
        """Go to a value, which for a store's total is to take away what is too much: for `Counter.reset`."""
        self._values.open()
        handle = self._handle
        if isinstance(handle, MutexValue):
            handle.set(value)  # type: ignore[no-untyped-call]
            return
        change = value - self.get()
        if change >= 0.0:
            self._handle.inc(change)
        else:
            self._take_away(-change)

    def _take_away(self, amount: float) -> None:
        if self._less is None:
            store = self._values._store  # noqa: SLF001 - the maker of this value
            if store is None:
                return
            self._less = self._declared(store.counter, LESS)
        self._less.inc(amount)

    def get(self) -> float:
        """Read the total of this process."""
        handle, less = self._handle, self._less
        if handle is None:
            return 0.0
        in_memory = isinstance(handle, MutexValue)
        total: float = handle.get() if in_memory else handle.value
        return total - less.value if less is not None else total


class Sum(TotalValue):
    """A sum of observations, of which some may be below nought."""

    __slots__ = ()

    def _take(self, store: Store) -> None:
        super()._take(store)
        self.inc = self._inc

    def _inc(self, amount: float) -> None:
        if amount < 0.0:
            try:
                self._take_away(-amount)
            except Exception as error:  # noqa: BLE001 - the program goes on
                failures.take(error, "left out")
        else:
            self._handle.inc(amount)


class Level(Value):
    """A gauge's value."""

    __slots__ = ("_lock", "_set_at", "_stamp", "_value")

    def begin(self) -> None:
        """Stand at 0."""
        super().begin()
        self._lock = threading.Lock()
        self._value, self._stamp = 0.0, 0.0
        self._set_at: Any = None

    def _take(self, store: Store) -> None:
        handle = self._declared(store.gauge)
        if self._identity.mode.endswith("mostrecent"):
            self._set_at = self._declared(store.gauge, SET_AT)
            self._set_at.set(self._stamp)
        handle.set(self._value)
        self._handle, self.inc = handle, self._inc

    def _inc_in_memory(self) -> Callable[[float], None]:
        return self._inc

    def _inc(self, amount: float) -> None:
        with self._lock:
            self._value += amount
            self._handle.set(self._value)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Make it the value; `timestamp`, s since the epoch, is of the modes that ask for it."""
        if self._handle is None:
            self._values.open()
        with self._lock:
            self._value, self._stamp = value, timestamp or 0.0
            self._handle.set(value)
            if self._set_at is not None:
                self._set_at.set(self._stamp)

    def keep(self, now_ns: int) -> None:
        """Set it again, in the second that it is."""
        with self._lock:
            if self._handle is not None and not isinstance(self._handle, MutexValue):
                self._handle.set(self._value, now_ns)
                if self._set_at is not None:
                    self._set_at.set(self._stamp, now_ns)

    def get(self) -> float:
        """Read this process's value."""
        return self._value
