"""A receiver of HTTP requests on the loopback interface, for tests of exporters that send by HTTP."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Mapping[str, str], bytes]
NO_CONTENT = 204


class HttpReceiver:
    """Answers every POST by `take`, and GET by `ask`, from the first moment on until it is closed; subclass it.

    Attributes:
        answers: (status, headers, body) of the next requests, in turn; those of `take` after them. Status 0: the
            connection is closed without an answer.
        objections: what a sender should not have done, in words; other methods than POST are among them.
        connections: the addresses that requests came from: one for each connection.
        port, url: where it is; `path` is the URL's.
    """

    def __init__(self, path: str = "/") -> None:
        """Listen on a port that is free."""
        self.answers: list[Answer] = []
        self.objections: list[str] = []
        self.connections: set[Any] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16

            def do_POST(self) -> None:
                receiver.connections.add(self.client_address)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(*receiver.take(self.path, self.headers, body))

            def do_GET(self) -> None:
                self.answer(*receiver.ask(self.path, self.headers))

            def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                length = {} if status == NO_CONTENT else {"Content-Length": str(len(body))}
                for name, value in {**length, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if status != NO_CONTENT:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # a sender need not read all of an answer
                    receiver.objections.append(repr(sys.exception()))

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def take(self, path: str, headers: Message, body: bytes) -> Answer:  # noqa: ARG002 - for those that override it
        """Give the answer to one request; called on a thread of the connection's."""
        return self.answers.pop(0) if self.answers else (200, {}, b"")

    def ask(self, path: str, headers: Message) -> Answer:  # noqa: ARG002 - for those that override it
        """Give the answer to a GET, which most senders have no reason for; called on a thread of the connection's."""
        self.objections.append(f"GET {path}")
        return 405, {}, b""

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
