"""Real receivers, started for the tests and ended by their pid."""

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

import pytest

READY_WITHIN_S = 60


class Prometheus:
    """A server on the loopback interface that takes remote-write."""

    def __init__(self, directory):
        self._directory = directory
        self._config = directory / "prometheus.yml"
        self._config.write_text("global: {}\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.write_url = f"{self.url}/api/v1/write"
        self.start()

    def start(self):
        self._log = (self._directory / "prometheus.log").open("ab")
        self._process = subprocess.Popen(
            [
                shutil.which("prometheus"),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--web.enable-remote-write-receiver",
            ],
            stdout=self._log,
            stderr=self._log,
            cwd=self._directory,
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
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                    return
            except OSError:  # refused, or 503 while it replays its log
                time.sleep(0.05)
        raise RuntimeError(f"Prometheus did not become ready:\n{self.log()[-4000:]}")

    def configure(self, text):
        """Start the server again with another configuration."""
        self.stop()
        self._config.write_text(text)
        self.start()

    def log(self):
        return (self._directory / "prometheus.log").read_text(errors="replace")

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


@pytest.fixture
def prometheus(tmp_path):
    directory = tmp_path / "prometheus"
    directory.mkdir()
    server = Prometheus(directory)
    yield server
    server.stop()
