"""Start a Prometheus, let a VM push to it while it runs, ask it for what arrived, and end it."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rondo_cli.main import run
from rondo_core import StoreReader

READY_S = 60.0
QUERY = '{__name__=~"vcpu_exits_total|vmm_uptime_seconds",instance="demo"}'


def main() -> int:
    """Run it all; the exit status is 1 where a point of the store is not in the Prometheus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-remote-write.rondo"))
    parser.add_argument("--seconds", type=int, default=15)
    asked = parser.parse_args()
    if shutil.which("prometheus") is None:
        print("rondo: prometheus: not installed; make tools fetches it", file=sys.stderr)
        return 1
    if (asked.store / "meta").exists():
        shutil.rmtree(asked.store)
    with tempfile.TemporaryDirectory() as directory, prometheus(Path(directory)) as url:
        arguments = ["--store", str(asked.store), "--duration", str(asked.seconds)]
        arguments += ["--remote-write", f"{url}/api/v1/write", "--external-labels", "instance=demo"]
        print(f"$ rondo vmm {' '.join(arguments)}", flush=True)
        status = run(["vmm", *arguments])
        if status:
            return status
        arrived = points(url)
    with StoreReader(asked.store) as reader:
        stored = {
            str(sorted(data.series.labels)) + data.series.name: len(data)
            for data in reader.query('{__name__=~"vcpu_exits_total|vmm_uptime_seconds"}', tier=0, fn=None)
        }
    print(f"\nPrometheus at {url} was asked for {QUERY} and has, beside what the store has:\n")
    whole = True
    for key, count in sorted(stored.items()):
        whole &= arrived.get(key, 0) == count
        print(f"  {arrived.get(key, 0):6} of {count:6} points  {key}")
    said = "Every point arrived" if whole else "Points are missing"
    print(f"\n{said}; the store is {asked.store}/, Prometheus has ended.")
    return not whole


def points(url: str) -> dict[str, int]:
    """Ask for every raw sample: series -> how many that are values."""
    asked = urllib.parse.urlencode({"query": f"{QUERY}[1h]"})
    with urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=30) as response:  # noqa: S310 - our own server
        found = json.load(response)["data"]["result"]
    return {
        str(sorted((k, v) for k, v in each["metric"].items() if k not in {"__name__", "instance"}))
        + each["metric"]["__name__"]: sum(value != "NaN" for _, value in each["values"])
        for each in found
    }


@contextmanager
def prometheus(directory: Path) -> Iterator[str]:
    """Run a Prometheus that takes remote writes, on a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (directory / "prometheus.yml").write_text("{}\n")
    arguments = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    arguments += [f"--web.listen-address={address}", "--web.enable-remote-write-receiver", "--log.level=error"]
    with subprocess.Popen(["prometheus", *arguments]) as server:  # noqa: S603, S607 - what was looked for above
        try:
            _await_ready(f"http://{address}/-/ready", server)
            print(f"Prometheus, process {server.pid}, listens on {address}", flush=True)
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait()  # as `with` does not after a Ctrl-C: it writes into the directory until it has ended


def _await_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > until:
                sys.exit("rondo: prometheus did not start")
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
