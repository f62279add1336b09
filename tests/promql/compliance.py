"""Ask `rondo serve` and a real Prometheus the public compliance suite: `compliance.py SUITE [SECONDS]` prints what differs.

SUITE is the folder `promql` of a checkout of github.com/prometheus/compliance: its queries, and what is put into them,
are read there. The series have the names and labels of the demo service that the suite asks for and are
made here, two hours of them unless it is said: a store for each instance, sent to the Prometheus by `rondo export`.
"""

import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import yaml
from compared import Prometheus, difference, shown

from rondo_core import ManualClock, Schema, Store, Tier

# A range holds its left edge in Prometheus 2 and not in 3. Samples of this distance lie on none within hours: on no multiple
# of ten seconds, where subqueries step, and on none of the instants that are asked for.
START_S, EVERY_MS = 1_700_000_003, 4999
INSTANCES = [f"demo.promlabs.com:{port}" for port in (10000, 10001, 10002)]
ROUTES = [
    ("GET", "/api/foo"),
    ("GET", "/api/bar"),
    ("POST", "/api/foo"),
    ("POST", "/api/bar"),
    ("GET", "/api/nonexistent"),
]
BOUNDS = [f"{1e-4 * 1.5**power:.6g}" for power in range(25)]
OUT_OF_ORDER = "storage: {tsdb: {out_of_order_time_window: 1d}}\n"  # one store is sent after the other
RONDO = [sys.executable, "-m", "rondo_cli"]


def questions(suite):
    """Give (query, whether it must be refused) of each query of the suite and each variant of it."""
    named = re.findall(r'"(\w+)":\s*\{([^}]*)\}', (suite / "testcases/expand.go").read_text())
    variants = {name: re.findall(r'"([^"]*)"', body) for name, body in named}
    found = []
    for case in yaml.safe_load((suite / "promql-test-queries.yml").read_text())["test_cases"]:
        names = case.get("variant_args", [])
        for chosen in product(*(variants[name] for name in names)):
            query = str(case["query"])
            for name, text in zip(names, chosen, strict=True):
                query = query.replace(f"{{{{.{name}}}}}", text)
            found.append((query, case.get("should_fail", False)))
    return found


def record(directory, seconds):
    """Record what instances of the demo service would have been scraped for, every five seconds: a store of each."""
    for index, instance in enumerate(INSTANCES):
        clock = ManualClock(START_S * 10**9)
        tiers = (Tier(f"{EVERY_MS}ms", f"{(seconds * 1000 // EVERY_MS + 1) * EVERY_MS}ms"),)
        schemas = [Schema("totals", "counter", 400, tiers), Schema("levels", "gauge", 32, tiers)]
        with Store(directory / instance, schemas, clock=clock) as store:
            sample = service(store, random.Random(index))
            for at_ms in range(0, seconds * 1000, EVERY_MS):
                sample(at_ms / 1000)
                store.tick()
                clock.advance(EVERY_MS / 1000)


