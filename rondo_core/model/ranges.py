"""Ranges of time and tiers, as a query asks for them: "15m", "2h..1h", "all"; a tier's number or "auto"."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import attrs

from rondo_core.errors import RangeError
from rondo_core.model.schema import Schema
from rondo_core.units import format_instant, parse_duration_ns, parse_instant_ns

AUTO = "auto"


_FOREVER = 2**62


@attrs.frozen
class Range:
    """A span of time, `start_ns` <= t < `end_ns`; either side may be so long before an anchor still to be named.

    Attributes: `last_ns`, it begins that long before the anchor; `back_ns`, it ends that long before it. Where neither
    `end_ns` nor `back_ns` is given beside `last_ns`, it ends with the anchor.
    """

    start_ns: int = 0
    end_ns: int = _FOREVER
    last_ns: int | None = None
    back_ns: int | None = None

    @property
    def is_relative(self) -> bool:
        """Whether it has to be anchored."""
        return self.last_ns is not None or self.back_ns is not None

    def anchored(self, anchor_ns: int) -> Range:
        """Fix a relative range; an absolute one stays as it is.

        Raises: RangeError: one side is an instant, and the range then ends before it starts.
        """
        if not self.is_relative:
            return self
        start_ns, end_ns = self.start_ns, self.end_ns
        if self.last_ns is not None:
            start_ns = max(0, anchor_ns + 1 - self.last_ns)
        if self.back_ns is not None or end_ns == _FOREVER:
            end_ns = max(0, anchor_ns + 1 - (self.back_ns or 0))
        if end_ns < start_ns:
            span = f"{format_instant(start_ns)}..{format_instant(end_ns)}"
            raise RangeError(f"{span}: ends before it starts, reckoned from {format_instant(anchor_ns)}")
        return Range(start_ns, end_ns)


ALL = Range()


@lru_cache(256)
def parse_range(text: str, zone: dt.tzinfo = dt.UTC) -> Range:
    """Read "all", a duration back from the anchor ("15m", "1h30m"), or START..END.

    Either side of .. is an instant (ISO 8601, in `zone` where it names none, or seconds since the epoch), a duration
    back from the anchor ("2h..1h", "-2h..-1h"), "now", which is the anchor, or left out.

    Raises: RangeError: it is none of these, or ends before it starts.
    """
    compact = text.strip()
    if compact == "all":
        return ALL
    if ".." not in compact:
        try:
            return Range(last_ns=parse_duration_ns(compact.removeprefix("-")))
        except RangeError:
            raise RangeError(f"{text!r}: not a range; write all, 15m, 2h..1h or START..END") from None
    start, _, end = compact.partition("..")
    first_ns, last_ns = _side(start, zone, 0)
    end_ns, back_ns = _side(end, zone, _FOREVER)
    whole = Range(first_ns, end_ns, last_ns, back_ns)
    both_relative = last_ns is not None and back_ns is not None
    if both_relative and (last_ns or 0) <= (back_ns or 0):
        raise RangeError(f"{text!r}: ends before it starts; write the longer duration first, as in 2h..1h")
    if not whole.is_relative and end_ns <= first_ns:
        raise RangeError(f"{text!r}: ends before it starts; write START..END")
    return whole


def _side(text: str, zone: dt.tzinfo, left_out_ns: int) -> tuple[int, int | None]:
    """Read one side of a range: the instant, or `left_out_ns` and how long before the anchor it lies."""
    compact = text.strip()
    if not compact:
        return left_out_ns, None
    if compact == "now":
        return left_out_ns, 0
    if compact.startswith("-"):
        return left_out_ns, parse_duration_ns(compact[1:])
    if not compact[-1].isdigit():  # a bare number is seconds since the epoch
        try:
            return left_out_ns, parse_duration_ns(compact)
        except RangeError:
            pass
    return parse_instant_ns(compact, zone), None


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
