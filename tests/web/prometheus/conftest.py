"""A store of each kind of series, served, and a client that asks as Prometheus's clients do."""

import contextlib
import gzip
import http.client
import json
import types
from urllib.parse import urlencode

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_web import Sidecar, listen

START_S = 1_700_000_000
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))


def fill(path):
    """Two minutes of a counter by queue, a gauge and a summary; the writer has gone."""
    clock = ManualClock(START_S * 10**9)
    schemas = [Schema(kind, kind, 16, TIERS) for kind in ("counter", "gauge", "summary")]
    with Store(path, schemas, clock=clock) as store:
        counters = [store.counter("jobs_total", help="Jobs done.", queue=each) for each in ("mail", "web")]
        level, took = store.gauge("level", unit="ratio", help="How full."), store.summary("took_seconds")
        for second in range(120):
            for index, counter in enumerate(counters):
                counter.inc(index + 1)
            level.set(second / 4)
            took.observe(0.5)
            store.tick()
            clock.advance(1)
    return path


class Client:
    """Asks one server, by GET or by POST, for what its API has at a path."""

    def __init__(self, url):
        self.url = url
        self.address = url.removeprefix("http://").partition("/")[0]

    def request(self, method, path, body=None, **headers):
        """Give the status, the headers and the bytes."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return types.SimpleNamespace(status=response.status, headers=response.headers, body=response.read())

    def get(self, path, **asked):
        """Give the status and the JSON."""
        found = self.request("GET", f"/api/v1/{path}?{urlencode(asked, doseq=True)}")
        return found.status, json.loads(found.body)

    def post(self, path, **asked):
        """Give the status and the JSON, of a form that was posted."""
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "gzip"}
        found = self.request("POST", f"/api/v1/{path}", urlencode(asked, doseq=True), **kind)
        packed = found.headers.get("Content-Encoding") == "gzip"
        return found.status, json.loads(gzip.decompress(found.body) if packed else found.body)

    def data(self, path, **asked):
        """Give what an answer that is a success has as its data; by GET and by POST it is the same."""
        status, told = self.get(path, **asked)
        assert (status, told["status"]) == (200, "success"), told
        return told["data"]


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """The API of a store whose writer has gone."""
    with Sidecar(fill(tmp_path_factory.mktemp("served") / "s"), listen("127.0.0.1", 0)) as sidecar:
        yield Client(sidecar.url)


@pytest.fixture
def client():
    """What makes a client of a URL."""
    return Client
