"""Real receivers on the loopback interface, each started here and ended by its pid, and every point that they have.

What cannot be started here is named with the package that it comes from.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from children import TOOLS, child, free_ports, program, wait_ready

Key = frozenset[tuple[str, str]]
Points = dict[Key, tuple[list[int], list[float]]]


class Receiver:
    """A server that is ready. Attributes: `url`, of its root; `exporter`, the table of an exporter that sends to it."""

    name = package = program = ready_path = ""

    def __init__(self, folder: Path) -> None:
        """Choose a port."""
        self.folder, (self.port,) = folder, free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.pid = 0

    def command(self) -> list[str | Path]:
        """Give what starts it."""
        raise NotImplementedError

    @property
    def exporter(self) -> dict[str, Any]:
        """Give the table of an exporter that sends to it."""
        return {"plugin": "prometheus", "url": f"{self.url}/api/v1/write", "protocol": "1.0"}

    def points(self, end_s: int, window_s: int) -> Points:
        """Give every point of a window, of each series: ms and values."""
        raise NotImplementedError

    def stored_bytes(self) -> int:
        """Give what it takes of the disk, holes of its files left out."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())

    def get(self, path: str, **asked: object) -> bytes:
        """Ask it; give the body."""
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(asked)}", timeout=600) as response:
            body: bytes = response.read()
            return body


class VictoriaMetrics(Receiver):
    """VictoriaMetrics, single-node, with its retention of a month."""

    name, package, program, ready_path = "VictoriaMetrics", "victoria-metrics", "victoria-metrics", "/health"

    def command(self) -> list[str | Path]:
        """Give what starts it."""
        listen = f"-httpListenAddr=127.0.0.1:{self.port}"
        unlimited = ["-search.maxUniqueTimeseries=10000000", "-search.maxQueryDuration=10m"]
        return [program(self.program, self.package), f"-storageDataPath={self.folder / 'data'}", listen, *unlimited]

    def points(self, end_s: int, window_s: int) -> Points:
        """Give every point, one that came twice as often as it came; markers of staleness are none."""
        self.get("/internal/force_flush")
        asked = {"match[]": '{__name__=~".+"}', "start": end_s - window_s, "end": end_s}
        found: Points = {}
        for line in self.get("/api/v1/export", **asked).splitlines():
            each = json.loads(line)
            stamps, values = found.setdefault(frozenset(each["metric"].items()), ([], []))
            for ms, value in zip(each["timestamps"], each["values"], strict=True):
                if value is not None:
                    stamps.append(ms)
                    values.append(value)
        return found

    def stored_bytes(self) -> int:
        """Give what it takes of the disk once its parts are merged."""
        self.get("/internal/force_flush")
        self.get("/internal/force_merge")
        return super().stored_bytes()


class Prometheus(Receiver):
    """Prometheus. Attributes: `window`, of samples out of order, as its configuration has it; empty: none."""

    name, package, program, ready_path = "Prometheus", "prometheus", "prometheus", "/-/ready"

    def __init__(self, folder: Path, window: str = "25h") -> None:
        """Take samples that are as late as `window`."""
        super().__init__(folder)
        self.window = window

    def command(self) -> list[str | Path]:
        """Give what starts it."""
        config = self.folder / "prometheus.yml"
        late = {"storage": {"tsdb": {"out_of_order_time_window": self.window}}} if self.window else {}
        config.write_text(json.dumps({"global": {}, **late}))  # JSON is YAML
        return [
            program(self.program, self.package),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--query.max-samples=200000000",
        ]

    def points(self, end_s: int, window_s: int) -> Points:
        """Give every point, a metric at a time."""
        found: Points = {}
        for name in json.loads(self.get("/api/v1/label/__name__/values"))["data"]:
            asked = {"query": f'{{__name__="{name}"}}[{window_s}s]', "time": end_s}
            for each in json.loads(self.get("/api/v1/query", **asked))["data"]["result"]:
                values = each["values"]
                stamps = [round(at_s * 1000) for at_s, _ in values]
                found[frozenset(each["metric"].items())] = stamps, [float(value) for _, value in values]
        return found