def service(store, chance):
    """Declare the series of one instance, and give what samples them at a second of its life."""

    def gauge(name, **labels):
        return store.gauge(f"demo_{name}", job="demo", **labels)

    def counter(name, **labels):
        return store.counter(f"demo_{name}", job="demo", **labels)

    memory = {kind: gauge("memory_usage_bytes", type=kind) for kind in ("used", "cached", "buffers", "free")}
    cpus, disk, size = gauge("num_cpus"), gauge("disk_usage_bytes"), gauge("disk_total_bytes")
    holiday, intermittent = gauge("is_holiday"), gauge("intermittent_metric")
    run, success = gauge("batch_last_run_timestamp_seconds"), gauge("batch_last_success_timestamp_seconds")
    cpu = {mode: counter("cpu_usage_seconds_total", mode=mode) for mode in ("idle", "system", "user")}
    shipped = counter("items_shipped_total")
    requests = []
    for method, path in ROUTES:
        for status in ("404",) if path.endswith("nonexistent") else ("200", "500"):
            labels = {"method": method, "path": path, "status": status}
            name = "api_request_duration_seconds"
            buckets = [counter(f"{name}_bucket", le=le, **labels) for le in [*BOUNDS, "+Inf"]]
            requests.append((buckets, counter(f"{name}_sum", **labels), counter(f"{name}_count", **labels)))
    used = 1e9 * chance.uniform(0.5, 2)

    def sample(second):
        swing = math.sin(second / 600)
        for kind, handle in memory.items():
            handle.set(8e9 * (0.25 + 0.05 * swing * (kind == "used")) + chance.gauss(0, 1e7))
        cpus.set(4)
        disk.set(used + 3e4 * second + chance.uniform(0, 1e6))
        size.set(1e11)
        holiday.set(0)
        if second // 540 % 2:  # there for nine minutes, and not for nine
            intermittent.set(chance.random())
        minute_s = START_S + second - second % 60
        run.set(minute_s)
        if second % 120 < 60:  # each other run fails
            success.set(minute_s)
        for mode, handle in cpu.items():
            handle.inc({"idle": 2.4, "system": 0.6, "user": 1.0}[mode] * 5 * chance.uniform(0.8, 1.2))
        shipped.inc(chance.randrange(40))
        for buckets, total, count in requests:
            for _ in range(chance.randrange(4)):
                took = chance.lognormvariate(-5 + swing, 1.2)
                for bound, bucket in zip(BOUNDS, buckets, strict=False):
                    if took <= float(bound):
                        bucket.inc()
                buckets[-1].inc()
                total.inc(took)
                count.inc()

    return sample


class Served:
    """`rondo serve` over a directory, asked as a Prometheus is."""

    ask = Prometheus.ask

    def __init__(self, directory):
        words = [*RONDO, "serve", str(directory), "--port", "0", "--store-label", "instance"]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        said = self.process.stderr.readline()
        self.url = re.search(r"http://\S+[^/\s]", said)[0]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


@contextmanager
def both(seconds):
    """Give a `rondo serve` and a Prometheus that have the same samples."""
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        directory = Path(root) / "demo"
        record(directory, seconds)
        theirs = stack.enter_context(Prometheus(OUT_OF_ORDER))
        export = [*RONDO, "export", str(directory), "--to", "prometheus", "--url", f"{theirs.url}/api/v1/write"]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield stack.enter_context(Served(directory)), theirs


def compare(ours, theirs, asked, times):
    """Yield for each question its text, whether it must be refused, what Prometheus says, and what differs or None.

    Values are compared to nine digits, where the suite takes five.
    """
    for query, refused in asked:
        wanted = theirs.ask(query, *times)
        if isinstance(wanted, str) != refused:
            said = f"Prometheus itself: {shown(wanted)}, where {'a refusal' if refused else 'an answer'} is asked for"
        else:
            said = difference(wanted, ours.ask(query, *times))
        yield query, refused, wanted, said


def main(arguments):
    """Print what differs and how many are equal; the exit status is 1 where anything does."""
    suite, *rest = arguments or [""]
    if not suite or shutil.which("prometheus") is None:
        why = (
            "no Prometheus server" if suite else "SUITE= names the folder promql of a checkout of prometheus/compliance"
        )
        print(f"compliance: skipped; {why}")
        return 0
    try:
        asked = questions(Path(suite))
    except OSError as error:
        print(f"compliance: {error.filename}: {error.strerror}; give the folder promql of a checkout", file=sys.stderr)
        return 2
    seconds = int(rest[0]) if rest else 7200
    # The suite's own times: ten minutes, which ended twelve ago, every ten seconds; a window of a second has a sample.
    end_s = ((START_S + seconds - 12 * 60) * 1000 // EVERY_MS * EVERY_MS + 500) / 1000
    n_right, n_empty = {False: 0, True: 0}, 0
    with both(seconds) as servers:
        for query, refused, wanted, said in compare(*servers, asked, (end_s - 600, end_s, 10)):
            n_right[refused] += said is None
            n_empty += wanted[1] == []
            if said:
                print(f"{query}\n    {said}")
    n_refused = sum(refused for _, refused in asked)
    print(f"equal: {n_right[False]} of {len(asked) - n_refused}, {n_empty} of them without a series")
    print(f"refused: {n_right[True]} of {n_refused}")
    return sum(n_right.values()) != len(asked)


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(__file__).parents[2] / '.tools/usr/bin'}:{os.environ['PATH']}"
    sys.exit(main(sys.argv[1:]))
