"""Durations, sizes and ranges as people write them ("15m", "1h30m", "4KiB") to numbers and back."""

from __future__ import annotations

import datetime as dt
import math
import re

from rondo_core.errors import RangeError

Duration = float | str | dt.timedelta
_UNIT_NS = {
    "w": 604_800_000_000_000,
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
# As many digits as any number that is taken can have, and no more: what is longer is refused at once, not tried.
_DIGITS = r"[0-9]{1,19}(?:\.[0-9]{1,30})?"
_NUMBER = re.compile(_DIGITS)
_DURATION = re.compile(rf"({_DIGITS})(ms|us|ns|[wdhms])")
# K, Ki and KiB are 1024, as systemd, docker and ulimit have it, and KB is 1000; small letters are as good.
_SIZE = re.compile(rf"({_DIGITS})\s*(?:([kKmMgGtT])([iI]?[bB]?)|[bB])?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAX_NS = 2**63 - 1


def parse_duration_ns(text: str) -> int:
    """Read "90s", "15m", "1h30m", "250ms" or a bare number of seconds as nanoseconds.

    Raises: RangeError: the text is not a duration, is zero, or does not fit into int64.
    """
    compact = text.strip()
    if _NUMBER.fullmatch(compact):
        compact += "s"
    total, end = 0, 0
    while (match := _DURATION.match(compact, end)) and total <= _MAX_NS:
        number, unit = match.groups()
        whole, _, fraction = number.partition(".")
        total += int(whole) * _UNIT_NS[unit]
        total += int(fraction or "0") * _UNIT_NS[unit] // 10 ** len(fraction)
        end = match.end()
    if not compact or end != len(compact) or not 0 < total <= _MAX_NS:
        raise RangeError(f"{text!r}: not a duration; write 90s, 15m, 1h30m or 7d")
    return total


def seconds(option: str, given: Duration) -> float:
    """Read a duration as seconds: a number is that already, a text is as in TOML, such as "1s".

    Raises: RangeError: neither; `option` names what it was given for.
    """
    if isinstance(given, str):
        try:
            return parse_duration_ns(given) / _UNIT_NS["s"]
        except RangeError as error:
            raise RangeError(f"{option}: {error}") from None
    if isinstance(given, dt.timedelta):
        return given.total_seconds()
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or isinstance(given, bool):
        raise RangeError(f'{option}: {given!r}: not a duration; write seconds as a number, or a text such as "90s"')
    return number


def format_duration(duration_ns: int) -> str:
    """Write nanoseconds as people do: 600 s is "10m", 5400 s is "1h30m", 0 is "0s"."""
    rest, parts = abs(duration_ns), []
    for unit, size in _UNIT_NS.items():
        if unit == "w":
            continue
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if duration_ns < 0 else "") + ("".join(parts[:3]) or "0s")


def parse_size_bytes(text: str) -> int:
    """Read "4KiB", "512M", "1.5 MB" or a bare number as bytes: K, Ki and KiB are 1024, KB is 1000.

    Raises: RangeError: the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise RangeError(f"{text!r}: not a size; write 4096, 64KiB, 512M or 1.5GB")
    number, power, rest = match[1], (match[2] or "").lower(), (match[3] or "").lower()
    return int(float(number) * (1000 if rest == "b" else 1024) ** _POWERS[power])


def format_size(size_bytes: int) -> str:
    """Write bytes with a binary unit: 4096 is "4.0 KiB"."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{value:.1f} {unit}"


def parse_zone(name: str) -> dt.tzinfo:
    """Find a time zone by its name, such as "Europe/Berlin", "UTC", or "local": that of this machine.

    Raises: RangeError: there is none of that name here.
    """
    import zoneinfo

    if name == "UTC":
        return dt.UTC
    try:
        if name != "local":
            return zoneinfo.ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123 - what zoneinfo takes
            return zoneinfo.ZoneInfo.from_file(file, "local")
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        what = "no time zone that this machine knows; write UTC, or a name such as Europe/Berlin"
        raise RangeError(f"{name!r}: {what} (pip install tzdata brings all of them)") from None


def parse_instant_ns(text: str, zone: dt.tzinfo = dt.UTC) -> int:
    """Read an instant as nanoseconds since the epoch: ISO 8601, in `zone` where it names none, or seconds since then.

    Of an hour that a zone has twice, the first is meant.
    Raises: RangeError: the text is neither.
    """
    compact = text.strip()
    if _NUMBER.fullmatch(compact):
        whole, _, fraction = compact.partition(".")
        instant = int(whole) * _UNIT_NS["s"] + int((fraction + "0" * 9)[:9])
    else:
        try:
            moment = dt.datetime.fromisoformat(compact)
        except ValueError:
            moment = None
        if moment is None:
            raise RangeError(f"{text!r}: not an instant; write 2026-11-23T12:00:00Z or seconds since the epoch")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        instant = (since.days * 86_400 + since.seconds) * _UNIT_NS["s"] + since.microseconds * _UNIT_NS["us"]
    if not 0 <= instant <= _MAX_NS:
        raise RangeError(f"{text!r}: outside 1970 to 2262")
    return instant


def format_instant(instant_ns: int, zone: dt.tzinfo = dt.UTC) -> str:
    """Write nanoseconds since the epoch as ISO 8601, to the second or as fine as it is; in UTC with a Z."""
    whole, fraction = divmod(instant_ns, _UNIT_NS["s"])
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    if zone is not dt.UTC:
        there = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=whole)).astimezone(zone)
        local = there.isoformat(timespec="seconds")
        return f"{local[:19]}{tail}{local[19:]}"
    days, second = divmod(whole, 86_400)
    day = dt.date(1970, 1, 1) + dt.timedelta(days=days)
    return f"{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{tail}Z"
