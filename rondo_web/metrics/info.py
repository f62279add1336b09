"""/metrics/info: what the store is, who wrote it, and which series it holds."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from rondo_core.model import Series, overridden
from rondo_core.read import LABEL, StoreReader
from rondo_web.http.responses import PageResponse
from rondo_web.reading.descriptions import Description, describe
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SERIES_LISTED = 10_000


def info(store: ServedStore, _request: Request, limits: ReadLimits) -> PageResponse:
    """Give each store, the first 10,000 series and how many there are, and the stores that could not be read."""
    if store.is_directory():  # the headers of its stores say it all: none of them is opened whole
        found, left_out = store.describe(MAX_SERIES_LISTED)
    else:
        with store.reader(limits) as reader:
            assert isinstance(reader, StoreReader)  # noqa: S101 - for the type checker
            facts = describe(reader.path, reader.meta, reader.registry.counts, reader.runs())
            first = tuple(islice(reader.registry, MAX_SERIES_LISTED))
            found, left_out = [("", Description(len(reader.registry), facts, first))], []
    n_series = sum(each.n_series for _, each in found)
    limits.check_series(n_series)
    named = (_named(name, each.facts["labels"], series) for name, each in found for series in each.series)
    series = [
        {key: getattr(each, key) for key in ("name", "kind", "unit", "help")} | {"labels": dict(each.labels)}
        for each in islice(named, MAX_SERIES_LISTED)
    ]
    told = {"stores": [each.facts for _, each in found], "n_series": n_series, "series": series, "left_out": left_out}
    return PageResponse([json.dumps(told), "\n"])


def _named(store: str, telling: dict[str, str], series: Series) -> Series:
    return series._replace(labels=overridden(series.labels, {LABEL: store, **telling})) if store else series
