"""One request to a receiver that answers well, badly, slowly or not at all: what is known of it, and how long it takes."""

import contextlib
import gzip
import socket
import threading
from urllib.parse import urlsplit

import pytest

from rondo_core.errors import AnswerLostError, ExportError, ReceiverAwayError
from rondo_core.export import connection as module
from rondo_core.export.connection import Connection
from rondo_core.export.http import Endpoint

LIMIT = 4096


class Peer:
    """A socket on the loopback interface that does, for each connection in turn, what it is told."""

    def __init__(self, *deeds):
        self.requests, self.over = [], threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(deeds,), daemon=True)
        self._thread.start()

    def _serve(self, deeds):
        with self._listening:
            for deed in deeds:
                try:
                    taken, _ = self._listening.accept()
                except OSError:
                    return
                with taken, contextlib.suppress(OSError):
                    deed(self, taken)

    def read(self, taken):
        """Read one whole request."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += taken.recv(1 << 16)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        while len(body) < length:
            body += taken.recv(1 << 16)
        self.requests.append((head.decode(), body))

    def drip(self, taken, data):
        """Send a byte now and then, until the sender has gone or the test is over."""
        while not self.over.wait(0.01):
            taken.sendall(data)

    def close(self):
        self.over.set()
        self._listening.close()
        self._thread.join(10)


@pytest.fixture
def peer():
    made = []

    def start(*deeds):
        made.append(Peer(*deeds))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def reach():
    """Open connections by a way, or to a port of this machine."""
    made = []

    def start(endpoint, timeout_s=10.0):
        if isinstance(endpoint, int):
            endpoint = Endpoint(urlsplit(f"http://127.0.0.1:{endpoint}/w?k=1"), "http://receiver/w", timeout_s)
        made.append(Connection(endpoint))
        return made[-1]

    yield start
    for each in made:
        each.close()


def saying(data):
    def deed(peer, taken):
        peer.read(taken)
        taken.sendall(data)

    return deed


def dripping(beginning, drop):
    def deed(peer, taken):
        peer.read(taken)
        taken.sendall(beginning)
        peer.drip(taken, drop)

    return deed


def silent(peer, taken):
    peer.read(taken)
    peer.over.wait()


def hang_up(peer, taken):
    peer.read(taken)


def half_closed(peer, taken):
    peer.read(taken)
    taken.shutdown(socket.SHUT_WR)
    peer.over.wait()


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body", "complete"),
    [
        (OK, 204, b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", 200, b"fine", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine", 200, b"fine", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", 200, b"fine", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfi", 200, b"", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", 200, b"", False),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + OK, 204, b"", True),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999, 503, b"x" * LIMIT, False),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nfine", 200, b"", False),
    ],
)
def test_an_answer_is_read_as_far_as_it_goes(peer, answer, status, body, complete, reach):
    """With a length, in chunks, to the end as HTTP/1.0 has it, cut short, too long, senseless: the status stands."""
    found = reach(peer(saying(answer)).port).post(b"what", {}, LIMIT)
    assert (found.status, found.body, found.complete) == (status, body, complete)


def test_a_web_page_is_no_receiver(peer, reach):
    """A login page says 200 to whatever comes: nothing was taken, and nothing is in doubt. Another one may follow."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 4\r\n\r\n<htm"
    for kind in (b"text/html", b"Text/HTML; charset=utf-8"):
        with pytest.raises(ExportError, match="answered 200 with a web page; check the URL") as raised:
            reach(peer(saying(page % kind)).port).post(b"x", {}, LIMIT)
        assert type(raised.value) is ExportError


def test_an_answer_in_another_protocol_is_said_to_be_none(peer, reach):
    """A port of a mail server, say: what became of the request is not known, and the URL is what to look at."""
    with pytest.raises(AnswerLostError, match="what it answered is no HTTP; check the URL"):
        reach(peer(saying(b"220 mail.example ESMTP\r\n")).port).post(b"x", {}, LIMIT)


def test_an_address_that_swallows_everything_leaves_time_for_the_next(peer, reach, monkeypatch):
    """A host of two addresses, of which the first answers nothing, is reached by the second within the same timeout."""
    good = peer(saying(OK)).port
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # once its queue is full, the kernel drops what comes
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname()),
            (44, socket.SOCK_STREAM, 6, "", ("::1", good)),  # of a family that there is not here
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", good)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert reach(good, timeout_s=3.0).post(b"x", {}, LIMIT).status == 204


def test_a_packed_answer_is_unpacked_within_bounds(peer, reach):
    """gzip, which no one asked for; of one that unpacks without end only the beginning."""
    for data, expected in ((b"fine", (b"fine", True)), (bytes(1 << 24), (bytes(LIMIT), False))):
        packed = gzip.compress(data)[: 1 << 14]
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
        found = reach(peer(saying(head + packed)).port).post(b"", {}, max(LIMIT, len(packed)))
        assert found.body[:LIMIT] == expected[0]
        assert found.complete == expected[1]


