"""Servers that load a program and then fork their workers: what all of them record is what was asked of them."""

import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import StoresReader

needs = {name: importlib.util.find_spec(name) is not None for name in ("gunicorn", "celery")}

WEB = """
from rondo_core import open_store
store = open_store("web")
asked = store.counter("http_requests_total", route="/")
took = store.summary("http_request_duration_seconds")

@took.timed
def app(environ, start_response):
    asked.inc()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
TASKS = """
import os
from celery import Celery
from rondo_core import open_store
store = open_store("tasks")
done = store.counter("tasks_total")
app = Celery("tasks", broker="filesystem://", backend=f"file://{os.getcwd()}/results")
app.conf.broker_transport_options = {key: f"{os.getcwd()}/queue" for key in ("data_folder_in", "data_folder_out")}
app.conf.broker_transport_options["control_folder"] = f"{os.getcwd()}/control"
app.conf.worker_hijack_root_logger = False

@app.task
def work(number):
    done.inc(number)
    return os.getpid()
"""
SEND = """
import tasks
sent = [tasks.work.delay(number) for number in range(40)]
print(len({each.get(timeout=60) for each in sent}))
"""


def totals(directory, selector, fn="last"):
    with StoresReader(directory) as reader:
        found = [data for data in reader.query(selector, "all", fn=fn, tier=0, open=True) if len(data)]
    return [float(data.values.sum() if fn == "count" else data.values[-1]) for data in found]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@pytest.mark.skipif(not needs["gunicorn"], reason="needs the package gunicorn")
def test_what_gunicorns_workers_record_is_what_was_asked(tmp_path, monkeypatch):
    """Loaded before the fork, workers retired after some twenty requests: exact, over all of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.py").write_text(WEB)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--max-requests", "20"]
    server = subprocess.Popen(
        [*command, "--max-requests-jitter", "5", "--bind", "unix:sock", "web:app"],
        env=os.environ | {"RONDO_DIR": str(tmp_path / "stores")},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    try:
        for line in server.stderr:
            said.append(line)
            if "Listening at" in line:
                break
        for _ in range(150):
            connection = UnixConnection("sock")
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        server.terminate()
        said += server.communicate(timeout=60)[1].splitlines(keepends=True)
    assert server.returncode == 0, "".join(said)
    counts = totals(tmp_path / "stores", "http_requests_total")
    assert sum(counts) == 150
    assert len([count for count in counts if count]) > 4
    assert sum(totals(tmp_path / "stores", "http_request_duration_seconds", "count")) == 150
    with StoresReader(tmp_path / "stores") as reader:
        assert any(len(data) for data in reader.query("process_threads"))


@pytest.mark.skipif(not needs["celery"], reason="needs the package celery")
def test_what_celerys_processes_record_is_what_was_asked(tmp_path, monkeypatch):
    """A pool of prefork, its processes retired after five tasks: exact, over all of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.py").write_text(TASKS)
    for name in ("queue", "control", "results"):
        Path(name).mkdir()
    environment = os.environ | {"RONDO_DIR": str(tmp_path / "stores")}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(
            [*command, "--max-tasks-per-child", "5", "--without-mingle", "--without-gossip"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            sent = subprocess.run(
                [sys.executable, "-c", SEND],
                env=environment | {"RONDO_DIR": str(tmp_path / "sender")},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(60)
            except (
                subprocess.TimeoutExpired
            ):  # its pool can wait for ever for a lock that a process of it had at its end
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
    assert sent.returncode == 0, sent.stderr + Path("log").read_text()
    assert int(sent.stdout) > 2
    assert sum(totals(tmp_path / "stores", "tasks_total")) == sum(range(40))
