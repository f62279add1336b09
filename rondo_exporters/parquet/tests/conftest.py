"""What the tests of lakes share: an object store that makes trouble, lives of hosts whose clocks are apart, agents."""

import io
import os
import signal
import subprocess
import sys
import threading

import pyarrow.fs as pafs
import pytest
from rondo_exporter_parquet.checking import check
from rondo_exporter_parquet.place import open_place

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config

S = 10**9
MIDNIGHT_NS = 19_700 * 86_400 * S
AGENT = """
import sys
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config
where, name, stores = sys.argv[1:]
table = {"directory": where, "instance": name, "max_samples": 40}
agent = Agent(stores, Config(exporters={"parquet": table}, agent={"instance_label": "instance"}))
done = agent.run_once(last=True)
agent.close()
sys.exit(done.complete != done.stores)
"""

DYING = """
import os, signal, sys

fatal, count = int(sys.argv.pop(1)), 0

def dying(call):
    def inner(*args, **options):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return inner
"""


class ObjectStore:
    """A real S3 server, moto's, and before it whoever makes its trouble: `fault` is called before each PUT."""

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_):
                pass

        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.fault, self.late, self.puts = None, [], 0
        options = f"endpoint=127.0.0.1:{self._server.port}&scheme=http&region=us-east-1&attempts=1"
        bucket = f"lake-{os.urandom(6).hex()}"  # moto's buckets are its process's, not the server's
        self.location, self.url = f"s3://{bucket}/ci?{options}", f"http://127.0.0.1:{self._server.port}"
        fs = pafs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self._server.port}", scheme="http", region="us-east-1",
            allow_bucket_creation=True, allow_bucket_deletion=True,
        )  # fmt: skip
        fs.create_dir(bucket)

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] != "PUT" or "/ci/" not in environ["PATH_INFO"] or self.fault is None:
            return self._app(environ, start_response)
        self.puts += 1
        body = environ["wsgi.input"].read() if "wsgi.input_terminated" in environ else self._body(environ)
        environ = {**environ, "wsgi.input": io.BytesIO(body)}
        fault = self.fault(self.puts)
        if fault == "late":
            self.late.append(environ)
        elif fault in {"unanswered", "killed after"}:
            list(self._app(environ, lambda *_: None))
        if fault:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        return self._app(environ, start_response)

    def _body(self, environ):
        return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))

    def carry_out_late(self):
        """Do what was asked for long ago, and what nobody waits for any more."""
        while self.late:
            list(self._app(self.late.pop(), lambda *_: None))

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def objects(monkeypatch):
    pytest.importorskip("moto", reason="no moto; it is in the group test")
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ObjectStore()
    yield server
    server.close()


def _make_stores(directory, n_stores=5):
    """Lives of a minute on hosts whose clocks are apart by seconds, hours and days."""
    directory.mkdir()
    for number, apart_s in zip(range(n_stores), (0, 7200, -86_400, 3, 400 * 86_400) * n_stores, strict=False):
        clock = ManualClock(MIDNIGHT_NS + (apart_s - 20) * S)
        tiers = (Tier("1s", "10m"),)
        schemas = [Schema("counters", "counter", 4, tiers), Schema("gauges", "gauge", 4, tiers)]
        with Store(directory / f"job-{number}.rondo", schemas, clock=clock) as store:
            for second in range(45):
                store.counter("done_total").inc(number + 1)
                store.gauge("level").set(second)
                store.tick()
                clock.advance(1)


def _run_agent(objects, name, stores, kill_at=0, when="killed before"):
    """Run one agent over the stores; it is killed at its nth PUT, or goes on to its end. Gives its exit status."""
    agent = subprocess.Popen([sys.executable, "-c", AGENT, objects.location, name, str(stores)])
    planned, first = objects.fault, objects.puts

    def fault(number):
        if kill_at and number - first == kill_at:
            os.kill(agent.pid, signal.SIGKILL)
            return when
        return planned and planned(number)

    objects.fault = fault
    try:
        return agent.wait(timeout=120)
    finally:
        objects.fault = planned


def _small_files(tmp_path, n_stores=4):
    """A lake of small files by several exporters, and how many rows it has."""
    _make_stores(tmp_path / "stores", n_stores)
    for number in range(n_stores):
        only = tmp_path / f"fleet-{number}"
        only.mkdir()
        (tmp_path / "stores" / f"job-{number}.rondo").rename(only / f"job-{number}.rondo")
        table = {"directory": str(tmp_path / "lake"), "instance": f"fleet-{number}"}
        agent = Agent(only, Config(exporters={"parquet": table}, agent={"instance_label": "instance"}))
        agent.run_once()
        agent.close()
    return tmp_path / "lake", check(open_place(tmp_path / "lake")).rows


@pytest.fixture(scope="session")
def make_stores():
    """Make lives of a minute in a directory."""
    return _make_stores


@pytest.fixture(scope="session")
def small_files():
    """Make a lake of small files by several exporters; give it, and how many rows it has."""
    return _small_files


@pytest.fixture(scope="session")
def run_agent():
    """Run an agent in a process of its own over an object store, and kill it at a PUT."""
    return _run_agent


@pytest.fixture
def killed_at():
    """Give what runs a program's text up to so many calls of what it has made `dying`, which has to kill it."""

    def run(fatal, program, *arguments):
        command = [sys.executable, "-c", DYING + program, str(fatal), *map(str, arguments)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    return run
