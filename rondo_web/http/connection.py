"""What stands before the API: whose requests are heard, how large they are, and how long a client may take."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rondo_cli.serve import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_HEAD_BYTES = 16 << 10
MAX_QUERY_BYTES = 8 << 10
MAX_CONNECTIONS = 256
QUEUE = 512
GONE = "rondo.gone"  # in a request's scope: says, to any thread, whether nobody waits for the answer any more
KEPT_DESCRIPTORS = 16  # for the loop's own, and for what a request opens
HEAD_S, ANSWER_S, IDLE_S, LINGER_S = 5.0, 30.0, 5.0, 3.0
# Source: RFC 3986, 3.2.2 and 3.2.3: an address in brackets, or anything without a colon; then a port.
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([^\[\]:/?#@\s]{1,253}))(?::[0-9]{1,5})?")


@attrs.frozen
class Guard:
    """An application before another one: only requests that may be heard, and that ask for something, reach that one.

    A web page can have a browser ask any address by a name of the page's own; what it cannot do is to have it send
    another Host: so a name that nobody has allowed is refused. A request with a body is refused unread.

    Attributes:
        app: the one behind.
        names: hosts that may be asked for besides this machine's loopback names and the address that was reached.
        token: what must stand in `Authorization: Bearer`; empty: nothing has to.
    """

    app: ASGIApp
    names: frozenset[str] = frozenset()
    token: bytes = attrs.field(default=b"", repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand over."""
        if scope["type"] != "http":
            return
        trouble = self._trouble(scope)
        if trouble is None:
            await self.app(scope, receive, send)
            return
        status, said, headers = trouble
        body = error_body(said)
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})

    def _trouble(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        given: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, value)
        host = given.get(b"host", b"").decode("latin-1")
        if not self._knows(host, scope.get("server")):
            return 421, f"host {host!r}: not known here; rondo serve --allow-host NAME lets it be asked for", []
        if self.token and not hmac.compare_digest(given.get(b"authorization", b""), b"Bearer " + self.token):
            return 401, "a token is needed: Authorization: Bearer TOKEN", [(b"www-authenticate", b"Bearer")]
        if b"transfer-encoding" in given or given.get(b"content-length", b"0").strip(b"0"):
            return 413, "a body: no request here has one", []
        if len(scope["query_string"]) + len(scope["path"]) > MAX_QUERY_BYTES:
            return 414, f"a URL of more than {MAX_QUERY_BYTES} bytes", []
        return None

    def _knows(self, host: str, server: Any) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match[1] or match[2]).lower().removesuffix(".")
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
            return is_loopback(name) or bool(server and address == ipaddress.ip_address(server[0].partition("%")[0]))
        except ValueError:
            return False


def error_body(said: str) -> bytes:
    """Write an error as one short line of JSON: what a client sent does not come back at any length."""
    text = " ".join(said.split())
    return json.dumps({"error": text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."}).encode() + b"\n"


MAX_SAID = 300


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to every wait for a client, and to how many may be waited for.

    A client has 5 s for the head of a request and half a minute to take the answer. Where there are too many
    connections, the one whose next request has been waited for longest gives way, so that who asks is always heard.
    """

    max_connections = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*arguments, **options)
        self.app = self._timed(self.app)
        self._deadline: asyncio.TimerHandle | None = None
        self.answering = self.lingering = self.gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, and make room where there is none."""
        self._real = transport
        super().connection_made(cast("asyncio.Transport", _Lingering(transport, self)))
        self._wait(HEAD_S)
        there = [each for each in self.connections if isinstance(each, BoundedProtocol) and not each.gone]
        if len(there) > self.max_connections:
            idle = [each for each in there if not each.answering]
            min(idle, key=lambda each: (each is self, each.ends_at())).give_way()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; what is no HTTP ends the connection."""
        if self.lingering:
            return
        try:
            super().data_received(data)
        except h11.ProtocolError:  # in the middle of an answer
            self._real.abort()

    def ends_at(self) -> float:
        """Say when the client is given up, on the loop's clock."""
        return self._deadline.when() if self._deadline is not None else 0.0

    def give_way(self) -> None:
        """Let go of the client at once."""
        if not self.transport.is_closing():
            self._refuse(b"503 Service Unavailable", "too many connections; ask again in a second")
        self.gone = True
        self._real.abort()

    def linger(self) -> None:
        """Say no more, and hear out what is on its way: a client that is cut off while it sends reads no answer."""
        if self.lingering or self._real.is_closing():
            return
        self.lingering = True
        self._wait(LINGER_S)
        self._real.resume_reading()
        try:
            self._real.write_eof()
        except OSError:  # the client has cut the connection already
            self._real.abort()

    def send_400_response(self, msg: str) -> None:
        """Say that this was no HTTP, in the words of the other errors."""
        self._refuse(b"400 Bad Request", msg)

    def end(self) -> None:
        """Give up on the client."""
        if self.answering or self.transport.is_closing():
            self._real.abort()
        else:
            self._refuse(b"408 Request Timeout", "no request came in time")

    def _refuse(self, status: bytes, said: str) -> None:
        body = error_body(said)
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.end)

    def _timed(self, app: Any) -> Any:
        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            async def still(message: Message) -> None:
                if self.transport.is_closing():  # the client is gone, or was refused meanwhile: nobody reads this
                    self.cycle.disconnected = True
                await send(message)

            scope[GONE] = self.transport.is_closing
            self.answering = True
            self._wait(ANSWER_S)
            try:
                await app(scope, receive, still)
            finally:
                self.answering = False
                if not self.transport.is_closing():
                    self._wait(IDLE_S)

        return timed


class _Lingering:
    """A transport whose end is to say no more, and a while later the end."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._protocol.linger()

    def is_closing(self) -> bool:
        return self._protocol.lingering or self._transport.is_closing()


class BoundedServer(uvicorn.Server):
    """uvicorn's server; what it does not accept in one go waits in the kernel, where it costs no descriptor."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(QUEUE)


def make_room() -> tuple[int, int]:
    """Let this process have as many descriptors as it may.

    Returns: how many connections they are enough for, and how many may be accepted in one go.
    """
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = soft - sum(1 for _ in Path("/proc/self/fd").iterdir()) - KEPT_DESCRIPTORS
    return max(4, min(MAX_CONNECTIONS, free // 3)), max(2, min(128, free // 8))


def say_once() -> None:
    """Let the loop say once that there are no descriptors left, and not for each connection that waits."""
    import logging

    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        first = record.getMessage().partition("\n")[0]
        if not first.startswith("socket.accept()"):
            return True
        new = first not in said
        said.add(first)
        return new

    logging.getLogger("asyncio").addFilter(is_new)


def allowed(names: Sequence[str]) -> frozenset[str]:
    """Give the names of --allow-host as they are compared."""
    return frozenset(each.lower().removesuffix(".") for each in names)
