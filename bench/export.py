"""How many samples leave per second of the sender's CPU, beside two other senders, and what a backlog costs in memory.

Every sender is a process of its own and has the same samples, kept as it likes them best, before its CPU time is read;
the receiver is another process, which only acknowledges. rondo's share is all it does: draining the store, encoding,
sending, saving the cursor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from children import child
from harness import Report, finish, machine, options, temporary_folder

SERIES, SECONDS, S = 100, 2000, 10**9
BACKLOG_SECONDS = 20_000
SENDERS = ("rondo 1.0", "rondo 2.0", "prometheus-remote-writer", "opentelemetry-sdk OTLP")


def make_store(path: Path, seconds: int) -> None:
    """Record a counter and a gauge in turn, each with three labels, every second."""
    from rondo_core import ManualClock, Schema, Store, Tier

    clock = ManualClock((int(time.time()) - seconds - 60) * S)
    tiers = (Tier("1s", f"{seconds + 60}s"),)
    schemas = [Schema("counters", "counter", SERIES, tiers), Schema("gauges", "gauge", SERIES, tiers)]
    with Store(path, schemas, clock=clock) as store:
        made = [
            (store.gauge if n % 2 else store.counter)(f"metric_{n}", host="vm1", zone="eu-1", device=f"disk{n}")
            for n in range(SERIES)
        ]
        for second in range(seconds):
            for n, handle in enumerate(made):
                if n % 2:
                    handle.set(second * 0.7 + n)
                else:
                    handle.inc(n)
            clock.advance(1)


def send_rondo(url: str, protocol: str, store: str) -> tuple[int, int, float, list[float]]:
    """Export a store; give samples, all that were sent, CPU seconds and resident MiB before and after."""
    from rondo_core import StoreReader
    from rondo_core.export.cursor import cursor_path
    from rondo_core.export.runner import open_runner

    for _ in range(2):  # the first is the warm-up that the others have too
        cursor_path(Path(store), "prometheus").unlink(missing_ok=True)
        with StoreReader(Path(store)) as reader:
            runner = open_runner(reader, "prometheus", {"url": url, "protocol": protocol})
            Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is this export's
            idle, began = resident_mib(), time.process_time()
            outcome = runner.finish(1, 600)
            spent = time.process_time() - began
            most = resident_mib()
        assert not outcome.error, outcome
    return outcome.samples, 2 * outcome.samples, spent, [*idle, *most]


def send_remote_writer(url: str) -> tuple[int, int, float, list[float]]:
    """Send the same samples as prometheus-remote-writer takes them, in requests of as many samples as rondo's."""
    from prometheus_remote_writer import RemoteWriter

    rows = 10_000 // SERIES
    base_ms = (int(time.time()) - SECONDS) * 1000
    items = [
        [
            {
                "metric": {"__name__": f"metric_{n}", "device": f"disk{n}", "host": "vm1", "zone": "eu-1"},
                "values": [second * 0.7 + n for second in range(first, first + rows)],
                "timestamps": [base_ms + second * 1000 for second in range(first, first + rows)],
            }
            for n in range(SERIES)
        ]
        for first in range(0, SECONDS, rows)
    ]
    writer = RemoteWriter(url=url)
    writer.send(items[0])
    began = time.process_time()
    for item in items:
        writer.send(item)
    return SERIES * SECONDS, SERIES * (SECONDS + rows), time.process_time() - began, []


