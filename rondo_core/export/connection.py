"""One HTTP connection to a receiver, for exporters: a request at a time, each step of it bounded in time as a whole.

Every failure says whether the request can have arrived: only where it was begun to be sent, and no answer came, it can.
The standard library is enough for it. A proxy is what the config names; nothing is read from the environment.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import select
import socket
import ssl
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import attrs

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import AnswerLostError, ExportError, ReceiverAwayError
from rondo_core.export.http import LEAST_BYTES_PER_S, Endpoint, lost_reason

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_PORTS = {"http": 80, "https": 443}
_URL_CHARACTERS = "/%:@!$&'()*+,;=~?"


@attrs.frozen
class HttpResponse:
    """What a receiver said: status, reason, headers by lower-case name, and the beginning of the body, unpacked.

    Attributes: `complete`, whether the body is all of it.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class Connection:
    """Takes requests to one receiver, over one connection that stays open where the receiver lets it."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Remember the way; the connection is made by the first request."""
        self._endpoint = endpoint
        self._stream: _Stream | None = None
        self._busy = self._closed = False

    def post(self, body: bytes, headers: Mapping[str, str], max_bytes: int) -> HttpResponse:
        """Send one request, and give the answer with at most `max_bytes` of its body.

        Raises: as `request`.
        """
        return self.request("POST", body, headers, max_bytes)

    def get(self, query: str, headers: Mapping[str, str], max_bytes: int) -> HttpResponse:
        """Ask with a query after the URL, and give the answer with at most `max_bytes` of its body.

        Raises: as `request`.
        """
        return self.request("GET", b"", headers, max_bytes, query)

    def request(
        self, method: str, body: bytes, headers: Mapping[str, str], max_bytes: int, query: str = ""
    ) -> HttpResponse:
        """Send one request, and give the answer with at most `max_bytes` of its body.

        Raises: ReceiverAwayError: there is no connection, so nothing was sent; AnswerLostError: no answer came in time,
        or none at all; ExportError: a certificate is not trusted, no request can be made at all, a web page took it, or
        it was closed.
        """
        self.check_open()
        self._busy = True
        try:
            stream = self._connected()
            try:
                answer, reusable = self._exchange(stream, method, body, headers, max_bytes, query)
            except BaseException:
                self._drop()
                raise
            if not reusable or self._closed:
                self._drop()
            return answer
        finally:
            self._busy = False

    def check_open(self) -> None:
        """Raise where it was closed. Raises: ExportError."""
        if self._closed:
            raise ExportError(f"{self._endpoint.shown_url}: this exporter was closed; open another")

    def close(self) -> None:
        """Release the connection; of one that waits for an answer as soon as that has come."""
        self._closed = True
        if not self._busy:
            self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.socket.close()

    # -- the connection

    def _connected(self) -> _Stream:
        """Give the connection that is open, or a new one."""
        if self._stream is not None and self._stream.has_ended():
            self._drop()
        if self._stream is None:
            endpoint = self._endpoint
            try:
                self._stream = self._connect()
            except ssl.SSLCertVerificationError as error:
                reason = getattr(error, "verify_message", "") or "not valid"
                raise ExportError(
                    f"{endpoint.shown_url}: its certificate is not trusted: {reason}; check ca_file"
                ) from None
            except TimeoutError:
                raise ReceiverAwayError(
                    f"{endpoint.shown_url}: no connection within {endpoint.timeout_s:g} s"
                ) from None
            except (OSError, http.client.HTTPException) as error:
                raise ReceiverAwayError(f"{endpoint.shown_url}: {lost_reason(error, 'no connection')}") from None
            except ValueError as error:  # a host that no name server could be asked for
                what = f"no request can be made of it ({type(error).__name__}); check the URL"
                raise ExportError(f"{endpoint.shown_url}: {what}") from None
        return self._stream

    def _connect(self) -> _Stream:
        endpoint, until_ns = self._endpoint, _from_now(self._endpoint.timeout_s)
        url, nearest = endpoint.url, endpoint.proxy or endpoint.url
        stream = _Stream(_dial(nearest, until_ns), until_ns)
        try:
            if url.scheme == "https":
                if endpoint.proxy is not None:
                    self._tunnel(stream)
                stream.socket.settimeout(stream.left_s())
                stream.socket = self._context().wrap_socket(stream.socket, server_hostname=url.hostname)
        except BaseException:
            stream.socket.close()
            raise
        return stream

    def _context(self) -> ssl.SSLContext:
        endpoint = self._endpoint
        context = ssl.create_default_context(cafile=endpoint.ca_file or None)
        if endpoint.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if endpoint.client_certificate:
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key or None, password=lambda: "")
        return context

    def _tunnel(self, stream: _Stream) -> None:
        host = f"{_host(self._endpoint.url)}:{self._endpoint.url.port or _PORTS['https']}"
        lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}", *self._proxy_lines(), "", ""]
        stream.send("\r\n".join(lines).encode("latin-1"))
        answer = stream.answer("CONNECT")
        answer.begin()
        if not 200 <= answer.status < 300:
            raise OSError(0, f"the proxy answered {answer.status}")

    def _proxy_lines(self) -> list[str]:
        proxy = self._endpoint.proxy
        if proxy is None or proxy.username is None:
            return []
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        return ["Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode("ascii")]

    # -- one request

    def _exchange(
        self, stream: _Stream, method: str, body: bytes, headers: Mapping[str, str], max_bytes: int, query: str
    ) -> tuple[HttpResponse, bool]:
        """Send a request and read its answer; say whether the connection can be used again."""
        endpoint = self._endpoint
        given = {"Host": _netloc(endpoint.url), "Accept-Encoding": "gzip", **headers, "Content-Length": str(len(body))}
        lines = [f"{method} {self._target(query)} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        if endpoint.url.scheme == "http":
            lines += self._proxy_lines()
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        answer = stream.answer(method)
        try:
            stream.until_ns = _from_now(endpoint.timeout_s + len(body) / LEAST_BYTES_PER_S)
            # A receiver may answer, and close, before it has read all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                stream.send(head + body)
            stream.until_ns = _from_now(endpoint.timeout_s)
            answer.begin()
            while 100 < answer.status < 200 and answer.status != http.client.SWITCHING_PROTOCOLS:
                # Without headers it reads the next one: this was none yet.
                answer.headers = None  # type: ignore[assignment]
                answer.begin()
        except TimeoutError:
            raise AnswerLostError(f"{endpoint.shown_url}: no answer within {endpoint.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            # The end of TLS 1.3's handshake, and with it its failure, comes after the request.
            if not stream.n_sent or (isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")):
                raise ReceiverAwayError(f"{endpoint.shown_url}: {lost_reason(error, 'no connection')}") from None
            foreign = isinstance(error, http.client.HTTPException) and not isinstance(error, OSError)
            what = "what it answered is no HTTP; check the URL" if foreign else lost_reason(error)
            raise AnswerLostError(f"{endpoint.shown_url}: {what}") from None
        found, complete = _body(answer, max_bytes)
        known = {name.lower(): value for name, value in answer.headers.items()}
        unpacked, whole = _unpacked(found, known.get("content-encoding", ""), max_bytes)
        if 200 <= answer.status < 300 and known.get("content-type", "").lower().startswith("text/html"):
            # A login page, or that of a network that wants one, takes whatever it is sent, and has nothing of it.
            raise ExportError(f"{endpoint.shown_url}: answered {answer.status} with a web page; check the URL")
        reusable = complete and not answer.will_close
        return HttpResponse(answer.status, answer.reason or "", known, unpacked, complete and whole), reusable

    def _target(self, query: str) -> str:
        url = self._endpoint.url
        url = url._replace(query="&".join(filter(None, (url.query, query))))
        path = quote(url.path or "/", safe=_URL_CHARACTERS) + (
            f"?{quote(url.query, safe=_URL_CHARACTERS)}" if url.query else ""
        )
        return f"http://{_netloc(url)}{path}" if self._endpoint.proxy is not None and url.scheme == "http" else path


class _Stream:
    """A socket, as http.client reads one, whose sending and reading ends at an instant, whatever comes until then."""

    def __init__(self, sock: socket.socket, until_ns: int) -> None:
        self.socket, self.until_ns = sock, until_ns
        self.n_sent = 0

    def left_s(self) -> float:
        """Give the time that is left, s. Raises: TimeoutError: none is."""
        left_ns = self.until_ns - monotonic_ns()
        if left_ns <= 0:
            raise TimeoutError
        return left_ns / NS_PER_S

    def send(self, data: bytes) -> None:
        rest, self.n_sent = memoryview(data), 0
        while rest:
            self.socket.settimeout(self.left_s())
            sent = self.socket.send(rest)
            rest, self.n_sent = rest[sent:], self.n_sent + sent

    def answer(self, method: str) -> http.client.HTTPResponse:
        """Give what reads an answer: all that it asks of a socket is `makefile`."""
        return http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - a socket's signature
        return io.BufferedReader(_Reader(self))

    def has_ended(self) -> bool:
        """Say whether the far side has closed the connection, or said what no one asked for."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))


class _Reader(io.RawIOBase):
    """What comes from a stream; to close it leaves the stream open."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stream = self._stream
        stream.socket.settimeout(stream.left_s())
        return stream.socket.recv_into(buffer)


def _dial(nearest: SplitResult, until_ns: int) -> socket.socket:
    """Connect to one of a host's addresses. Raises: OSError: the last reason why none answers."""
    host, port = nearest.hostname or "", nearest.port or _PORTS[nearest.scheme]
    last: OSError = OSError(0, "the host has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for n_left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        left_ns = until_ns - monotonic_ns()
        if left_ns <= 0:
            raise TimeoutError
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a name may have addresses of a family that this machine does not speak
            last = error
            continue
        try:
            # One that swallows what is sent to it, as IPv6 does behind some routers, leaves time for the others.
            sock.settimeout(left_ns / n_left / NS_PER_S)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            last = error
            sock.close()
        else:
            return sock
    raise last


def _from_now(seconds: float) -> int:
    return monotonic_ns() + round(seconds * NS_PER_S)


def _host(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")


def _netloc(url: SplitResult) -> str:
    return _host(url) + (f":{url.port}" if url.port not in {None, _PORTS[url.scheme]} else "")


def _body(answer: http.client.HTTPResponse, max_bytes: int) -> tuple[bytes, bool]:
    """Read the beginning of what was answered, and say whether it is all: what the status says, it says anyway."""
    try:
        found = answer.read(max_bytes + 1)
    except http.client.IncompleteRead as error:
        return error.partial[:max_bytes], False
    except (OSError, ValueError, http.client.HTTPException):
        return b"", False
    return found[:max_bytes], len(found) <= max_bytes and not answer.length


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """Unpack gzip and deflate, to `max_bytes` at most; what is none of them, or not sound, stands as it is."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body, True
    try:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
        found = unpacking.decompress(body, max_bytes)
    except zlib.error:
        return b"", False
    return found, unpacking.eof
