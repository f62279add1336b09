"""Ranges of time and tiers, as a query asks for them: "15m", "all", two instants; a tier's number or "auto"."""

from __future__ import annotations

from functools import lru_cache

import attrs

from rondo_core.errors import RangeError
from rondo_core.model.schema import Schema
from rondo_core.units import parse_duration_ns, parse_instant_ns

AUTO = "auto"


@attrs.frozen
class Range:
    """A span of time: `start_ns` <= t < `end_ns`; or the last `last_ns` before an anchor still to be named."""

    start_ns: int = 0
    end_ns: int = 2**62
    last_ns: int | None = None

    def anchored(self, anchor_ns: int) -> Range:
        """Fix a relative range at its end; an absolute one stays as it is."""
        if self.last_ns is None:
            return self
        return Range(max(0, anchor_ns + 1 - self.last_ns), anchor_ns + 1)


ALL = Range()


@lru_cache(256)
def parse_range(text: str) -> Range:
    """Read "all", a duration back from the anchor ("15m", "1h30m"), or two instants ("START..END").

    An instant is ISO 8601 or seconds since the epoch; either side of .. may be left out.

    Raises: RangeError: it is none of these, or ends before it starts.
    """
    compact = text.strip()
    if compact == "all":
        return ALL
    if ".." not in compact:
        try:
            return Range(last_ns=parse_duration_ns(compact))
        except RangeError:
            raise RangeError(f"{text!r}: not a range; write all, 15m, 1h30m or START..END") from None
    start, _, end = compact.partition("..")
    whole = Range(parse_instant_ns(start) if start else 0, parse_instant_ns(end) if end else 2**62)
    if whole.end_ns <= whole.start_ns:
        raise RangeError(f"{text!r}: ends before it starts; write START..END")
    return whole


def tier_index(tier: int | str, schema: Schema) -> int | None:
    """Read a tier as asked for: a number, or "auto", which is None.

    Raises: RangeError: the schema has no such tier.
    """
    if tier == AUTO:
        return None
    kept = ", ".join(f"{index} ({each})" for index, each in enumerate(schema.tiers))
    try:
        index = int(tier)
        schema.tiers[index]
    except (ValueError, IndexError):
        index = -1
    if index < 0:
        raise RangeError(f"tier {tier!r}: schema {schema.name} has {kept}; or choose auto")
    return index
