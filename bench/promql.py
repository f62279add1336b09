"""PromQL over HTTP and in process, beside a real Prometheus that has the same samples, in turn: CPU time of a query.

A server's time is that of all threads of its process, between the question and the whole of its answer; what the client
takes to ask and to read is in neither. A Prometheus is started from PATH, and filled by remote-write.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from harness import Report, finish, in_turn, machine, options, process_ns, temporary_folder

import rondo_promql
from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export.runner import open_runner
from rondo_core.read import open_source
from rondo_web import listen
from rondo_web.sidecar import Sidecar

START_S, SECONDS = 1_700_000_000, 720
SPAN = {"start": START_S + 110, "end": START_S + 709, "step": 1}  # 600 steps, with a minute before them
DEAD = 500
# Name: expression, targets over HTTP and in process, as shares of the time that Prometheus takes over HTTP.
CASES = {
    "sum by (l) (rate), 100 series x 600 steps": ("sum by (l) (rate(c_total[1m]))", 0.7, 0.3),
    "histogram_quantile, 1,000 series x 600 steps": (
        "histogram_quantile(0.9, sum by (le) (rate(h_bucket[1m])))",
        0.7,
        None,
    ),
    "100 x 600 raw points": ("g", 1.5, None),
    "one series x 600 steps": ('g{i="7"}', 3.0, 0.3),
}


def main() -> int:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": 10, "help": "queries of a run"})
    if shutil.which("prometheus") is None:
        print("promql: no Prometheus here; make tools", file=sys.stderr)
        return 1
    with temporary_folder() as root, ExitStack() as stack:
        store = filled(root / "s")
        theirs = stack.enter_context(Prometheus(root))
        with StoreReader(store) as reader:
            config = {"plugin": "prometheus", "url": f"http://127.0.0.1:{theirs.port}/api/v1/write"}
            outcome = open_runner(reader, "prometheus", config, clock=time.time_ns).finish(0, 120)
            assert not outcome.error, outcome
        ours = stack.enter_context(Served(store))
        reader = stack.enter_context(StoreReader(store))
        source = reader.source()
        report = Report("promql", asked, machine(), (__doc__ or "").partition("\n")[0])
        timed: dict[str, Callable[[], float]] = {}
        for name, (expression, _, _) in CASES.items():
            assert ours.ask(expression) == theirs.ask(expression), name
            timed[f"{name}, over HTTP"] = partial(ours.cpu_ns, expression, asked.number)
            timed[f"{name}, Prometheus"] = partial(theirs.cpu_ns, expression, asked.number)
            timed[f"{name}, in process"] = partial(in_process_ns, source, expression, asked.number)
        found = in_turn(timed, asked.repeat)
        for name, (_, over_http, in_process) in CASES.items():
            peers = [each / 1e6 for each in found[f"{name}, Prometheus"]]
            for way, target in (("over HTTP", over_http), ("in process", in_process)):
                values = [each / 1e6 for each in found[f"{name}, {way}"]]
                report.case(f"{name}, {way}", values, "ms", "Prometheus, over HTTP", peers, target)
        cold, warm = over_the_dead(root / "dead", asked.repeat)
        for name, values, most_ms in (("first sum", cold, 1500.0), ("the same again", warm, 200.0)):
            report.case(
                f"{name} over {DEAD} dead stores", values, "ms", f"{most_ms:g} ms", [most_ms] * len(values), 1.0
            )
        for name, (expression, _, _) in CASES.items():
            peak, needed = memory_kib(reader.source(), expression)
            report.case(f"memory: {name}, in process", [peak], "KiB", "what is read and answered", [needed], 2.0)
    report.save()
    return 0


def filled(path: Path) -> Path:
    """Make a store of twelve minutes: 100 counters of 10 groups, 100 gauges, and 1,000 cumulative buckets."""
    clock = ManualClock(START_S * 10**9)
    tiers = (Tier("1s", "15m"),)
    schemas = [Schema("counters", "counter", 1200, tiers), Schema("gauges", "gauge", 120, tiers)]
    with Store(path, schemas, clock=clock) as store:
        counters = [store.counter("c_total", l=n % 10, i=n) for n in range(100)]
        bounds = [*(f"{2.0**n / 1024:g}" for n in range(19)), "+Inf"]
        buckets = [
            (store.counter("h_bucket", le=le, i=i), at + i % 3 + 1) for i in range(50) for at, le in enumerate(bounds)
        ]
        gauges = store.batch([store.gauge("g", i=n) for n in range(100)])
        for second in range(SECONDS):
            for index, counter in enumerate(counters):
                counter.inc(second % (index % 7 + 1) + 0.5)
            for bucket, step in buckets:
                bucket.inc(step)
            gauges.set([second * 0.37 % (index + 3) for index in range(100)])
            store.tick()
            clock.advance(1)
    return path


class Asked:
    """A server on the loopback interface that answers Prometheus's API."""

    def __init__(self, pid: int, port: int) -> None:
        """Keep one connection to it."""
        self.pid, self.port = pid, port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, expression: str) -> list[tuple[object, int]]:
        """Ask over the span, and give each series' labels and how many points it has."""
        import json

        told = json.loads(self._answer(urlencode({"query": expression, **SPAN})))
        series = told["data"]["result"]
        return sorted((sorted(each["metric"].items()), len(each["values"])) for each in series)

    def cpu_ns(self, expression: str, number: int) -> float:
        """Ask so often, and give the server's CPU time of one question."""
        form = urlencode({"query": expression, **SPAN})
        self._connection.close()  # it may have waited for longer than a server does, and is opened anew
        before = cpu_ns_of(self.pid)
        for _ in range(number):
            self._answer(form)
        return (cpu_ns_of(self.pid) - before) / number

    def _answer(self, form: str) -> bytes:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/api/v1/query_range", form, kind)
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body[:300]
        return body


