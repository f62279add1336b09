"""Middleware of WSGI applications: Flask, Django, any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

from rondo_bridges.http.requests import Requests
from rondo_bridges.http.routes import Template, template_reader
from rondo_bridges.process_store import Source

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class WsgiMiddleware:
    """Counts and times what an application is asked, a response that is made bit by bit to its last one.

    Nothing of a request or a response is changed. Attributes: `failures`: what could not be recorded.
    """

    def __init__(
        self,
        app: Application,
        store: Source = None,
        *,
        labels: Mapping[str, str] | None = None,
        route: Template | None = None,
        sketched_routes: bool = False,
        max_routes: int = 200,
    ) -> None:
        """Wrap an application: `flask_app.wsgi_app = WsgiMiddleware(flask_app.wsgi_app, store)`.

        Args: as for `AsgiMiddleware`; `route`: gives a request's template from its environ; by default that of Flask
            or Django.
        """
        self.app = app
        self._requests = Requests("wsgi", store, labels, sketched_routes=sketched_routes, max_routes=max_routes)
        self._template = route or template_reader(app)
        self.failures = self._requests.failures

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request as the application does."""
        call = _Call(self, environ)
        self._requests.enter()

        def started(status: str, headers: Any, *more: Any, **named: Any) -> Callable[[bytes], object]:
            call.status = status
            return start_response(status, headers, *more, **named)

        try:
            body = self.app(environ, started)
        except BaseException as error:
            call.raised(error)
            call.end()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        by_server = isinstance(wrapper, type) and isinstance(body, wrapper)  # which sends the file by itself
        if by_server or (hasattr(body, "__len__") and not hasattr(body, "close")):  # or all of it is made
            call.end()
            return body
        return _SizedBody(body, call) if hasattr(body, "__len__") else _Body(body, call)

    def leave(self, environ: Environ, status: str, duration_s: float) -> None:
        """Count a request that has ended."""
        route, code = None, 0
        try:
            code = int(status[:3])
            route = self._template(environ)
        except Exception as error:  # noqa: BLE001 - another's callable; the request is counted without its route
            self.failures.take(error, "route")
        self._requests.leave(environ.get("REQUEST_METHOD", ""), route, code, duration_s)

    def raised(self, error: BaseException) -> None:
        """Count an exception."""
        self._requests.raised(error)


class _Call:
    """One request, from its begin to its end, which comes once."""

    __slots__ = ("_environ", "_middleware", "_start", "ended", "status")

    def __init__(self, middleware: WsgiMiddleware, environ: Environ) -> None:
        self._middleware, self._environ, self.ended, self.status = middleware, environ, False, ""
        self._start = perf_counter()

    def raised(self, error: BaseException) -> None:
        """Count an exception; what was not begun to be answered is then answered 500."""
        self.status = self.status or "500"
        self._middleware.raised(error)

    def end(self) -> None:
        """Count the request."""
        if not self.ended:
            self.ended = True
            self._middleware.leave(self._environ, self.status or "499", perf_counter() - self._start)


class _Body:
    """A response's body, whose end is the request's: the server closes it, also where its client has gone."""

    __slots__ = ("_body", "_call", "_next")

    def __init__(self, body: Iterable[bytes], call: _Call) -> None:
        self._body, self._call = body, call
        self._next: Callable[[], bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Give the body itself."""
        return self

    def __next__(self) -> bytes:
        """Give the next piece."""
        try:
            if self._next is None:
                self._next = iter(self._body).__next__
            return self._next()
        except StopIteration:
            raise
        except BaseException as error:
            self._call.raised(error)
            raise

    def close(self) -> None:
        """Close the application's body; the request has ended."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._call.raised(error)
            raise
        finally:
            self._call.end()


class _SizedBody(_Body):
    """A body that says of how many pieces it is, by which servers tell how long a response is."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]  # it has one