def send_otlp(url: str) -> tuple[int, int, float, list[float]]:
    """Export the same samples as opentelemetry-sdk's metrics data, in requests of as many points as rondo's."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    rows, base_ns = 10_000 // SERIES, (int(time.time()) - SECONDS) * S
    cumulative = sdk.AggregationTemporality.CUMULATIVE

    def data(first: int) -> sdk.MetricsData:
        metrics = []
        for n in range(SERIES):
            attributes = {"device": f"disk{n}", "host": "vm1", "zone": "eu-1"}
            points = [
                sdk.NumberDataPoint(attributes, base_ns, base_ns + second * S, second * 0.7 + n)
                for second in range(first, first + rows)
            ]
            whole = sdk.Gauge(points) if n % 2 else sdk.Sum(points, cumulative, is_monotonic=True)
            metrics.append(sdk.Metric(f"metric_{n}", "", "", whole))
        scope = sdk.ScopeMetrics(InstrumentationScope("bench"), metrics, "")
        return sdk.MetricsData([sdk.ResourceMetrics(Resource({}), [scope], "")])

    batches = [data(first) for first in range(0, SECONDS, rows)]
    exporter = OTLPMetricExporter(endpoint=url)
    exporter.export(batches[0])
    began = time.process_time()
    for batch in batches:
        assert exporter.export(batch) is sdk.MetricExportResult.SUCCESS
    return SERIES * SECONDS, SERIES * (SECONDS + rows), time.process_time() - began, []


def resident_mib() -> tuple[float, float]:
    """Read this process's own memory, and the most that it and the files it has mapped have taken, in MiB."""
    facts = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    own, most = (int(facts[name].split()[0]) / 1024 for name in ("RssAnon", "VmHWM"))
    return own, most


def send(sender: str, url: str, store: str) -> None:
    """Be one sender: print what it measured of itself."""
    if sender.startswith("rondo"):
        found = send_rondo(url + ("/2" if sender.endswith("2.0") else "/1"), sender[-3:], store)
    else:
        found = (send_otlp if "OTLP" in sender else send_remote_writer)(url + "/1")
    print(json.dumps(found))


def measure(sender: str, url: str, store: Path) -> tuple[float, float, float, list[float]]:
    """Run one sender: samples per CPU second, bytes per sample, CPU seconds per million samples, MiB."""
    before = taken(url)
    command = [sys.executable, __file__, "--child", sender, url, str(store)]
    with child(command, stdout=subprocess.PIPE, text=True) as sending:
        said, _ = sending.communicate()
    if sending.returncode:
        raise RuntimeError(f"{sender}: ended with status {sending.returncode}")
    samples, sent, cpu_s, memory = json.loads(said.splitlines()[-1])
    return samples / cpu_s, (taken(url) - before) / sent, cpu_s / samples * 1e6, memory


def taken(url: str) -> int:
    """Ask the receiver for the bytes that it has read."""
    with urllib.request.urlopen(url + "/bytes") as response:
        return int(response.read())


def main() -> None:
    """Measure every sender in turn, then what a backlog ten times as large costs in memory."""
    asked = options(__doc__ or "")
    with (
        temporary_folder() as directory,
        child(
            [sys.executable, Path(__file__).with_name("acknowledge.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as receiver,
    ):
        url = f"http://127.0.0.1:{receiver.stdout.readline().strip()}"
        store, backlog = directory / "store.rondo", directory / "backlog.rondo"
        make_store(store, SECONDS)
        make_store(backlog, BACKLOG_SECONDS)
        found: dict[str, list[tuple[float, float, float, list[float]]]] = {sender: [] for sender in SENDERS}
        for _ in range(asked.repeat):
            for sender in SENDERS:
                found[sender].append(measure(sender, url, store))
        heading = machine("rondo-tsdb", "prometheus-remote-writer", "opentelemetry-sdk")
        report = Report("export", asked, heading, __doc__ or "")
        for sender in SENDERS:
            report.case(f"{sender}: rate", [each[0] for each in found[sender]], "samples/s")
            report.case(f"{sender}: size", [each[1] for each in found[sender]], "B/sample")
            cpu_s = {name: [each[2] for each in found[name]] for name in SENDERS}
            if sender in SENDERS[2:]:
                report.case(f"{sender}: CPU", cpu_s[sender], "s/million")
                continue
            for peer in SENDERS[2:]:
                report.case(f"{sender}: CPU", cpu_s[sender], "s/million", peer, cpu_s[peer], target=0.2)
        for case, path in (("backlog of 0.2 million", store), ("backlog of 2 million", backlog)):
            memory = [measure("rondo 1.0", url, path)[3] for _ in range(3)]
            own = [own - idle for idle, _, own, _ in memory]
            report.case(f"{case}: memory", own, "MiB")
            report.case(f"{case}: most at any moment", [most - idle for _, idle, _, most in memory], "MiB")
        report.save()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        send(*sys.argv[2:])
    else:
        finish(main)