def cpu_ns_of(pid: int) -> int:
    """Sum what each thread of a process has run. Source: Documentation/scheduler/sched-stats.rst of Linux."""
    return sum(int((each / "schedstat").read_text().split()[0]) for each in Path(f"/proc/{pid}/task").iterdir())


class Served(Asked):
    """`rondo serve` over a store."""

    def __init__(self, store: Path) -> None:
        """Start it."""
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        self._sidecar = Sidecar(store, listening)
        super().__init__(self._sidecar._child.pid, port)

    def __enter__(self) -> Self:
        """Be served."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._sidecar.close()


class Prometheus(Asked):
    """A Prometheus that takes remote-write."""

    def __init__(self, root: Path) -> None:
        """Start it, and wait until it is ready."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (root / "prometheus.yml").write_text("global: {}\n")
        words = ["prometheus", f"--config.file={root / 'prometheus.yml'}", f"--storage.tsdb.path={root / 'data'}"]
        words += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=error"]
        self._process = subprocess.Popen(words)
        super().__init__(self._process.pid, port)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/-/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.__exit__()
        raise SystemExit("promql: the Prometheus did not become ready")

    def __enter__(self) -> Self:
        """Be ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it by its pid."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def in_process_ns(source: object, expression: str, number: int) -> float:
    """Evaluate so often in this process, and give the CPU time of one."""
    span = (SPAN["start"] * 1000, SPAN["end"] * 1000, SPAN["step"] * 1000)
    begun = process_ns()
    for _ in range(number):
        rondo_promql.evaluate(expression, source, *span).plain()
    return (process_ns() - begun) / number


def memory_kib(source: Any, expression: str) -> tuple[float, float]:
    """Evaluate, and give the most memory that it took at once, and what was read and answered, in KiB.

    Read and answered are values and their timestamps, which many series share.
    """
    read = [0]

    def size(series: Any) -> int:
        stamps = {id(each[1]): each[1].nbytes for each in series}
        return sum(stamps.values()) + sum(each[2].nbytes for each in series)

    class Counted:
        def select(self, *asked: Any) -> Any:
            found = source.select(*asked)
            read[0] += size(found)
            return found

    span = (SPAN["start"] * 1000, SPAN["end"] * 1000, SPAN["step"] * 1000)
    rondo_promql.evaluate(expression, Counted(), *span)
    read[0] = 0
    tracemalloc.start()
    result = rondo_promql.evaluate(expression, Counted(), *span)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024, (read[0] + size(result.series)) / 1024


def over_the_dead(directory: Path, repeat: int) -> tuple[list[float], list[float]]:
    """Sum over many stores whose writers have gone: ms of a source that has looked at none of them, and again."""
    clock = ManualClock(START_S * 10**9)
    for number in range(DEAD):
        with Store(
            directory / f"{number}.rondo", [Schema("c", "counter", 8, (Tier("1s", "2m"),))], clock=clock
        ) as store:
            counters = [store.counter("c_total", i=n) for n in range(4)]
            for _ in range(60):
                for counter in counters:
                    counter.inc()
                store.tick()
                clock.advance(1)
        clock.advance(-60)
    cold, warm = [], []
    for _ in range(repeat):
        with open_source(directory) as source:
            for found in (cold, warm):
                begun = process_ns()
                result = rondo_promql.evaluate_instant("sum(rate(c_total[30s]))", source, (START_S + 59) * 1000)
                found.append((process_ns() - begun) / 1e6)
                assert result.plain()[0][1] == DEAD * 4
    return cold, warm


if __name__ == "__main__":
    finish(main)
