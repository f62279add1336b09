"""Current values -> the text that scrapers read: OpenMetrics 1.0 or Prometheus text 0.0.4; no I/O.

Source: OpenMetrics 1.0.0, "Text format"; Prometheus, "Exposition formats".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import attrs

from rondo_core.model.labels import Labels, Series

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# Suffixes of the samples that a family of each kind may have; no other family may be called so.
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "summary": ("", "_count", "_sum")}
_OPENMETRICS_SUFFIXES = {"counter": ("", "_created"), "gauge": (), "summary": ("_created",)}


@attrs.frozen
class SummaryValue:
    """What a summary stands at: running totals, and quantiles (share, value) of its newest observations."""

    count: float
    sum: float
    quantiles: tuple[tuple[float, float], ...] = ()


Value = float | SummaryValue


def choose(accept: str) -> str:
    """Give the content type that an Accept header prefers: OpenMetrics only where it is asked for.

    Source: RFC 9110, section 12.5.1.
    """
    best = {OPENMETRICS: 0.0, TEXT: 0.0}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        given = {name.strip(): value.strip() for name, _, value in (each.partition("=") for each in parameters)}
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            quality = 0.0
        if media == "application/openmetrics-text" and given.get("version", "1.0.0") in {"1.0.0", "0.0.1"}:
            best[OPENMETRICS] = max(best[OPENMETRICS], quality)
        elif media in {"text/plain", "text/*", "*/*"} and given.get("version", "0.0.4") == "0.0.4":
            best[TEXT] = max(best[TEXT], quality)
    return OPENMETRICS if best[OPENMETRICS] > 0 and best[OPENMETRICS] >= best[TEXT] else TEXT


class Exposition(NamedTuple):
    """The text, and the series that could not be in it because another family has their name already."""

    text: str
    left_out: list[Series]


def expose(
    values: Iterable[tuple[Series, Value]],
    content_type: str = OPENMETRICS,
    times_ns: Mapping[Series, int] | None = None,
) -> Exposition:
    """Write the values of series, families in the order of their first series.

    A counter's sample ends in `_total` in both forms, so that a series keeps its name whatever a scraper asks for. A
    unit is announced where the name ends in it. Two families whose names would collide cannot both be told: the first
    to come stands.

    Args: `times_ns`: when values are of, ns since the epoch; a series that is not in it is of now.
    """
    openmetrics = content_type == OPENMETRICS
    families: dict[tuple[str, str], dict[Labels, tuple[Series, Value]]] = {}
    left_out: list[Series] = []
    for series, value in values:
        family = families.setdefault((family_name(series), series.kind), {})
        if family.setdefault(series.labels, (series, value))[0] is not series:
            left_out.append(series)
    taken: set[str] = set()
    lines: list[str] = []
    for (name, kind), members in families.items():
        owned = {name + suffix for suffix in _SUFFIXES[kind] + (_OPENMETRICS_SUFFIXES[kind] if openmetrics else ())}
        if owned & taken:
            left_out += [series for series, _ in members.values()]
            continue
        taken |= owned
        lines += _family(name, kind, list(members.values()), times_ns or {}, openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return Exposition("\n".join(lines) + "\n" if lines else "", left_out)


def family_name(series: Series) -> str:
    """Give the name of the family that a series belongs to: a counter's is without `_total`."""
    return series.name.removesuffix("_total") or series.name if series.kind == "counter" else series.name


def _family(
    name: str, kind: str, members: list[tuple[Series, Value]], times_ns: Mapping[Series, int], openmetrics: bool
) -> Iterator[str]:
    total = f"{name}_total" if kind == "counter" else name
    head = name if openmetrics else total
    help_text = next((series.help for series, _ in members if series.help), "")
    unit = next((series.unit for series, _ in members if series.unit), "")
    if help_text:
        yield f"# HELP {head} {_escaped(help_text) if openmetrics else _escaped(help_text, quotes=False)}"
    yield f"# TYPE {head} {kind}"
    if openmetrics and unit and name.endswith(f"_{unit}"):
        yield f"# UNIT {name} {unit}"
    for series, value in members:
        stamp = _stamp(times_ns.get(series), openmetrics)
        if isinstance(value, SummaryValue):
            for share, quantile in value.quantiles:
                yield f"{name}{_labels(series.labels, {'quantile': repr(float(share))})} {_number(quantile)}{stamp}"
            yield f"{name}_count{_labels(series.labels)} {_number(value.count)}{stamp}"
            yield f"{name}_sum{_labels(series.labels)} {_number(value.sum)}{stamp}"
        else:
            yield f"{total}{_labels(series.labels)} {_number(value)}{stamp}"


def _stamp(time_ns: int | None, openmetrics: bool) -> str:
    """Write a time as the form has it: seconds with a fraction, or milliseconds."""
    if time_ns is None:
        return ""
    return f" {time_ns // 10**9}.{time_ns % 10**9:09d}" if openmetrics else f" {time_ns // 10**6}"


def _labels(labels: Labels, more: Mapping[str, str] | None = None) -> str:
    pairs = [*labels, *(more or {}).items()]
    if more:  # a label of the series' own that is called so would make the line unreadable
        pairs = [pair for pair in labels if pair[0] not in more] + list(more.items())
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}" if pairs else ""


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    """Write a float so that reading it gives the same; whole numbers without a fraction."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    return (
        str(int(value)) if value == int(value) and abs(value) < 1 << 53 and str(value)[0] != "-" else repr(float(value))
    )
