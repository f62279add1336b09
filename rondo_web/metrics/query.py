"""/metrics/query: the points of the series that a selector matches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from rondo_core import Range
from rondo_core.clock import wall_ns
from rondo_core.errors import UsageError
from rondo_core.model import Selector, parse_range, parse_selector
from rondo_core.units import parse_instant_ns
from rondo_web.http.responses import PageResponse
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.regex import compile_re2
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

PARAMETERS = ("selector", "series", "start", "end", "range", "tier", "fn", "agg", "xff", "open")
MAX_CONDITIONS = 64


def query(store: ServedStore, request: Request, limits: ReadLimits) -> PageResponse:
    """Give a list of series, each as `SeriesData.to_dict` has it."""
    asked = parse(request.query_params)
    budget = limits.budget()
    with store.reader(limits) as reader:
        live = reader.writer_pid() is not None
        found = reader.query(
            asked.selector,
            asked.range,
            tier=asked.tier,
            fn=asked.fn,
            now_ns=wall_ns() if live else None,
            xff=asked.xff,
            agg=asked.agg,
            open=asked.open,
            budget=budget,
        )
        pieces = ["["]
        for each in found:
            budget.check()
            pieces += [", "] * (len(pieces) > 1) + [json.dumps(each.to_dict())]
    pieces.append("]\n")
    return PageResponse(pieces)


@attrs.frozen
class QueryRequest:
    """What a query asks for: see `StoreReader.query`."""

    selector: Selector
    range: Range
    tier: str
    fn: str | None
    xff: float
    agg: bool = False
    open: bool = False


def parse(parameters: Mapping[str, str]) -> QueryRequest:
    """Read the parameters, which are called as the command's are; `series` is the selector too.

    `start` and `end` are instants, in place of `range`.

    Raises: UsageError: one is unknown, missing or not to be read, or contradicts another.
    """
    asked = dict(parameters)
    for key in asked:
        if key not in PARAMETERS:
            raise UsageError(f"{key}: no such parameter; there are {', '.join(PARAMETERS)}")
    if asked.get("selector") and asked.get("series"):
        raise UsageError("selector: given beside series, which means the same; keep one")
    text = asked.get("selector") or asked.get("series")
    if not text:
        raise UsageError("series: missing; give a selector such as vcpu_exits_total{reason=io}")
    selector = parse_selector(text, compile_re2)
    if selector.conditions() > MAX_CONDITIONS:
        raise UsageError(f"series: {selector.conditions()} conditions; at most {MAX_CONDITIONS}")
    span, xff = parse_range(_range(asked)), _share(asked.get("xff", "0"))
    flags = [_flag(name, asked.get(name, "0")) for name in ("agg", "open")]
    return QueryRequest(selector, span, asked.get("tier", "auto"), asked.get("fn"), xff, *flags)


def _range(asked: Mapping[str, str]) -> str:
    """Give the range in the words of `--range`."""
    if "range" in asked:
        if "start" in asked or "end" in asked:
            raise UsageError("range: given beside start or end; keep one")
        return asked["range"]
    if "start" not in asked and "end" not in asked:
        return "all"
    start, end = asked.get("start", "1970-01-01T00:00:00Z"), asked.get("end", "2262-01-01T00:00:00Z")
    parse_instant_ns(start), parse_instant_ns(end)
    return f"{start}..{end}"


def _flag(name: str, text: str) -> bool:
    if text.lower() in {"1", "true", "0", "false"}:
        return text.lower() in {"1", "true"}
    raise UsageError(f"{name}: {text!r}: write 1 or 0")


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0.0 <= (share := float(text)) <= 1.0:
            return share
    raise UsageError(f"xff: {text!r} is not a share; from 0 to 1")
