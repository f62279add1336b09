"""/metrics: where the series of every live store stand, for a scraper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rondo_core.errors import QueryLimitError
from rondo_core.export import NewestSample, newest_of
from rondo_core.export.exposition import Value, choose, expose
from rondo_core.model import Series, overridden
from rondo_core.read import store_labels
from rondo_web.http.responses import PageResponse
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SERIES_SCRAPED = 50_000
_MAX_ACCEPT = 1000  # characters


def scrape(store: ServedStore, request: Request, limits: ReadLimits) -> PageResponse:
    """Give the newest value of each series in the format that the scraper accepts; a store that has ended has none."""
    content_type = choose(request.headers.get("accept", "")[:_MAX_ACCEPT])
    found, n_series = list[tuple[Series, Value]](), 0
    for name, reader in store.live(limits):
        n_series += len(reader.registry)
        limits.check_series(n_series)
        if n_series > MAX_SERIES_SCRAPED:
            what = f"{n_series} series or more; at most {MAX_SERIES_SCRAPED} are told at once"
            raise QueryLimitError(f"{what}; let rondo export send them")
        found += _labelled(newest_of(reader), store_labels(name, reader) if name else {})
    return PageResponse([expose(found, content_type).text], content_type)


def _labelled(found: list[NewestSample], telling: dict[str, str]) -> Iterator[tuple[Series, Value]]:
    """Tell the series of several stores apart, as queries do."""
    for series, _, value in found:
        labels = overridden(series.labels, telling) if telling else series.labels
        yield series._replace(labels=labels), value
