"""Parameters of Prometheus's API: instants, durations and numbers as its clients write them; an error is one line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from urllib.parse import parse_qsl

from rondo_core.clock import wall_ns
from rondo_core.errors import UsageError

MAX_FIELDS = 1000
MAX_POINTS = 11_000  # of a series. Source: Prometheus, web/api/v1, "exceeded maximum resolution"
# Instants in ms that ns in an int64 can tell; clients that mean "ever" say more.
FIRST_MS, LAST_MS = -9_000_000_000_000, 9_000_000_000_000
_MAX_CHARS = 64  # of an instant, a duration or a number
# Source: Prometheus, "Querying basics", "Time durations".
_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit in _UNITS_MS))
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Parameters:
    """What a request asks for, from its URL and its form; a name may be given again."""

    def __init__(self, query_string: bytes, form: bytes = b"") -> None:
        """Read both; what a form says comes first, and so counts. Raises: UsageError: there are too many fields."""
        try:
            pairs = [
                pair
                for text in (form, query_string)
                for pair in parse_qsl(
                    text.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS, separator="&"
                )
            ]
        except ValueError:
            raise UsageError(f"more than {MAX_FIELDS} parameters") from None
        self._given: dict[str, list[str]] = {}
        for name, value in pairs:
            self._given.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """Give the first value of a parameter."""
        return self._given.get(name, [default])[0]

    def every(self, name: str) -> list[str]:
        """Give every value of a parameter."""
        return self._given.get(name, [])

    def instant_ms(self, name: str, default: int | None = None) -> int:
        """Give an instant: seconds since the epoch, or RFC 3339. Args: `default`: where it is not given.

        Raises: UsageError: it is missing, or no instant.
        """
        text = self.text(name)
        if not text and default is not None:
            return default
        with suppress(ValueError, OverflowError):
            if len(text) <= _MAX_CHARS:
                return min(LAST_MS, max(FIRST_MS, _instant_ms(text)))
        raise _wrong(name, text, "give seconds since the epoch, or 2026-01-31T12:00:00Z")

    def duration_ms(self, name: str, default: int | None = None) -> int:
        """Give a duration: seconds, or 1h30m, at most all time. Raises: UsageError: it is missing, or none."""
        text = self.text(name)
        if not text and default is not None:
            return default
        with suppress(ValueError, OverflowError):
            if len(text) <= _MAX_CHARS:
                return max(-LAST_MS, min(LAST_MS, _duration_ms(text)))
        raise _wrong(name, text, "give seconds, or 1h30m")

    def limit(self, name: str = "limit") -> int:
        """Give how many there are to be at most; 0: all. Raises: UsageError: it is no such number."""
        text = self.text(name) or "0"
        if re.fullmatch("[0-9]{1,18}", text, re.ASCII) is None:
            raise _wrong(name, text, "give a number of at least 0")
        return int(text)

    def span_ms(self) -> tuple[int, int]:
        """Give `start` and `end` in ms, where they are not given: ever. Raises: UsageError: see `instant_ms`."""
        return self.instant_ms("start", FIRST_MS), self.instant_ms("end", LAST_MS)

    def steps_ms(self) -> tuple[int, int, int]:
        """Give the start, the end and the step of a range query.

        Raises: UsageError: one is missing or wrong, or there are too many steps.
        """
        start, end = self.instant_ms("start"), self.instant_ms("end")
        if end < start:
            raise UsageError('invalid parameter "end": end timestamp must not be before start time')
        step = self.duration_ms("step")
        if step <= 0:
            what = "zero or negative query resolution step widths are not accepted. Try a positive integer"
            raise UsageError(f'invalid parameter "step": {what}')
        if (end - start) // step > MAX_POINTS:
            what = "exceeded maximum resolution of 11,000 points per timeseries"
            raise UsageError(f"{what}. Try decreasing the query resolution (?step=XX)")
        return start, end, step


def now_ms() -> int:
    """Give the wall clock's time in ms."""
    return wall_ns() // 1_000_000


def _wrong(name: str, text: str, mend: str) -> UsageError:
    shown = text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
    return UsageError(f'invalid parameter "{name}": cannot parse "{shown}"; {mend}')


def _instant_ms(text: str) -> int:
    if _NUMBER.fullmatch(text):
        return _rounded_ms(float(text))
    found = datetime.fromisoformat(text)
    if found.tzinfo is None or "T" not in text.upper():
        raise ValueError(text)
    return round(found.timestamp() * 1000)


def _duration_ms(text: str) -> int:
    if _NUMBER.fullmatch(text):
        return _rounded_ms(float(text))
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(text)
    return min(LAST_MS, sum(int(each or 0) * ms for each, ms in zip(_groups(match), _UNITS_MS.values(), strict=True)))


def _groups(match: re.Match[str]) -> Sequence[str | None]:
    return match.groups()


def _rounded_ms(seconds: float) -> int:
    if not math.isfinite(seconds):
        raise ValueError(seconds)
    return round(seconds * 1000)