class InfluxDB(Receiver):
    """InfluxDB 1.x, which takes Prometheus's remote-write; a metric is a measurement, its labels are tags."""

    name, package, program, ready_path = "InfluxDB", "influxdb", "influxd", "/ping"

    def command(self) -> list[str | Path]:
        """Give what starts it."""
        (rpc,) = free_ports(1)
        config = self.folder / "influxdb.conf"
        config.write_text(
            f'bind-address = "127.0.0.1:{rpc}"\nreporting-disabled = true\n'
            f'[meta]\ndir = "{self.folder}/meta"\n[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\n'
            f'index-version = "tsi1"\nmax-values-per-tag = 0\nmax-series-per-database = 0\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        return [program(self.program, self.package), "-config", config]

    @property
    def exporter(self) -> dict[str, Any]:
        """Give the table of an exporter that sends to it, and make the database."""
        body = urllib.parse.urlencode({"q": "CREATE DATABASE lives"}).encode()
        with urllib.request.urlopen(f"{self.url}/query", body, timeout=60) as response:
            response.read()
        return {"plugin": "prometheus", "url": f"{self.url}/api/v1/prom/write?db=lives", "protocol": "1.0"}

    def points(self, end_s: int, window_s: int) -> Points:
        """Give every point, a measurement at a time."""
        found: Points = {}
        listed = json.loads(self.get("/query", db="lives", q="SHOW MEASUREMENTS"))
        for (name,) in listed["results"][0]["series"][0]["values"]:
            within = f"time > {end_s - window_s}s AND time <= {end_s}s"
            asked = f'SELECT value FROM "{name}" WHERE {within} GROUP BY *'
            answer = json.loads(self.get("/query", db="lives", epoch="ms", q=asked))
            for series in answer["results"][0].get("series", ()):
                key = frozenset({"__name__": name, **{k: v for k, v in series["tags"].items() if v}}.items())
                found[key] = [ms for ms, _ in series["values"]], [float(value) for _, value in series["values"]]
        return found


class OtlpReceiver(Receiver):
    """A receiver of OTLP over HTTP that reads by the protocol's own classes; no server of it is packaged."""

    name, package, ready_path = "OTLP", "opentelemetry-proto", "/"

    def command(self) -> list[str | Path]:
        """Give what starts it."""
        return [sys.executable, Path(__file__).with_name("otlp_receiver.py"), str(self.port)]

    @property
    def exporter(self) -> dict[str, Any]:
        """Give the table of an exporter that sends to it."""
        return {"plugin": "otlp", "endpoint": f"{self.url}/v1/metrics"}

    def points(self, end_s: int, window_s: int) -> Points:  # noqa: ARG002 - it keeps what came, and only that
        """Give every point that came, as often as it came."""
        found: Points = {}
        for labels, stamps, values in json.loads(self.get("/points")):
            found[frozenset(map(tuple, labels))] = stamps, values
        return found

    def stored_bytes(self) -> int:
        """It stores nothing."""
        return 0


def missing(kind: type[Receiver]) -> str:
    """Say what is not there to start a receiver with; empty: nothing is missing."""
    import importlib.util
    import shutil

    if kind is OtlpReceiver:
        return "" if importlib.util.find_spec("opentelemetry.proto") else "the package opentelemetry-proto"
    import os

    there = shutil.which(kind.program, path=f"{TOOLS}:{os.environ['PATH']}")
    return "" if there else f"the package {kind.package}"


@contextmanager
def running(receiver: Receiver) -> Iterator[Receiver]:
    """Run a receiver while this lasts, from when it is ready."""
    receiver.folder.mkdir(parents=True, exist_ok=True)
    with (
        (receiver.folder / "log").open("wb") as log,
        child(receiver.command(), stdout=log, stderr=log, cwd=receiver.folder) as process,
    ):
        wait_ready(receiver.url + receiver.ready_path, process)
        receiver.pid = process.pid
        yield receiver
