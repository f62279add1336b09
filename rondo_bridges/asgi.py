"""Middleware of ASGI applications: FastAPI, Starlette, Django, any other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from rondo_bridges.http.requests import Requests
from rondo_bridges.http.routes import Template, template_of
from rondo_bridges.process_store import Source

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
DISCONNECTED = 499  # what is said of a request whose client went before there was a response


class AsgiMiddleware:
    """Counts and times what an application is asked over HTTP, each response to its last byte.

    Nothing of a request or a response is changed; websockets and lifespan pass. Attributes: `failures`: what could not
    be recorded; `app`: what is served.
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
        """Wrap an application: `app.add_middleware(AsgiMiddleware, store=store)`, or `AsgiMiddleware(app, store)`.

        Args: `store`: a store, a callable that opens one in each process that serves, or None for `open_store`;
            `route`: gives a request's template from its scope, None where none took it; by default that of Starlette,
            FastAPI or Django; `labels`, `sketched_routes`, `max_routes`: see `Requests`.
        """
        self.app = app
        self._requests = Requests("asgi", store, labels, sketched_routes=sketched_routes, max_routes=max_routes)
        self._template = route or template_of(app)
        self.failures = self._requests.failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection as the application does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, ended = 0, False
        self._requests.enter()
        start = perf_counter()

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._leave(scope, status, perf_counter() - start)

        async def watched(message: Message) -> None:
            nonlocal status
            kind = message.get("type")
            if kind == "http.response.start":
                status = message.get("status", 0)
            await send(message)
            if (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
                end()

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            status = status or 500
            self._requests.raised(error)
            raise
        finally:
            status = status or DISCONNECTED
            end()

    def _leave(self, scope: Scope, status: int, duration_s: float) -> None:
        route = None
        try:
            route = self._template(scope)
        except Exception as error:  # noqa: BLE001 - another's callable; the request is counted without its route
            self.failures.take(error, "route")
        self._requests.leave(scope.get("method", ""), route, status, duration_s)
