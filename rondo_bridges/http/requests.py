"""Instruments of HTTP requests: how many, how long, how many at once, what was raised; for every kind of server.

http_requests_total{method,route,status}
http_request_duration_seconds            of all requests, with quantiles where the store has room for a sketch
http_route_duration_seconds{route}       of each route
http_requests_in_progress
http_request_exceptions_total{exception}
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from rondo_bridges.durations import declare_summary
from rondo_bridges.failures import Failures
from rondo_bridges.process_store import ProcessStore, Source
from rondo_core import Counter, Gauge, Schema, Store, Summary

METHODS = frozenset("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())  # noqa: SIM905
UNMATCHED = "unmatched"  # what no route takes; templates begin with a slash, or have none
OTHER = "other"
MAX_EXCEPTIONS = 50
HELP = "Seconds from a request's begin to its response's end."
Bound = tuple[Callable[..., None], Callable[[float], None]]


class Requests:
    """The instruments of one application, in the store of whichever process serves it.

    Threads may share it. It raises nothing: see `failures`. After a fork the child counts into its own store, from the
    first request on.
    """

    def __init__(
        self,
        bridge: str,
        store: Source,
        labels: Mapping[str, str] | None = None,
        *,
        sketched_routes: bool = False,
        max_routes: int = 200,
    ) -> None:
        """Open nothing yet.

        Args:
            bridge: the name that warnings carry; store: see `ProcessStore`; labels: further ones of each series.
            sketched_routes: quantiles of each route too; max_routes: what is beyond is one route, `other`.
        """
        self.failures = Failures(bridge)
        self._labels, self._sketched_routes, self._max_routes = dict(labels or {}), sketched_routes, max_routes
        self._said = False
        self._process = ProcessStore(store, self._begin)
        self._begin()

    def _begin(self) -> None:
        """Know no series of this process yet."""
        self._lock = threading.Lock()
        self._bound: dict[tuple[str, str, int], Bound] = {}
        self._routes: dict[str, Callable[[float], None]] = {}
        self._exceptions: dict[str, Counter] = {}
        self._all: Callable[[float], None] | None = None
        self._gauge: Gauge | None = None
        self._in_progress = 0

    def enter(self) -> None:
        """Count a request that has begun."""
        try:
            if self._gauge is None:
                self._declare()
            with self._lock:
                self._in_progress += 1
                self._gauge.set(self._in_progress)  # type: ignore[union-attr]  # declared above
        except Exception as error:  # noqa: BLE001 - the application is served whatever becomes of its numbers
            self.failures.take(error)

    def leave(self, method: str, route: str | None, status: int, duration_s: float) -> None:
        """Count a request that has ended. Args: `route`: its template; None: none took it."""
        try:
            with self._lock:
                self._in_progress = max(0, self._in_progress - 1)
                if self._gauge is not None:
                    self._gauge.set(self._in_progress)
            key = method, route or UNMATCHED, status
            count, observe = self._bound.get(key) or self._bind(*key)
            count()
            observe(duration_s)
            if self._all is not None:
                self._all(duration_s)
        except Exception as error:  # noqa: BLE001 - see above
            self.failures.take(error)

    def raised(self, error: BaseException) -> None:
        """Count an exception that the application did not take care of."""
        try:
            name = type(error).__name__
            counter = self._exceptions.get(name)
            if counter is None:
                if len(self._exceptions) >= MAX_EXCEPTIONS:
                    name = OTHER
                counter = self._exceptions[name] = self._process.get().counter(
                    "http_request_exceptions_total",
                    {"exception": name, **self._labels},
                    help="Exceptions that the application did not take care of.",
                )
            counter.inc()
        except Exception as failure:  # noqa: BLE001 - see above
            self.failures.take(failure)

    # -- series

    def _declare(self) -> None:
        """Declare what every application has, and what counts where there is no more room."""
        store = self._process.get()
        with self._process.lock:
            if self._gauge is not None:
                return
            self._all = declare_summary(
                store, "http_request_duration_seconds", self._labels, HELP, quantiles=True
            ).observe
            self._routes[OTHER] = self._route(store, OTHER)
            self._bound[OTHER, OTHER, 0] = (self._counter(store, OTHER, OTHER, OTHER).inc, self._routes[OTHER])
            self._gauge = store.gauge("http_requests_in_progress", self._labels, help="Requests being served.")

    def _bind(self, method: str, route: str, status: int) -> Bound:
        """Declare the series of a request of a kind that was not there before."""
        if self._gauge is None:
            self._declare()
        store, key = self._process.get(), (method, route, status)
        with self._process.lock:
            try:
                if route not in self._routes and len(self._routes) > self._max_routes:
                    route = OTHER
                known = method if method in METHODS else OTHER
                code = str(status) if 100 <= status <= 599 else OTHER
                observe = self._routes.get(route) or self._route(store, route)
                bound = self._counter(store, known, route, code).inc, observe
                self._routes[route] = observe
            except Exception as error:  # noqa: BLE001 - a full schema: the request is counted as of other ones
                self.failures.take(error, "no room for another series")
                bound = self._bound[OTHER, OTHER, 0]
            if len(self._bound) < 10 * self._max_routes:
                self._bound[key] = bound
        return bound

    def _counter(self, store: Store, method: str, route: str, status: str) -> Counter:
        labels = {"method": method, "route": route, "status": status, **self._labels}
        return store.counter("http_requests_total", labels, help="Requests served.")

    def _route(self, store: Store, route: str) -> Callable[[float], None]:
        labels, sketched = {"route": route, **self._labels}, self._sketched_routes and route != OTHER
        summary = declare_summary(store, "http_route_duration_seconds", labels, HELP, quantiles=sketched)
        if sketched and not self._said:
            self._said = True
            kept = {schema.name: schema for schema in store.meta.schemas}
            _say_size(summary, kept[summary.series.schema])
        return summary.observe


def _say_size(summary: Summary, schema: Schema) -> None:
    what = "with quantiles" if summary.sketched else "without quantiles: no schema of the store keeps a sketch"
    each = schema.size_bytes() // schema.max_series
    logging.getLogger("rondo.bridges").info(
        "http_route_duration_seconds: %s; %d bytes a route, room for %d", what, each, schema.max_series
    )
