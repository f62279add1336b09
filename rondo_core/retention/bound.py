"""How much of the dead a directory of stores keeps, as a program, a config or a command says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from rondo_core.clock import NS_PER_S
from rondo_core.errors import RondoError, UsageError, one_line
from rondo_core.units import parse_size_bytes, seconds

KEYS = ("keep_last", "keep_for", "keep_bytes")


class Bound(NamedTuple):
    """How much is kept of stores whose processes are gone; None: any number.

    Attributes:
        keep_last: how many of them, the newest; keep_for_ns: for how long after their end.
        keep_bytes: how many bytes all stores of the directory take, live ones and the store of the ended too.
        exporters: whose cursors keep_last and keep_for wait for; None: each exporter's that a store has a cursor of.
    """

    keep_last: int | None = None
    keep_for_ns: int | None = None
    keep_bytes: int | None = None
    exporters: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        """Say whether there is a bound."""
        return (self.keep_last, self.keep_for_ns, self.keep_bytes) != (None, None, None)

    @classmethod
    def read(cls, given: Mapping[str, Any], exporters: tuple[str, ...] | None = None) -> Self:
        """Read the keys keep_last, keep_for ("1d", or seconds) and keep_bytes ("1GiB", or bytes).

        Raises: UsageError: one of them cannot be.
        """
        last, age, size = (given.get(key) for key in KEYS)
        if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 0):
            raise UsageError(f"keep_last {last!r}: a number of stores, 0 or more")
        return cls(last, _duration_ns(age), _size_bytes(size), exporters)


def _duration_ns(given: Any) -> int | None:
    if given is None:
        return None
    age_s = seconds("keep_for", given)
    if not 0 <= age_s < 1 << 33:
        raise UsageError(f"keep_for {given!r}: from 0 s on")
    return round(age_s * NS_PER_S)


def _size_bytes(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, str):
        try:
            return parse_size_bytes(given)
        except RondoError as error:
            raise UsageError(f"keep_bytes: {one_line(error)}") from None
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise UsageError(f'keep_bytes {given!r}: a size, such as "1GiB", or bytes')
    return given
