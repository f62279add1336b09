"""A client's connection: how many there may be, how long each may take, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rondo_web.errors import error_body

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

MAX_HEAD_BYTES = 16 << 10
MAX_CONNECTIONS = 256
GONE = "rondo.gone"  # in a request's scope: says, to any thread, whether nobody waits for the answer any more
HEAD_S, ANSWER_S, IDLE_S, LINGER_S = 5.0, 30.0, 5.0, 3.0


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
            min(idle, key=lambda each: (each is self, each.ends_at())).drop_client()

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

    def drop_client(self) -> None:
        """Release the client at once."""
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
        except NotImplementedError:  # TLS says that there is no more by its end
            self._real.close()
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
