"""Processes that a benchmark starts, real servers among them: each is ended by its pid, none outlives the benchmark."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

READY_WITHIN_S = 60.0
END_WITHIN_S = 20.0
TOOLS = Path(__file__).parents[1] / ".tools/usr/bin"
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)
_prctl = ctypes.CDLL(None).prctl


@contextmanager
def child(command: Sequence[str | Path], sign: int = signal.SIGTERM, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program while this lasts; `sign` ends it, here or when this process dies, however it does."""
    parent = os.getpid()

    def end_with_parent() -> None:
        _prctl(_PR_SET_PDEATHSIG, sign)
        if os.getppid() != parent:
            os._exit(1)

    process = subprocess.Popen(command, preexec_fn=end_with_parent, **options)  # noqa: PLW1509 - one thread here
    try:
        yield process
    finally:
        end([process], sign)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def end(processes: Sequence[subprocess.Popen[Any]], sign: int = signal.SIGTERM) -> int:
    """End processes by their pids, and kill those that do not; give how many had to be killed."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(sign)
    until, killed = time.monotonic() + END_WITHIN_S, 0
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    return killed


def program(name: str, package: str) -> str:
    """Find a program, in .tools too. Ends this process with a line that says how to get it."""
    found = shutil.which(name, path=f"{TOOLS}:{os.environ['PATH']}")
    if found is None:
        sys.exit(f"{name}: not found; sh scripts/deb.sh .tools {package} /usr/bin/{name}")
    return found


def free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that are free now, no two the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def node_exporters(count: int) -> Iterator[tuple[list[subprocess.Popen[Any]], list[int]]]:
    """Run as many node_exporters, each as its package starts it; give them and their ports when all answer."""
    exporter = program("prometheus-node-exporter", "prometheus-node-exporter")
    ports = free_ports(count)
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                child(
                    [exporter, f"--web.listen-address=127.0.0.1:{port}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            for port in ports
        ]
        for port, process in zip(ports, running, strict=True):
            wait_ready(f"http://127.0.0.1:{port}/", process)
        try:
            yield running, ports
        finally:
            end(running)  # all at once, not one after the other


class Prometheus:
    """A real Prometheus on the loopback interface."""

    def __init__(self, process: subprocess.Popen[Any], url: str) -> None:
        """Hold a server that is ready."""
        self.process, self.url = process, url

    def query(self, expression: str, at_s: float) -> list[dict[str, Any]]:
        """Ask an instant query; give the result as the API does."""
        asked = urllib.parse.urlencode({"query": expression, "time": f"{at_s:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=30) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return found


@contextmanager
def prometheus(directory: Path, jobs: dict[str, tuple[float, dict[str, int]]]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes each job's targets.

    Args: `jobs`: name -> (interval in s, {instance -> port}).
    """
    server, (port,) = program("prometheus", "prometheus"), free_ports(1)
    scrapes = [
        {
            "job_name": name,
            "scrape_interval": f"{interval:g}s",
            "scrape_timeout": f"{min(interval, 10):g}s",
            "static_configs": [
                {"targets": [f"127.0.0.1:{target}"], "labels": {"instance": instance}}
                for instance, target in targets.items()
            ],
        }
        for name, (interval, targets) in jobs.items()
    ]
    config = directory / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": scrapes}))  # JSON is YAML
    command = [
        server,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        wait_ready(f"{url}/-/ready", process)
        yield Prometheus(process, url)


def wait_ready(url: str, process: subprocess.Popen[Any]) -> None:
    """Wait until a server answers. Raises: RuntimeError: it has ended, or takes too long."""

    def answers() -> bool:
        with urllib.request.urlopen(url, timeout=5):
            return True

    _until(answers, process)


def _until(answers: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if answers():
                return
        except OSError:  # refused, or 503 while it starts
            time.sleep(0.05)
    raise RuntimeError(f"{process.args}: did not become ready")
