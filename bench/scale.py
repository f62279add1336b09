"""From 30 to 100,000 series in one store: how each cost (CPU time) grows. Every size runs in a process of its own."""

from __future__ import annotations

import json
import mmap
import resource
import statistics
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable

from harness import Report, finish, machine, now_ns, options, temporary_folder

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier

SIZES = (30, 1000, 10_000, 100_000)


def main() -> None:
    """Run each size and print how it did; `--one N` is one of them, for a process of its own."""
    asked = options(__doc__ or "", one={"type": int, "default": 0, "help": "measure this many series here"})
    if asked.one:
        print(json.dumps(measure(asked.one, asked.repeat)))
        return
    report = Report("scale", asked, machine("rondo-tsdb", "numpy"), __doc__ or "")
    for size in SIZES:
        command = [sys.executable, __file__, "--one", str(size), "--repeat", str(asked.repeat)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for case, (value, unit) in found.items():
            report.case(f"{size:,} series: {case}", [value], unit)
    report.save()


def measure(n_series: int, repeat: int) -> dict[str, tuple[float, str]]:
    """Make, tick, fold, open and query a store of gauges with as many series."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = ManualClock(1_700_000_100 * 10**9)
    found: dict[str, tuple[float, str]] = {}
    with temporary_folder() as directory:
        path = directory / "s"
        store = Store(path, [Schema("g", "gauge", n_series, (Tier("1s", "30s"), Tier("10s", "1m")))], clock=clock)
        start = now_ns()
        gauges = [store.gauge("metric", shard=n % 316, item=n // 316, job="node") for n in range(n_series)]
        found["declare one"] = (now_ns() - start) / n_series / 1000, "us"
        batch, row = store.batch(gauges), array("d", range(n_series))
        batch.set(row)
        found["floor: copy as many values into a map"] = median(copy_into_map(row), 20 * repeat), "us"
        found["set all in one call"] = median(lambda: batch.set(row), 20 * repeat), "us"
        for _ in range(30):  # once around the ring: no page of it is touched for the first time after that
            one_second(store, clock, batch, row)
        seconds = [one_second(store, clock, batch, row) for _ in range(21)]
        found["enter a second, tick"] = statistics.median(seconds), "us"
        consolidation, end = store._consolidations["g"], store._writers["g"].bucket + 1
        folds = []
        for _ in range(repeat):
            consolidation.rewind(end - 20)
            start = now_ns()
            consolidation.fold_closed(end)
            folds.append((now_ns() - start) / 1000)
        found["fold 10 s into the next tier"] = statistics.median(folds) / 2, "us"
        store.close()
        store, spent = timed(lambda: Store(path, clock=clock))
        found["open"] = spent, "us"
        store.close()
        reader, spent = timed(lambda: StoreReader(path))
        found["open to read"] = spent, "us"
        with reader:
            texts = [f"metric{{shard={shard},item=0}}" for shard in range(7, 9 + repeat)]
            found["select one by two labels, first"] = timed(lambda: reader.series(texts[0]))[1], "us"
            found["select another"] = timed(lambda: reader.series(texts[1]))[1], "us"
            others = iter(texts[2:])
            found["select one by two labels, again"] = median(lambda: reader.series(next(others)), repeat), "us"
            found["query it"] = median(lambda: reader.query(texts[0], tier=0), repeat), "us"
        found["files"] = sum(file.stat().st_size for file in path.iterdir()) / 2**20, "MiB"
    found["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "MiB"
    return found


def copy_into_map(row: array[float]) -> Callable[[], object]:
    """Give what copies the values into a file's map and does no more: what the machine's memory takes for it."""
    with tempfile.TemporaryFile() as file:
        file.truncate(8 * len(row))
        cells, values = memoryview(mmap.mmap(file.fileno(), 0)).cast("d"), memoryview(row)

    def copy() -> None:
        cells[:] = values

    copy()
    return copy


def one_second(store: Store, clock: ManualClock, batch: object, row: array[float]) -> float:
    """Set all in the next second and tick, us."""
    clock.advance(1)
    start = now_ns()
    batch.set(row)  # type: ignore[attr-defined]
    store.tick()
    return (now_ns() - start) / 1000


def timed(call: Callable[[], object]) -> tuple[object, float]:
    """Call once; give the result and us."""
    start = now_ns()
    result = call()
    return result, (now_ns() - start) / 1000


def median(call: Callable[[], object], number: int) -> float:
    """Give the median of as many calls, us."""
    return statistics.median(timed(call)[1] for _ in range(number))


if __name__ == "__main__":
    finish(main)
