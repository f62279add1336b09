"""Hostile HTTP: whatever many strangers send at once, `rondo serve` says so in one line and goes on telling of health.

`make soak-http` sends 10,000 requests, each time others, and holds every answer of /metrics/health to a second,
but for the time in which something waited for a CPU.
"""

import gzip
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from rondo_core import ManualClock, Schema, Store, Tier

REQUESTS = int(os.environ.get("RONDO_HTTP_REQUESTS", "400"))
SEED = int(os.environ.get("RONDO_HTTP_SEED", "1"))
CLIENTS, HELD = 4, 300
HEALTH_S = 1.0 if "RONDO_HTTP_REQUESTS" in os.environ else 30.0
MEMORY_KB = 300 << 10
HOST = b"Host: 127.0.0.1\r\n"
PATTERNS = (
    "(a+)+$", "([a-z_]+)+!", "(?:a{0,3000}){0,3000}", "(?=a)", r"(a)\1", "(?:a{0,30}){0,30}b", "((((((a*)*)*)*)*)*)*c", "[", "(" * 500,
    "|".join("ab" for _ in range(600)), "[a-z]{1,1000}", "\x00", "\udcff", r"\p{L}{1,300}", "(?i)\u017f+", "a" * 1999, "b" * 3000, "(?P<n>a)(?P<n>b)",
)  # fmt: skip
RANGES = (
    "9" * 5000 + "s", "1s" * 2000, "-5m", "nan", "inf", "1e400", "0s", "..", "5..5", "9..1", "1h..all", "9" * 7000, "٣m", "all", "15m",
    "2026-01-01T00:00:00+23:59..", "1970..9999", " ", "\x00", "0.000000000000000000000000000000000001s",
)  # fmt: skip
NUMBERS = ("-1", "nan", "inf", "-inf", "1e400", "9" * 4400, "0x10", "1_0", "", " 1", "٣", "1.5", "auto", "\x1b[2J")
HOSTS = (
    "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "127.0.0.1@evil", "", "[", "[::1", "[::ffff:1.2.3.4]", "0x7f.1",
    "127.1", "127.0.0.1:99999999", "xn--a", "8.8.8.8", "a" * 5000, "127.0.0.1, evil.example", "127.0.0.1 evil",
)  # fmt: skip


def head(method, path, *lines, host=HOST):
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, path, host, b"".join(each + b"\r\n" for each in lines))


def query(**asked):
    pairs = "&".join(f"{key}={quote(value, safe='', errors='surrogatepass')}" for key, value in asked.items())
    return head(b"GET", b"/metrics/query?" + pairs.encode())


def text(rng, most):
    return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) for _ in range(rng.randrange(most)))


def large_query(rng):
    some = rng.choice(("g", 'g{i=~"1.*"}', 'g{i=~"..?"}'))
    return query(series=some, range=rng.choice(("all", "10m")), fn=rng.choice(("avg", "max", "count")))


def pattern(rng):
    what = rng.choice(PATTERNS)
    return query(
        series=rng.choice(('g{i=~"%s"}', '{__name__=~"%s"}', 'g{i!~"%s",i=~".*"}'))
        % what.replace("\\", "\\\\").replace('"', '\\"')
    )


def conditions(rng):
    return query(series="{" + ",".join(f'a!="{n}"' for n in range(rng.randrange(1, 700))) + "}")


def odd_words(rng):
    key = rng.choice(("series", "start", "end", "range", "tier", "fn", "xff", "x\n"))
    return query(**{"series": "g", key: rng.choice((*RANGES, *NUMBERS, text(rng, 200)))})


def foreign_host(rng):
    name = rng.choice(HOSTS).encode()
    return head(
        b"GET", rng.choice((b"/metrics/info", b"/metrics/info/", b"//evil.example/..")), host=b"Host: " + name + b"\r\n"
    )


def odd_method(rng):
    method = rng.choice(
        (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"GETGET", b"get", b"M" * 300)
    )
    return head(method, rng.choice((b"/metrics", b"/metrics/query?series=g", b"*", b"evil.example:443", b"/")))


