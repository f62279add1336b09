"""The application of a store: the route to every page, and the words for a page or a method that there is not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from rondo_web.errors import PROMETHEUS_API, error_body, prometheus_kind
from rondo_web.http.access import PAGE_FILES
from rondo_web.http.responses import json_response, page_of
from rondo_web.metrics.health import health
from rondo_web.metrics.info import info
from rondo_web.metrics.query import query
from rondo_web.metrics.scrape import scrape
from rondo_web.page.files import file_of
from rondo_web.page.life import life
from rondo_web.page.lives import LifeDirectory, lives
from rondo_web.prometheus import pages as prometheus
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


def application(store: ServedStore) -> Starlette:
    """Give the application that answers from a store: a new page is a module and its line here."""
    known = LifeDirectory(store.path, store.label)
    pages = [
        Route("/metrics", page_of(store, scrape)),
        Route("/metrics/health", partial(health, store)),
        Route("/metrics/info", page_of(store, info)),
        Route("/metrics/query", page_of(store, query)),
        Route("/api/v1/rondo/lives", page_of(store, partial(lives, known))),
        Route("/api/v1/rondo/life", page_of(store, partial(life, known))),
        Route("/", file_of("index.html")),
        Route(f"{PAGE_FILES}{{name:path}}", file_of()),
    ]
    there = f"{', '.join(page.path for page in pages)}, and Prometheus's API below {PROMETHEUS_API}"

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is called for
        said = {404: f"no such page; there are {there}", 405: _methods_said(request.url.path)}
        kind = prometheus_kind(error.status_code, request.url.path)
        body = error_body(said.get(error.status_code, error.detail), kind)
        return json_response(body, error.status_code, error.headers or {})

    handlers: dict[Any, Any] = {HTTPException: refused}
    app = Starlette(routes=[*pages, *prometheus.routes(store)], exception_handlers=handlers)
    app.router.redirect_slashes = False  # which would send the client to whatever its Host says
    return app


def _methods_said(path: str) -> str:
    """Say what is answered where a method is not."""
    return (
        "only GET and POST are answered here" if path.startswith(PROMETHEUS_API) else "only GET and HEAD are answered"
    )


def by_port(apps: Mapping[int, ASGIApp]) -> ASGIApp:
    """Give an application that hands each request to the one of the port that it came to."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    return dispatch
