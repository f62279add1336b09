"""A value of one sample of prometheus_client, kept by a series of a store: a total, a sum that may fall, a level."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client.values import MutexValue

from rondo_bridges.prometheus_multiprocess.ended import failures
from rondo_bridges.prometheus_multiprocess.samples import LESS, SET_AT, Identity, labels_of
from rondo_core import Store

if TYPE_CHECKING:
    from rondo_bridges.prometheus_multiprocess.values import Values


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
            store = self._values.store
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