@pytest.mark.parametrize(
    "deed",
    [
        silent,
        hang_up,
        half_closed,
        saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000),
        dripping(b"", b"H"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Header: ", b"y"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "hangs up", "half closed", "no http", "long line", "status", "headers", "header", "continue"],
)
def test_an_answer_that_does_not_come_leaves_a_doubt_and_holds_no_one_up(peer, deed, reach):
    """Within the timeout as a whole, however many bytes come in it; the receiver may have the request."""
    with pytest.raises(AnswerLostError) as caught:
        reach(peer(deed).port, 0.3).post(b"what", {}, LIMIT)
    assert str(caught.value).startswith("http://receiver/w: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 4000\r\n\r\n",
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
        b"HTTP/1.0 500 No\r\n\r\n",
    ],
)
def test_a_body_that_drips_ends_with_the_timeout_and_the_status_stands(peer, head, reach):
    """With a length, in chunks and to the end; the next request goes over a new connection."""
    running = peer(dripping(head, b"x"), saying(OK))
    made = reach(running.port, 0.3)
    found = made.post(b"one", {}, LIMIT)
    assert (found.status, found.complete) == (500, False)
    assert made.post(b"two", {}, LIMIT).status == 204


def test_a_receiver_that_reads_no_request_holds_no_one_up(peer, monkeypatch, reach):
    """Sending is bounded too, by the timeout and what a slow line takes; nothing says that it did not arrive."""
    monkeypatch.setattr(module, "LEAST_BYTES_PER_S", 1 << 30)
    running = peer(lambda peer, _taken: peer.over.wait())
    with pytest.raises(AnswerLostError, match="no answer within"):
        reach(running.port, 0.3).post(bytes(64 << 20), {}, LIMIT)


def test_no_connection_leaves_no_doubt(reach):
    """A port where no one listens, a name that does not resolve: nothing was sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(ReceiverAwayError, match="no connection: Connection refused"):
            reach(probe.getsockname()[1]).post(b"", {}, LIMIT)
    for host, kind in (("no.such.invalid", ReceiverAwayError), ("a" * 64, ExportError)):
        endpoint = Endpoint(urlsplit(f"http://{host}/w"), f"http://{host}/w", 10.0)
        with pytest.raises(kind) as caught:
            reach(endpoint).post(b"", {}, LIMIT)
        assert not isinstance(caught.value, AnswerLostError)


def test_a_connection_that_was_closed_meanwhile_is_made_anew(peer, reach):
    """A receiver that hangs up between two requests costs no failure and leaves no doubt."""
    closed = threading.Event()

    def once(peer, taken):
        peer.read(taken)
        taken.sendall(OK)
        taken.close()
        closed.set()

    made = reach(peer(once, saying(OK)).port)
    assert made.post(b"one", {}, LIMIT).status == 204
    closed.wait()
    assert made.post(b"two", {}, LIMIT).status == 204


def test_an_early_answer_is_heard(peer, reach):
    """A receiver that answers 413 and closes before it has read the request has answered."""

    def early(_peer, taken):
        taken.recv(1 << 10)
        taken.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        taken.shutdown(socket.SHUT_WR)
        while taken.recv(1 << 16):
            pass

    assert reach(peer(early).port).post(bytes(4 << 20), {}, LIMIT).status == 413


def test_a_proxy_is_gone_through(peer, reach):
    """http: the proxy is asked for the whole URL, with its own credentials; the receiver's headers go along."""
    running = peer(saying(OK))
    proxy = urlsplit(f"http://me:hunter%3A2@127.0.0.1:{running.port}")
    endpoint = Endpoint(
        urlsplit("http://receiver.invalid:9090/w?k=1"), "http://receiver.invalid:9090/w", 10.0, proxy=proxy
    )
    assert reach(endpoint).post(b"what", {"X-Key": "7"}, LIMIT).status == 204
    [(head, body)] = running.requests
    lines = head.split("\r\n")
    assert lines[0] == "POST http://receiver.invalid:9090/w?k=1 HTTP/1.1"
    assert {"Host: receiver.invalid:9090", "X-Key: 7", "Proxy-Authorization: Basic bWU6aHVudGVyOjI="} <= set(lines)
    assert body == b"what"
    assert "hunter" not in repr(endpoint)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Who\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n", b"SSH-2.0\r\n", b""])
def test_a_proxy_that_makes_no_tunnel_leaves_no_doubt(peer, answer, reach):
    """https goes through CONNECT; where that fails nothing was sent to the receiver."""

    def refuse(peer, taken):
        data = b""
        while b"\r\n\r\n" not in data:
            data += taken.recv(1 << 16)
        peer.requests.append(data.decode())
        taken.sendall(answer)

    running = peer(refuse)
    proxy = urlsplit(f"http://127.0.0.1:{running.port}")
    endpoint = Endpoint(urlsplit("https://receiver.invalid/w"), "https://receiver.invalid/w", 10.0, proxy=proxy)
    with pytest.raises(ReceiverAwayError) as caught:
        reach(endpoint).post(b"what", {}, LIMIT)
    assert running.requests[0].startswith("CONNECT receiver.invalid:443 HTTP/1.1\r\n")
    assert ("the proxy answered" in str(caught.value)) == answer.startswith(b"HTTP")


def test_a_closed_connection_says_so(peer, reach):
    """After close nothing is sent, and closing again does no harm."""
    made = reach(peer(saying(OK)).port)
    assert made.post(b"", {}, LIMIT).status == 204
    made.close()
    made.close()
    with pytest.raises(ExportError, match="was closed"):
        made.post(b"", {}, LIMIT)
