"""Real receivers, started for the tests and ended by their pid."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

READY_WITHIN_S = 60


class Server:
    """A receiver on the loopback interface, which its test starts, stops and ends by its pid."""

    program, ready_path = "", ""

    def __init__(self, directory):
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.write_url = f"{self.url}/api/v1/write"
        self.start()

    def arguments(self):
        raise NotImplementedError

    def start(self):
        self._log = (self._directory / "server.log").open("ab")
        self._process = subprocess.Popen(
            [shutil.which(self.program), *self.arguments()], stdout=self._log, stderr=self._log, cwd=self._directory
        )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self):
        until = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.url + self.ready_path, timeout=5):
                    return
            except OSError:  # refused, or 503 while it replays its log
                time.sleep(0.05)
        raise RuntimeError(f"{self.program} did not become ready:\n{self.log()[-4000:]}")

    def log(self):
        return (self._directory / "server.log").read_text(errors="replace")

    def stop(self, sign=signal.SIGTERM):
        """End the server by its pid; what it stored stays."""
        if self._process.poll() is None:
            os.kill(self._process.pid, sign)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        self._log.close()


class Prometheus(Server):
    """Prometheus, as a receiver of remote-write."""

    program, ready_path = "prometheus", "/-/ready"

    config = "global: {}\n"

    def configure(self, text):
        """Start the server again with another configuration."""
        self.stop()
        self.config = text
        self.start()

    def arguments(self):
        config = self._directory / "prometheus.yml"
        config.write_text(self.config)
        return (
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
        )

    def query(self, expression, at_s):
        """Ask for an instant query's result, as the API gives it."""
        asked = urllib.parse.urlencode({"query": expression, "time": f"{at_s:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def raw(self, selector, end_s, window):
        """Give every stored sample of a window that ends at `end_s`: {labels: [(ms, value), ...]}; no stale markers."""
        return {
            frozenset(each["metric"].items()): [(round(at_s * 1000), float(value)) for at_s, value in each["values"]]
            for each in self.query(f"{selector}[{window}]", end_s)
        }

    def instant(self, selector, at_s):
        """Give what an instant query sees: {labels: value}."""
        return {frozenset(each["metric"].items()): float(each["value"][1]) for each in self.query(selector, at_s)}

    def points(self, end_s, window):
        """Give every stored point of a window: {labels: [(ms, value), ...]}."""
        return self.raw('{__name__=~".+"}', end_s, window)


class VictoriaMetrics(Server):
    """VictoriaMetrics, single-node."""

    program, ready_path = "victoria-metrics", "/health"

    def arguments(self):
        return (
            f"-storageDataPath={self._directory / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=1",
        )

    def points(self, end_s, window):
        """Give every stored point, a resent one as often as it came: {labels: [(ms, value), ...]}; no stale markers."""
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30):
            pass
        asked = urllib.parse.urlencode({"match[]": '{__name__=~".+"}', "end": f"{end_s:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{asked}", timeout=30) as response:
            lines = [json.loads(line) for line in response]
        found = {}
        for line in lines:
            points = [(ms, v) for ms, v in zip(line["timestamps"], line["values"], strict=True) if v is not None]
            found.setdefault(frozenset(line["metric"].items()), []).extend(points)
        return found


def run(server, directory):
    directory.mkdir()
    started = server(directory)
    yield started
    started.stop()


@pytest.fixture
def prometheus(tmp_path):
    yield from run(Prometheus, tmp_path / "prometheus")


@pytest.fixture
def victoria_metrics(tmp_path):
    yield from run(VictoriaMetrics, tmp_path / "victoria_metrics")


@pytest.fixture
def faulty_proxy():
    """Put a proxy that fails as it is told to in front of a server; see faulty_proxy.py."""
    specification = importlib.util.spec_from_file_location("faulty_proxy", Path(__file__).with_name("faulty_proxy.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    running = []

    def start(*args, **options):
        running.append(module.FaultyProxy(*args, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()
