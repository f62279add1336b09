"""What a request costs in middleware of rondo's and in one of prometheus_client: CPU time over the bare application's.

The applications answer one byte; routes are those of Starlette and Flask, as both kinds of middleware read them. The
middleware of prometheus_client counts as much as rondo's does: requests by method, route and status, durations by
route and of all, requests in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter, process_time_ns
from typing import Any

from flask import Flask, request, request_started
from harness import Report, finish, in_turn, machine, options, temporary_folder
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rondo_bridges.asgi import AsgiMiddleware
from rondo_bridges.wsgi import WsgiMiddleware
from rondo_core import Schema, Store

NUMBER = 3000


class Peer:
    """The instruments of a hand-written middleware of prometheus_client."""

    def __init__(self) -> None:
        """Declare them in a registry of their own."""
        registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self.requests = Counter("http_requests", "Requests.", names, registry=registry)
        self.route = Histogram("http_route_duration_seconds", "Seconds.", ["route"], registry=registry)
        self.all = Histogram("http_request_duration_seconds", "Seconds.", registry=registry)
        self.in_progress = Gauge("http_requests_in_progress", "Requests.", registry=registry)

    def asgi(self, app: Any) -> Any:
        """Wrap an application."""

        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            status = 500

            async def watched(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            self.in_progress.inc()
            start = perf_counter()
            try:
                await app(scope, receive, watched)
            finally:
                self.ended(scope["method"], scope["route"].path if "route" in scope else "", str(status), start)

        return middleware

    def wsgi(self, app: Any) -> Any:
        """Wrap an application."""

        def middleware(environ: Any, start_response: Any) -> Any:
            status = "500"

            def started(line: str, headers: Any, exc_info: Any = None) -> Any:
                nonlocal status
                status = line[:3]
                return start_response(line, headers, exc_info)

            self.in_progress.inc()
            start = perf_counter()
            try:
                return app(environ, started)
            finally:
                self.ended(environ["REQUEST_METHOD"], environ.get("route", ""), status, start)

        return middleware

    def ended(self, method: str, route: str, status: str, start: float) -> None:
        """Record a request."""
        duration = perf_counter() - start
        self.in_progress.dec()
        self.requests.labels(method, route, status).inc()
        self.route.labels(route).observe(duration)
        self.all.observe(duration)


async def bare_asgi(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer at once."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def bare_wsgi(_environ: Any, start_response: Any) -> list[bytes]:
    """Answer at once."""
    start_response("200 OK", [])
    return [b"x"]


def starlette() -> Starlette:
    """Make an application with one route."""

    async def item(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("x")

    return Starlette(routes=[Route("/items/{n}", item)])


def flask(*, peer: bool = False) -> Flask:
    """Make an application with one route; `peer`: that tells it to the middleware of prometheus_client."""
    app = Flask("bench")

    @app.get("/items/<n>")
    def item(n: str) -> str:  # noqa: ARG001
        return "x"

    if peer:

        def began(_sender: Any, **_: Any) -> None:
            request.environ["route"] = request.url_rule.rule

        request_started.connect(began, app, weak=False)
    return app


def asked_of_asgi(app: Any, number: int) -> Callable[[], float]:
    """Give what asks so many times, and says how long one took, ns of CPU."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(_message: Any) -> None:
        pass

    async def ask() -> float:
        start = process_time_ns()
        for _ in range(number):
            scope = {
                "type": "http", "method": "GET", "path": "/items/5", "root_path": "", "query_string": b"",
                "headers": [], "http_version": "1.1", "scheme": "http",
            }  # fmt: skip
            await app(scope, receive, send)
        return (process_time_ns() - start) / number

    return lambda: asyncio.run(ask())


def asked_of_wsgi(app: Any, number: int) -> Callable[[], float]:
    """Do the same of a WSGI application."""
    from wsgiref.util import setup_testing_defaults

    environ = {"PATH_INFO": "/items/5"}
    setup_testing_defaults(environ)

    def ask() -> float:
        start = process_time_ns()
        for _ in range(number):
            body = app(dict(environ), lambda *_: None)
            for _piece in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return (process_time_ns() - start) / number

    return ask


def main() -> None:
    """Run the cases and print what each middleware adds."""
    asked = options(__doc__ or "", number={"type": int, "default": NUMBER, "help": "requests of a run"})
    schemas = [
        Schema("all", "summary", 1, match="http_request_duration_seconds", sketch=True),
        Schema("counters", "counter", 32),
        Schema("gauges", "gauge", 8),
        Schema("summaries", "summary", 8),
    ]
    with temporary_folder() as directory, Store(directory / "s", schemas, tick_interval_s=1) as store:
        plain, number = Flask.wsgi_app, asked.number
        told = flask(peer=True)
        route = {"route": lambda _scope: "/items"}
        runs = {
            "asgi bare": asked_of_asgi(bare_asgi, 10 * number),
            "asgi rondo": asked_of_asgi(AsgiMiddleware(bare_asgi, store, **route), 10 * number),
            "asgi peer": asked_of_asgi(Peer().asgi(bare_asgi), 10 * number),
            "wsgi bare": asked_of_wsgi(bare_wsgi, 10 * number),
            "wsgi rondo": asked_of_wsgi(WsgiMiddleware(bare_wsgi, store, **route), 10 * number),
            "wsgi peer": asked_of_wsgi(Peer().wsgi(bare_wsgi), 10 * number),
            "starlette bare": asked_of_asgi(starlette(), number),
            "starlette rondo": asked_of_asgi(AsgiMiddleware(starlette(), store), number),
            "starlette peer": asked_of_asgi(Peer().asgi(starlette()), number),
            "flask bare": asked_of_wsgi(plain.__get__(flask()), number),
            "flask rondo": asked_of_wsgi(WsgiMiddleware(flask().wsgi_app, store), number),
            "flask peer": asked_of_wsgi(Peer().wsgi(told.wsgi_app), number),
        }
        found = in_turn(runs, asked.repeat)
    report = Report("bridges", asked, machine("rondo-tsdb", "prometheus-client", "starlette", "flask"), __doc__ or "")
    for kind in ("asgi", "wsgi", "starlette", "flask"):
        bare = found[f"{kind} bare"]
        added, peer = (
            [one - none for one, none in zip(found[f"{kind} {who}"], bare, strict=True)] for who in ("rondo", "peer")
        )
        report.case(f"{kind}: added to a request", added, "ns", "prometheus_client's middleware", peer)
        report.case(f"{kind}: the bare application", bare, "ns")
    report.save()


if __name__ == "__main__":
    finish(main)