def long_head(rng):
    size = rng.choice((9_000, 20_000, 70_000, 400_000))
    if rng.random() < 0.5:
        return head(b"GET", rng.choice((b"/metrics/query?series=", b"/api/v1/query?query=")) + b"a" * size)
    return head(b"GET", b"/metrics/health", *(b"X-%d: %b" % (n, b"y" * 100) for n in range(size // 100)))


def smuggled(rng):
    inner = head(b"GET", b"/metrics/info")
    lines = rng.choice((
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"), (b"Content-Length: 5", b"Content-Length: 6"), (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), (b"Content-Length: +5",), (b"Content-Length: -1",), (b"Content-Length : 5",),
        (b"Content-Length: " + b"9" * 5000,), (b" folded: header",), (b"Transfer-Encoding\x0b: chunked",), (b"Content-Length: 0x5",),
    ))  # fmt: skip
    return head(rng.choice((b"GET", b"POST")), b"/metrics/health", *lines) + b"0\r\n\r\n" + inner


def body(rng):
    lines = rng.choice(
        (
            (b"Content-Length: 100000000",),
            (b"Transfer-Encoding: chunked",),
            (b"Content-Length: 3", b"Expect: 100-continue"),
        )
    )
    return (
        head(rng.choice((b"GET", b"POST")), b"/metrics/query?series=g", *lines)
        + b"ffff\r\n"
        + rng.randbytes(rng.randrange(200_000))
    )


def garbage(rng):
    return rng.choice((
        rng.randbytes(rng.randrange(1, 3000)), b"\x16\x03\x01" + rng.randbytes(200), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n", b"\r\n" * 2000, b"GET /metrics/health HTTP/1.1\n" + HOST + b"\n", b"\0" * 1000, b"GET \xff HTTP/1.1\r\n\r\n",
    ))  # fmt: skip


def pipelined(rng):
    return head(b"GET", rng.choice((b"/metrics/health", b"/metrics/query?series=g", b"/nope"))) * rng.randrange(2, 60)


def upgrade(rng):
    return head(
        b"GET",
        b"/metrics",
        b"Connection: Upgrade",
        b"Upgrade: " + rng.choice((b"websocket", b"h2c", b"TLS/1.0")),
        b"Sec-WebSocket-Version: 13",
    )


def api(path, **asked):
    """A form that is posted to Prometheus's API."""
    form = "&".join(
        f"{key}={quote(str(value), safe='', errors='surrogatepass')}" for key, value in asked.items()
    ).encode()
    return post(path, form, b"Content-Type: application/x-www-form-urlencoded")


def post(path, sent, *lines):
    return head(b"POST", b"/api/v1/" + path.encode(), b"Content-Length: %d" % len(sent), *lines) + sent


def expression(rng):
    what = rng.choice(PATTERNS).replace("\\", "\\\\").replace('"', '\\"')
    n = rng.choice((5, 150, 5_000, 20_000))
    return rng.choice((
        f'g{{i=~"{what}"}}', f'label_replace(g, "a", "$1", "i", "{what}")', "{" + ",".join(f'i=~"(?i)x{k}\\\\w{{1,40}}"' for k in range(n // 100 + 1)) + "}",
        "(" * n + "g" + ")" * n, "+".join(["g"] * n), "-" * n + "g", "sum(" * n, "g" + " or g" * n, "'\\" * n, '"' * n, "#" * n, "g" + "[5m:1s]" * n, "(" * n,
        "g * on () group_left () g", 'count_values("x", g)', "sum_over_time(g[10m])", "quantile_over_time(0.5, g[10m])", "sort(g)", "g ^ g ^ g ^ g",
        "max_over_time(sum(g)[10m:1ms])", "avg_over_time(g[100y:1ms])", "rate(g[5m:1s])[10m:1s]", "topk(1e300, g)", "g @ 1e300", "g offset 9999999y", "1e999 * g",
        text(rng, 400),
    ))  # fmt: skip


def promql(rng):
    """An expression that is hard to parse, to compile, to answer or to write."""
    asked = {"query": expression(rng), "time": 1_700_000_500}
    if rng.random() < 0.3:
        asked[rng.choice(("time", "timeout", "limit"))] = rng.choice((*NUMBERS, *RANGES, text(rng, 60)))
    if rng.random() < 0.6:
        start, end, step = rng.choice(
            (
                (0, 1e9, 1),
                (1_700_000_000, 1_700_000_600, 1),
                (0, 10**9 * 1e-3, 1e-3),
                ("-1e300", "1e300", "1e290"),
                (0, 0, 0),
            )
        )
        return api("query_range", **asked, start=start, end=end, step=rng.choice((step, *NUMBERS)))
    return api(rng.choice(("query", "query", "query", "parse_query", "format_query")), **asked)


def selectors(rng):
    """Many selectors, and large lists."""
    many = "&".join(
        f"match[]={quote(rng.choice(('g', 'h{i=~%22.*%22}', expression(rng))), errors='surrogatepass')}"
        for _ in range(rng.choice((1, 40, 1_200)))
    )
    form = f"{many}&start={rng.choice(NUMBERS)}".encode()[: 120 << 10]
    return post(rng.choice(("series", "labels")), form, b"Content-Type: application/x-www-form-urlencoded")


def odd_label(rng):
    name = quote(
        rng.choice(("U__" + "_10FFFF_" * 200, "U__" + "_" * 3000, "..", "%2e%2e/", "\x00", text(rng, 300))),
        safe="",
        errors="surrogatepass",
    )
    return head(b"GET", b"/api/v1/label/" + name.encode() + b"/values")


def bomb(rng):
    """A body that is larger than it looks, or than it says."""
    packed = gzip.compress(b"query=" + b"g" * rng.choice((1_000, 10_000_000)))
    kind = b"Content-Type: application/x-www-form-urlencoded"
    return rng.choice((
        post("query", packed, kind, b"Content-Encoding: gzip"), post("query", packed[: len(packed) // 2], kind, b"Content-Encoding: gzip"),
        post("query", gzip.compress(packed), kind, b"Content-Encoding: gzip, gzip"), post("query", b"a=b&" * 30_000, kind), post("query", b"%" * 100_000, kind),
        post("read", b"\xff\xff\xff\xff\x0f" + b"\0" * 100), post("read", b"\xff" * 200), post("read", b"\x80\x80\x08" + b"\xfe\x01\x00" * 40_000),
        post("read", b"\x80\x80\x04" + b"\x04aa" + b"\xfe\x02\x00" * 1_024), post("read", rng.randbytes(3_000)), post("read", reading(rng)),
    ))  # fmt: skip


def reading(rng):
    """A request of remote read for all that there is, as often as may be and oftener, or by patterns that are hard."""
    what = rng.choice(PATTERNS).encode("utf-8", "replace")
    matcher = b"\x08\x02\x12\x01i\x1a" + varint(len(what)) + what
    one = b"\x08\x00\x10" + varint(1 << 62) + (b"\x1a" + varint(len(matcher)) + matcher) * rng.choice((1, 30, 200))
    if rng.random() < 0.5:
        everything = b"\x08\x01\x12\x08__name__"  # which is not the empty text
        one = b"\x08\x00\x10" + varint(1 << 62) + b"\x1a" + varint(len(everything)) + everything
    message = (b"\x0a" + varint(len(one)) + one) * rng.choice((1, 16, 40))
    return varint(len(message)) + b"\xfc" + (len(message) - 1).to_bytes(4, "little") + message


def varint(number):
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def usual(rng):
    return head(
        rng.choice((b"GET", b"HEAD")),
        rng.choice(
            (
                b"/metrics",
                b"/metrics/info",
                b"/metrics/query?series=g&range=5s",
                b"/metrics/health",
                b"/api/v1/status/tsdb",
                b"/api/v1/labels",
                b"/api/v1/query?query=sum(g)&time=1700000500",
                b"/api/v1/label/i/values",
                b"/api/v1/metadata",
                b"/api/v1/series?match[]=g",
            )
        ),
    )


ATTACKS = (
    large_query, pattern, conditions, odd_words, odd_words, foreign_host, odd_method, long_head, smuggled, body, garbage, pipelined, upgrade, usual,
    promql, promql, promql, selectors, odd_label, bomb, bomb,
)  # fmt: skip


class Server:
    """`rondo serve` in a process of its own, with all that it says."""

    def __init__(self, path, *options, room=None):
        command = [sys.executable, "-m", "rondo_cli", "serve", str(path), "--port", "0", *options]
        if room:
            command = ["sh", "-c", f'ulimit -n {room}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        first = self.process.stderr.readline()
        assert "serving" in first, first
        self.address = ("127.0.0.1", int(first.rpartition(":")[2].partition("/")[0]))
        self.said = []
        self._reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self._reader.start()

    def ask(self, data, timeout=30.0, patience=None):
        """Send bytes, and give what comes back until the answer is whole, the connection ends or patience does."""
        came = b""
        with socket.create_connection(self.address, timeout=timeout) as client:
            with suppress(ConnectionError):
                client.sendall(data)
            client.settimeout(patience or timeout)
            with suppress(ConnectionError, TimeoutError) if patience else suppress(ConnectionError):
                while not _whole(came, data) and (part := client.recv(1 << 16)):
                    came += part
        return came

    def peak_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._reader.join(30)
        self.process.stderr.close()


def _whole(came, sent):
    top, mark, rest = came.partition(b"\r\n\r\n")
    if not mark or top.startswith(b"HTTP/1.1 100"):
        return False
    if sent.startswith(b"HEAD"):
        return True
    sizes = [int(line[15:]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(rest) >= sizes[0] if sizes else False


def status_of(came):
    return int(came[9:12]) if came.startswith(b"HTTP/1.1 ") else 0


@pytest.fixture
def store_path(tmp_path):
    """340 gauges of ten minutes, one with a value on which patterns backtrack."""
    clock = ManualClock()
    schemas = [Schema("g", "gauge", 340, (Tier("1s", "10m"), Tier("10s", "1h")))]
    with Store(tmp_path / "s", schemas, clock=clock) as store:
        batch = store.batch([*(store.gauge("g", i=n) for n in range(339)), store.gauge("g", i="a" * 1000 + "!")])
        for second in range(600):
            batch.set([float(second)] * 340)
            store.tick()
            clock.advance(1)
    return tmp_path / "s"


def stood_in_line_s():
    """Say for how long in all some process of this machine has been waiting for a CPU: no server answers on a busy one.

    Source: Documentation/accounting/psi.rst of Linux, "some"; 0 where the kernel does not say.
    """
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/pressure/cpu").read_text().partition("\n")[0].rpartition("total=")[2]) / 1e6
    return 0.0


def test_strangers_of_every_kind_keep_no_one_from_being_answered(store_path):
    """Each gets a short clear answer or the end of its connection, none a 500; memory and the log stay small."""
    server = Server(store_path)
    seen, kinds, lock, left = Counter(), {}, threading.Lock(), [REQUESTS]
    failures = []

    def stranger(number):
        rng, held = random.Random(SEED * 1000 + number), deque()
        try:
            while True:
                with lock:
                    if not left[0]:
                        break
                    left[0] -= 1
                attack = rng.choice(ATTACKS)
                data = attack(rng)
                if rng.random() < 0.2:  # begun, and never ended
                    client = socket.create_connection(server.address, timeout=30)
                    with suppress(OSError):
                        client.sendall(data[: rng.randrange(len(data))])
                    held.append(client)
                    while len(held) > HELD // CLIENTS:
                        held.popleft().close()
                    continue
                came = server.ask(data, patience=1.0 if attack is garbage else 30.0)
                status = status_of(came)
                with lock:
                    seen[status] += 1
                    kinds.setdefault(attack.__name__, Counter())[status] += 1
                if status >= 400 and not data.startswith(b"HEAD"):
                    said = came.partition(b"\r\n\r\n")[2]
                    error = json.JSONDecoder().raw_decode(said.decode())[0]["error"]
                    assert "\n" not in error
                    assert len(error) < 400
        except (AssertionError, LookupError, OSError, ValueError) as error:
            failures.append(f"{type(error).__name__}: {error}")
        finally:
            for client in held:
                client.close()

    strangers = [threading.Thread(target=stranger, args=(number,)) for number in range(CLIENTS)]
    try:
        for each in strangers:
            each.start()
        slowest, asked = 0.0, 0
        while any(each.is_alive() for each in strangers):
            begun = time.monotonic() - stood_in_line_s()
            came = server.ask(head(b"GET", b"/metrics/health", b"Connection: close"), timeout=30.0)
            slowest, asked = max(slowest, time.monotonic() - stood_in_line_s() - begun), asked + 1
            assert status_of(came) == 200, came
        for each in strangers:
            each.join()
        assert status_of(server.ask(head(b"GET", b"/metrics/query?series=g&range=5s"))) == 200
        peak_kb = server.peak_kb()
    finally:
        server.end()
    print(
        f"{REQUESTS} requests, {asked} of /metrics/health, the slowest {slowest:.2f} s; {peak_kb >> 10} MiB; {dict(seen)}"
    )
    assert slowest < HEALTH_S
    assert not failures
    assert not {status for status in seen if status >= 500 and status != 503}, kinds
    assert {200, 400, 404, 405, 413, 414, 421, 422} <= set(seen) or REQUESTS < 200, seen
    assert server.said == []
    assert peak_kb < MEMORY_KB
    assert asked


def test_a_request_whose_end_is_told_twice_ends_its_connection(store_path):
    """What follows it may be a request to a proxy and a body to us, or the other way round: it is not answered."""
    server = Server(store_path)
    lengths = b"Content-Length: 6", b"Transfer-Encoding: chunked"
    hidden = b"0\r\n\r\n" + head(b"GET", b"/metrics/health")
    try:
        came = server.ask(head(b"POST", b"/api/v1/query", *lengths) + hidden)
        assert (came.count(b"HTTP/1.1 "), status_of(came)) == (1, 400)
        assert b"Content-Length beside Transfer-Encoding" in came
    finally:
        server.end()


def test_a_whole_url_is_asked_for_as_its_path_is(store_path):
    """As clients ask a proxy; the host in it is the one that counts, whatever Host says."""
    server = Server(store_path)
    try:
        for url, host, status in (
            (b"http://127.0.0.1/metrics/health", b"Host: evil.example\r\n", 200),
            (b"http://evil.example/metrics/health", HOST, 421),
            (b"http://127.0.0.1", HOST, 200),
        ):
            assert status_of(server.ask(head(b"GET", url, b"Connection: close", host=host))) == status
    finally:
        server.end()


def test_connections_that_ask_for_nothing_give_way(store_path):
    """More of them than there is room for, in descriptors too: who comes and asks is heard, and the log is silent."""
    server = Server(store_path, room=64)
    try:
        with ExitStack() as stack:
            for number in range(400):
                held = stack.enter_context(socket.create_connection(server.address, timeout=30))
                if number % 2:
                    with suppress(OSError):
                        held.sendall(b"GET /metrics/query?series=g HTTP/1.1\r\nHost: 127")
            for _ in range(10):
                assert status_of(server.ask(head(b"GET", b"/metrics/health"))) == 200
            assert status_of(server.ask(head(b"GET", b"/metrics/query?series=g&range=5s"))) == 200
    finally:
        server.end()
    assert server.said == []


def test_a_request_that_never_comes_is_ended(store_path):
    """A head that drips in has five seconds as a whole; then it is told so, and the connection ends."""
    server = Server(store_path)
    try:
        with socket.create_connection(server.address, timeout=60) as client:
            client.sendall(b"GET /metrics/health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            came, dripping = b"", threading.Event()

            def drip():
                with suppress(OSError):
                    while not dripping.wait(0.5):
                        client.sendall(b"X")

            thread = threading.Thread(target=drip)
            thread.start()
            while part := client.recv(4096):
                came += part
            dripping.set()
            thread.join()
        assert status_of(came) == 408
        assert json.loads(came.partition(b"\r\n\r\n")[2]) == {"error": "no request came in time"}
    finally:
        server.end()


def test_a_body_without_end_gets_its_answer(store_path):
    """It is refused unread, and whoever still sends can read why."""
    server = Server(store_path)
    try:
        chunk = b"ffff\r\n" + bytes(0xFFFF) + b"\r\n"
        came = server.ask(head(b"POST", b"/metrics/query", b"Transfer-Encoding: chunked") + chunk * 40)
        assert status_of(came) == 413
        assert b'{"error": "a body: no request here has one"}' in came
    finally:
        server.end()


def test_a_body_that_drips_is_ended(store_path):
    """A form has five seconds as a whole, and so has one of which nothing comes; then it is said so."""
    server = Server(store_path)
    kind = b"Content-Type: application/x-www-form-urlencoded"
    try:
        with (
            socket.create_connection(server.address, timeout=60) as dripping,
            socket.create_connection(server.address, timeout=60) as silent,
        ):
            ended, came = threading.Event(), b""
            for client in (dripping, silent):
                client.sendall(head(b"POST", b"/api/v1/query", kind, b"Content-Length: 100000"))

            def drip():
                with suppress(OSError):
                    while not ended.wait(0.5):
                        dripping.sendall(b"query=g")

            thread = threading.Thread(target=drip)
            thread.start()
            for client in (silent, dripping):
                came = b""
                while part := client.recv(4096):
                    came += part
                assert status_of(came) == 408
                assert json.loads(came.partition(b"\r\n\r\n")[2])["error"] == "the body did not come within 5 s"
            ended.set()
            thread.join()
        assert status_of(server.ask(api("query", query="sum(g)", time=1_700_000_500))) == 200
    finally:
        server.end()
    assert server.said == []


def test_answers_that_nobody_takes_are_few(store_path):
    """Clients that ask for much and read nothing hold a bounded part of memory; small questions are answered as ever."""
    server = Server(store_path)
    try:
        with ExitStack() as stack:
            for _ in range(40):
                greedy = stack.enter_context(socket.socket())
                greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                greedy.connect(server.address)
                greedy.sendall(query(series="g", range="9m"))
            seen = Counter()
            for _ in range(100):  # until they have taken all there is
                seen[status_of(server.ask(query(series="g", range="9m", fn="max")))] += 1
                if seen[503]:
                    break
            assert seen[503], seen
            assert set(seen) <= {200, 503}
            assert status_of(server.ask(head(b"GET", b"/metrics/health"))) == 200
            assert status_of(server.ask(head(b"GET", b"/metrics/query?series=g&range=5s"))) == 200
            assert server.peak_kb() < MEMORY_KB
    finally:
        server.end()
    assert not [line for line in server.said if "Traceback" in line]


def test_a_client_that_cuts_the_connection_is_no_error():
    """Where it is gone before it is told that there is no more, the connection ends, and the log has no word of it."""
    pytest.importorskip("uvicorn")
    from rondo_web.http.connection import BoundedProtocol

    calls = []

    class Cut:
        def is_closing(self):
            return False

        def resume_reading(self):
            calls.append("resume_reading")

        def write_eof(self):
            raise OSError(107, "Transport endpoint is not connected")

        def abort(self):
            calls.append("abort")

    protocol = object.__new__(BoundedProtocol)
    protocol.lingering, protocol._real, protocol._wait = False, Cut(), calls.append
    protocol.linger()
    assert calls[-1] == "abort"
