"""The pages of Prometheus's API: which path is which, and by which methods it may be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.routing import Route

from rondo_web.errors import PROMETHEUS_API
from rondo_web.prometheus import query, series, status
from rondo_web.prometheus.endpoint import ApiPage, page_of
from rondo_web.prometheus.remote_read import remote_read
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_ASKED_BOTH_WAYS: dict[str, ApiPage] = {
    "query": query.query,
    "query_range": query.query_range,
    "query_exemplars": status.exemplars,
    "format_query": query.format_query,
    "parse_query": query.parse_query,
    "labels": series.labels,
    "series": series.series,
}
_ASKED: dict[str, ApiPage] = {
    "metadata": series.metadata,
    "rules": status.rules,
    "alerts": status.alerts,
    "targets": status.targets,
    "targets/metadata": status.target_metadata,
    "scrape_pools": status.scrape_pools,
    "alertmanagers": status.alertmanagers,
    "notifications": status.notifications,
    "status/buildinfo": status.build,
    "status/config": status.config,
    "status/flags": status.flags,
    "status/tsdb": status.tsdb,
    "status/walreplay": status.wal_replay,
}


def routes(store: ServedStore) -> list[Route]:
    """Give the routes of a store, or of a directory of stores."""
    both = [_route(store, path, page, "GET", "POST") for path, page in _ASKED_BOTH_WAYS.items()]
    return [
        *both,
        *(_route(store, path, page, "GET") for path, page in _ASKED.items()),
        Route(f"{PROMETHEUS_API}label/{{name}}/values", _values(store), methods=["GET"]),
        _route(store, "read", remote_read, "POST"),
    ]


def _route(store: ServedStore, path: str, page: ApiPage, *methods: str) -> Route:
    return Route(PROMETHEUS_API + path, page_of(store, page), methods=methods)


def _values(store: ServedStore) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await page_of(store, series.values_of(request.path_params["name"]))(request)

    return endpoint
