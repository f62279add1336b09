"""An HTTP server with one page, `/metrics`, from a thread of its own."""

from __future__ import annotations

import gzip
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from rondo_core import Batch, Series
from rondo_core.errors import ExportError, UsageError, one_line
from rondo_core.export import Newest
from rondo_core.export.exposition import OPENMETRICS, choose, expose

logger = logging.getLogger("rondo.export.openmetrics")

PAGE = "/metrics"
# A scraper that has not asked, or not read, after that long is dropped.
TIMEOUT_S = 10.0


class MetricsServer:
    """Takes batches, and shows where each series stands to whoever asks; `port` is where it listens."""

    def __init__(self, host: str, port: int, *, timestamps: bool = False) -> None:
        """Listen.

        Raises: UsageError: the address cannot be listened on.
        """
        self._newest, self._timestamps = Newest(), timestamps
        self._reported: set[str] = set()
        self._known: set[Series] = set()
        self._left_out: set[str] = set()
        try:
            self._server: _HttpServer | None = _HttpServer(host, port, self)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not an address"
            raise UsageError(f"host, port: {host}:{port}: {reason}; choose another") from None
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="rondo-openmetrics", kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        """Say where it listens."""
        return f"MetricsServer('http://{self.host}:{self.port}{PAGE}')"

    def send(self, batch: Batch) -> int:
        """Show the batch's newest samples from now on.

        Returns: how many samples are of series that no page can show, as another metric has their name.
        Raises: ExportError: the exporter was closed.
        """
        if self._server is None:
            raise ExportError(f"http://{self.host}:{self.port}{PAGE}: this exporter was closed; open another")
        self._newest.take(batch)
        series = {each for part in batch.parts for each in part.series}
        if not series <= self._known:
            self._known |= series
            found = ((each, value) for each, _, value in self._newest.values())
            self._left_out = {str(each) for each in expose(found, OPENMETRICS).left_out}
        self._known.difference_update(batch.ended)
        if not self._left_out:
            return 0
        return batch.where(lambda each: str(each) in self._left_out).n_samples

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = None

    def page(self, content_type: str) -> str:
        """Write where every series stands."""
        found = self._newest.values()
        times = {series: time_ns for series, time_ns, _ in found} if self._timestamps else None
        shown = expose(((series, value) for series, _, value in found), content_type, times)
        for series in shown.left_out:
            if str(series) not in self._reported:
                self._reported.add(str(series))
                logger.warning("%s: left out; another metric has its name", series)
        return shown.text


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, shown: MetricsServer) -> None:
        self.shown = shown
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base's signature
        """Say nothing of a scraper that went away; a page that cannot be written is another matter."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            logger.warning("%s: the page cannot be written: %s", self.shown, one_line(error))


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    server_version = f"rondo-exporter-openmetrics/{version('rondo-exporter-openmetrics')}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    wbufsize = 1 << 16

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path != PAGE:
            self._answer(404, "text/plain; charset=utf-8", f"{PAGE} is here\n".encode())
            return
        content_type = choose(self.headers.get("Accept", ""))
        self._answer(200, content_type, self.server.shown.page(content_type).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that the base looks for

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Vary", "Accept, Accept-Encoding")
        if _takes_gzip(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, 1, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no request."""


def _takes_gzip(accept: str) -> bool:
    for item in accept.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
