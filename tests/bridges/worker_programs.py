"""Programs of several processes that the tests of prometheus_multiprocess start: `python worker_programs.py NAME DIR ...`.

Each forks its workers as a server does, and prints what it saw as one line of JSON.
"""

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

NAME, DIRECTORY = sys.argv[1], Path(sys.argv[2])
os.fsync = os.fdatasync = lambda _descriptor: None  # none of this need outlive the machine


def forked(work, *arguments):
    """Run a worker in a child; give its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(*arguments)
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid):
    _, status = os.waitpid(pid, 0)
    return status


def samples(registry):
    """What a scrape says: {name{labels}: value}, labels sorted."""
    found = {}
    for metric in registry.collect():
        for sample in metric.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            assert (sample.name, labels) not in found, "a sample twice"
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def size(directory):
    """The bytes that a directory's files have on the disk, and their apparent ones."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [sum(path.stat().st_blocks * 512 for path in files), sum(path.stat().st_size for path in files)]


def same(kind):
    """One life of three workers and their parent, by rondo or by prometheus_client itself."""
    if kind == "rondo":
        from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install, mark_process_dead

        install(DIRECTORY)
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(DIRECTORY)
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

    modes = ["all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"]
    gauges = {mode: Gauge(f"g_{mode}", f"By {mode}.", ["l"], multiprocess_mode=mode) for mode in modes}
    counter, summary = Counter("jobs", "Jobs.", ["kind"]), Summary("wait_seconds", "Wait.")
    plain = Counter("plain", "Plain.")
    Gauge("bare", "Never set.", multiprocess_mode="max")
    histogram = Histogram("took_seconds", "Took.", ["kind"], buckets=[0.1, 1.0])
    registry = CollectorRegistry()
    MultiProcessCollector(registry)

    def record(number):
        counter.labels("a").inc(number)
        counter.labels(f"only {number}").inc()
        plain.inc(0.5)
        summary.observe(number)
        for value in (0.05, 0.5 * number, 10):
            histogram.labels("a").observe(value)
        histogram.labels("b").observe(-number)
        for gauge in gauges.values():
            gauge.labels("x").set(10 * number)

    def work(number, told, said):
        record(number)
        os.write(said, b".")
        os.read(told, 1)

    pids, told = [], []
    for number in (1, 2, 3):
        (read, write), (answer, say) = os.pipe(), os.pipe()
        pids.append(forked(work, number, read, say))
        assert os.read(answer, 1)
        told.append(write)
        time.sleep(0.01)  # so that which value is the most recent is not up to the clock's grain
    record(4)
    names = {str(pid): f"worker {number}" for number, pid in enumerate(pids, start=1)} | {str(os.getpid()): "parent"}

    def seen():
        found = {}
        for name, value in samples(registry).items():
            who = re.sub(r"(?<=pid=)\d+", lambda pid: names[pid[0]], name)
            found[who] = round(value, 9)
        return found

    looks = [seen()]
    for pid, write in zip(pids[:2], told[:2], strict=True):
        os.write(write, b".")
        assert ended(pid) == 0
        mark_process_dead(pid)
    looks.append(seen())
    os.kill(pids[2], signal.SIGKILL)
    ended(pids[2])
    mark_process_dead(pids[2])
    looks.append(seen())
    print(json.dumps(looks))


def retire(n_workers):
    """Workers that retire one after the other, some of them killed, two at a time; a scrape after each."""
    from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install

    install(DIRECTORY, max_totals=64, max_gauges=16)
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    counter, histogram = Counter("jobs", "Jobs.", ["kind"]), Histogram("took_seconds", "Took.", buckets=[1])
    gauge, total = Gauge("size", "Size.", multiprocess_mode="all"), Gauge("sum", "Sum.", multiprocess_mode="sum")
    registry = CollectorRegistry()
    MultiProcessCollector(registry)

    def work(number, ready, told):
        counter.labels("a").inc(number)
        counter.labels("b").inc(0.25)
        histogram.observe(number % 3)
        gauge.set(number)
        total.set(1)
        os.write(ready, b".")
        os.read(told, 1)
        if number % 3 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if number % 3 == 1:
            sys.exit(0)  # as a server's worker ends: by what atexit has, too

    def worker(number, ready, told):
        try:
            work(number, ready, told)
        except SystemExit:
            import atexit

            atexit._run_exitfuncs()

    looks, sizes, alive = [], [], []

    def retire_one():
        pid, tell = alive.pop(0)
        os.write(tell, b".")
        ended(pid)

    for number in range(1, n_workers + 1):
        (read, write), (told, tell) = os.pipe(), os.pipe()
        alive.append((forked(worker, number, write, told), tell))
        assert os.read(read, 1)
        if len(alive) == 3:
            retire_one()
        looks.append(samples(registry))
        sizes.append(size(DIRECTORY))
    while alive:
        retire_one()
    looks.append(samples(registry))
    print(json.dumps({"looks": looks, "sizes": sizes, "stores": sorted(path.name for path in DIRECTORY.iterdir())}))


def killed_while_adding_up():
    """Whoever adds up is killed at every line of it in turn; the next one goes on. The totals are said at the end."""
    from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install, mark_process_dead
    from rondo_bridges.prometheus_multiprocess import ended as module

    install(DIRECTORY, max_totals=16, max_gauges=4)
    from prometheus_client import CollectorRegistry, Counter, Gauge

    counter, gauge = Counter("jobs", "Jobs."), Gauge("sum", "Sum.", multiprocess_mode="sum")

    def work(number):
        counter.inc(number)
        gauge.set(1)

    def fold(fatal):
        reached = set()

        def trace(frame, _event, _argument):
            if frame.f_code.co_filename != module.__file__:
                return None
            reached.add(frame.f_lineno)
            if len(reached) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        mark_process_dead(0, DIRECTORY)

    fatal, rounds, kills, sent, chance = 1, 0, 0, 0, random.Random(5)
    while True:
        rounds += 1
        sent += rounds
        ended(forked(work, rounds))
        status = ended(forked(fold, fatal))
        kills += status == signal.SIGKILL
        if status == 0:
            break
        if rounds % 4 == 0:  # and whoever follows, too
            ended(forked(fold, chance.randint(1, fatal)))
        fatal += 1
    registry = CollectorRegistry()
    MultiProcessCollector(registry, DIRECTORY)
    stores = sorted(path.name for path in DIRECTORY.iterdir())
    found = samples(registry)
    print(json.dumps({"found": found, "sent": sent, "rounds": rounds, "kills": kills, "stores": stores}))


if NAME == "same":
    same(sys.argv[3])
elif NAME == "retire":
    retire(int(sys.argv[3]))
else:
    killed_while_adding_up()
