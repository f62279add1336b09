"""A real gunicorn: workers that retire after a few requests, and what all of them counted."""

import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest

pytest.importorskip("gunicorn")

APP = """
import os
from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install
from rondo_bridges.wsgi import WsgiMiddleware
from rondo_core import Store

install(os.environ["METRICS"], max_totals=64, max_gauges=8)
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

requests = Counter("requests", "Requests.", ["code"])
took = Histogram("took_seconds", "Took.", buckets=[1])


def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        requests.labels(200).inc()
        took.observe(0.5)
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = WsgiMiddleware(app, lambda: Store.for_process(os.environ["STORES"]), route=lambda environ: environ["PATH_INFO"])
"""
CONFIG = """
from rondo_bridges.prometheus_multiprocess import mark_process_dead


def child_exit(server, worker):
    import os
    mark_process_dead(worker.pid, os.environ["METRICS"])
"""


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


def get(path, where):
    connection = Connection(str(path))
    try:
        connection.request("GET", where)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def total(text, name):
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("preload", [False, True])
def test_workers_that_retire_lose_no_request(tmp_path, preload):
    """/metrics says as many as were answered, at every look, whichever worker answers; the directory stays as it is."""
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "conf.py").write_text(CONFIG)
    path = tmp_path / "s"
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "-c", str(tmp_path / "conf.py"), "served:app"]
    command += ["--bind", f"unix:{path}", "--workers", "4", "--max-requests", "5", "--chdir", str(tmp_path)]
    environment = {**os.environ, "METRICS": str(tmp_path / "metrics"), "STORES": str(tmp_path / "stores")}
    with subprocess.Popen(
        [*command, *["--preload"] * preload],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            for line in server.stdout:
                if "Booting worker" in line:
                    break
            pids = set()
            for number in range(1, 121):
                pids.add(get(path, "/work"))
                if number % 10 == 0:
                    said = get(path, "/metrics")
                    assert total(said, "requests_total") == total(said, "took_seconds_count") == number
            os.kill(server.pid, signal.SIGTERM)
            said = server.communicate(timeout=60)[0]
        finally:
            server.kill()
    assert server.returncode == 0, said
    assert len(pids) >= 20
    stores = [each for each in (tmp_path / "metrics").iterdir() if each.is_dir()]
    assert len(stores) <= 6
    from rondo_core import StoresReader

    with StoresReader(tmp_path / "stores") as middleware:  # which this test's program lets be
        served = middleware.query("http_requests_total{route=/work}")
        assert sum(float(each.values[-1]) for each in served) == 120
