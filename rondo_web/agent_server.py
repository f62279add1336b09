"""The pages of an agent, from a thread beside it: /health for a probe, with no token, and /metrics for a scraper."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import Response

from rondo_core.export.exposition import choose, expose
from rondo_web.errors import error_body
from rondo_web.http.access import AccessControl, allowed
from rondo_web.http.responses import json_response
from rondo_web.listening import END_S, url_of
from rondo_web.server import BoundedServer, server_config

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from rondo_core.export import AgentStatus

HEALTH, METRICS = "/health", "/metrics"
_MAX_ACCEPT = 1000  # characters


class AgentServer:
    """The pages of an agent, until `close`. Attributes: `url`, where they are."""

    def __init__(
        self, status: AgentStatus, listening: socket.socket, *, token: bytes = b"", names: Sequence[str] = ()
    ) -> None:
        """Answer from a thread.

        Args: `listening`: see `listen`, closed here in the end; `token`: what a request for the metrics must carry;
            `names`: hosts that may be asked for, besides this machine's own.
        """
        self._status, self._listening, self.url = status, listening, url_of(listening)
        app = AccessControl(self._answer, allowed(names), token, open_paths=frozenset({HEALTH}))
        self._server = BoundedServer(server_config(app), None)
        self._thread = threading.Thread(target=self._run, name="rondo-agent-http", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(SystemExit):  # uvicorn's way to say that it could not start
            self._server.run(sockets=[self._listening])

    def close(self) -> None:
        """Answer no more."""
        self._server.should_exit = True
        self._thread.join(2 * END_S)
        self._listening.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["path"] not in {HEALTH, METRICS}:
            return json_response(error_body(f"no such page; there are {HEALTH} and {METRICS}"), 404)
        if scope["method"] not in {"GET", "HEAD"}:
            return json_response(error_body("only GET and HEAD are answered"), 405, {"allow": "GET, HEAD"})
        if scope["path"] == HEALTH:
            health = self._status.health()
            return json_response(json.dumps(health.facts).encode() + b"\n", 200 if health.well else 503)
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        content_type = choose(accept[:_MAX_ACCEPT].decode("latin-1"))
        return Response(expose(self._status.metrics(), content_type).text, headers={"content-type": content_type})
