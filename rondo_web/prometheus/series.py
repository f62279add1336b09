"""/api/v1/labels, label/NAME/values, series and metadata: which series there are, told from the registries alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rondo_core.errors import UsageError
from rondo_web.http.responses import PageResponse
from rondo_web.prometheus.endpoint import ApiPage, ApiRequest, success_of
from rondo_web.prometheus.selection import ServedSource, matchers_of

MAX_TOLD = 50_000  # names, values or series of one answer
# Source: Prometheus, "Escaping of metric and label names", values escaping.
_ESCAPED, _RUNE = "U__", re.compile(r"__|_([0-9A-Fa-f]{1,6})_")
TRUNCATED = "results truncated due to limit"


def labels(asked: ApiRequest) -> PageResponse:
    """Give the names of labels, sorted."""
    return _listed(asked, sorted({name for each in _found(asked) for name in each}))


def values_of(name: str) -> ApiPage:
    """Give the page of the values of a label, sorted."""

    def values(asked: ApiRequest) -> PageResponse:
        label = unescaped(name)
        return _listed(asked, sorted({each[label] for each in _found(asked) if label in each}))

    return values


def series(asked: ApiRequest) -> PageResponse:
    """Give the label sets that at least one selector takes."""
    if not asked.parameters.every("match[]"):
        raise UsageError("no match[] parameter provided")
    return _listed(asked, _found(asked))


def metadata(asked: ApiRequest) -> PageResponse:
    """Give the type, the help and the unit of each metric: what a query builder shows beside its name."""
    wanted = asked.parameters.text("metric")
    told = {
        name: [{"type": kind, "help": text, "unit": unit}]
        for name, (kind, text, unit) in sorted(ServedSource(asked).metadata().items())
        if not wanted or name == wanted
    }
    return success_of(dict(islice(told.items(), asked.parameters.limit() or MAX_TOLD)))


def unescaped(name: str) -> str:
    """Give the name of a label that may be written so as to be a plain word: `U__a_2e_b` is `a.b`."""
    if not name.startswith(_ESCAPED):
        return name

    def rune(match: re.Match[str]) -> str:
        return "_" if match[1] is None else chr(min(int(match[1], 16), 0x10FFFF))

    return _RUNE.sub(rune, name.removeprefix(_ESCAPED))


def _found(asked: ApiRequest) -> list[dict[str, str]]:
    """Give the label sets that the selectors of `match[]` take, each once; all where there is none."""
    every = [matchers_of(each) for each in asked.parameters.every("match[]")] or [[]]
    start_ms, end_ms = asked.parameters.span_ms()
    source = ServedSource(asked)
    # The registries do not say when a series had samples: all of what is served counts, or nothing of it.
    first_ms, last_ms = source.span_ms()
    if end_ms < first_ms or start_ms > last_ms:
        return []
    found: dict[Any, dict[str, str]] = {}
    for matchers in every:
        for each in source.series(matchers):
            found.setdefault(tuple(sorted(each.items())), each)
    return list(found.values())


def _listed(asked: ApiRequest, every: Sequence[Any]) -> PageResponse:
    most = min(asked.parameters.limit() or MAX_TOLD, MAX_TOLD)
    return success_of(every[:most], [TRUNCATED] if len(every) > most else [])
