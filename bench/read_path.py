"""Reading, folding and opening beside the floor (a numpy copy) and other stores, in turn: us of CPU time."""

from __future__ import annotations

import gc
import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgpack
import numpy as np
from harness import Report, finish, in_turn, machine, now_ns, options, per_call_ns, temporary_folder
from peers import readers

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.storage.journal import parse

START_NS = 1_700_000_100 * 10**9  # where a 5 min window begins
SECONDS = 600
COPY, COPY_100 = "floor: copy 600 of a column", "floor: copy 600 rows of 100"
# What the floors take on the machine for which the targets below were set; what counts is the ratio of both.
REFERENCE_US = {COPY: 0.5, COPY_100: 17.0}
TARGETS_US = (
    ("600 points, query prepared", COPY, 4.0),
    ("600 points, selector as text", COPY, 15.0),
    ("100 x 600 points", COPY_100, 60.0),
    ("fold 600 s x 30", COPY_100, 300.0),
    ("fold, nothing new", COPY, 20.0),
    ("open 30 series", COPY_100, 1000.0),
    ("open 10,000 series", COPY_100, 30_000.0),
)


def main() -> None:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": 2000, "help": "reads of a run"})
    with temporary_folder() as root:
        number = asked.number
        store, peers = filled(root / "s", 128), readers(root, 128, START_NS // 10**9, SECONDS)
        view, block = store.view, store.slabs["g"][0].block("last")
        one, hundred = view.series("g{n=5}"), view.series("g")[:100]
        prepared, many = view.prepare(one, tier=0), view.prepare(hundred, tier=0)
        folds = {n: store_to_fold(root / f"fold{n}", n) for n in (30, 1000)}
        opened = {n: closed_store(root / f"open{n}", n) for n in (30, 10_000)}
        timed: dict[str, Callable[[], float]] = {
            COPY: partial(per_call_ns, block[:, 5].copy, number),
            "600 points, query prepared": partial(per_call_ns, prepared.read, number),
            "600 points, as one series": partial(per_call_ns, lambda: prepared.read()[0], number),
            "600 points, selector as text": partial(per_call_ns, lambda: view.query("g{n=5}", tier=0), number),
            "600 points, all tiers": partial(per_call_ns, view.prepare(one).read, number // 4),
            COPY_100: partial(per_call_ns, block[:, :100].copy, number // 10),
            "100 x 600 points": partial(per_call_ns, many.read, number // 10),
            "fold 600 s x 30": partial(fold, *folds[30], 10),
            "fold 600 s x 1000": partial(fold, *folds[1000], 3),
            "fold, nothing new": partial(per_call_ns, lambda: folds[30][0].fold_closed(folds[30][1]), number // 10),
            "open 30 series": partial(open_store, opened[30], 10),
            "open 10,000 series": partial(open_store, opened[10_000], 1),
            "open 10,000 series to read": partial(open_reader, opened[10_000], 1),
        }
        for n in folds:
            timed[f"numpy: reduce 600 s x {n}"] = partial(per_call_ns, partial(reduce, np.ones((600, n))), 20)
        for n, path in opened.items():
            timed[f"mmap, msgpack: {n:,} series"] = partial(per_call_ns, partial(map_and_decode, path), 5)
        for name, (read_one, read_hundred) in peers.items():
            timed[f"{name}: 600 points"] = partial(per_call_ns, read_one, number // 10)
            timed[f"{name}: 100 x 600 points"] = partial(per_call_ns, read_hundred, 3)
        found = {case: [ns / 1000 for ns in each] for case, each in in_turn(timed, asked.repeat).items()}
        store.close()
    report = Report("read_path", asked, machine("rondo-tsdb", "numpy", "rrdtool", "whisper"), __doc__ or "")
    for floor, us in REFERENCE_US.items():
        report.case(floor, found[floor], "us", f"reference machine, {us:g} us", [us] * len(found[floor]))
    against = [(case, floor, us / REFERENCE_US[floor]) for case, floor, us in TARGETS_US]
    for name in peers:
        against += [("600 points, selector as text", f"{name}: 600 points", None)]
        against += [("100 x 600 points", f"{name}: 100 x 600 points", None)]
    for n in folds:
        against.append((f"fold 600 s x {n}", f"numpy: reduce 600 s x {n}", None))
    for n in opened:
        against.append((f"open {n:,} series", f"mmap, msgpack: {n:,} series", None))
    against.append(("open 10,000 series to read", "mmap, msgpack: 10,000 series", None))
    for case, peer, target in against:
        report.case(case, found[case], "us", peer, found[peer], target)
    report.save()


def filled(path: Path, n_series: int) -> Store:
    """Make a store whose finest tier is full."""
    clock = ManualClock(START_NS)
    store = Store(path, [Schema("g", "gauge", n_series)], clock=clock)
    batch = store.batch([store.gauge("g", n=n) for n in range(n_series)])
    for second in range(SECONDS + 100):
        batch.set([float(n + second) for n in range(n_series)])
        store.tick()
        clock.advance(1)
    return store


def reduce(block: np.ndarray) -> None:
    """Reduce samples to what a coarser tier keeps of them, with nothing looked at and nothing stored."""
    n_series = block.shape[1]
    for ratio in (10, 30):
        block = block.reshape(-1, ratio, n_series)
        block.min(axis=1), block.max(axis=1), block[:, 0].copy(), block[:, -1].copy()
        block = block.sum(axis=1)


def map_and_decode(path: Path) -> int:
    """Map the files of a store and decode its registry, and do no more: opening one cannot be quicker."""
    for file in path.glob("*.slab"):
        with file.open("rb") as opened:
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ).close()
    payloads = parse((path / "series").read_bytes())[0]
    return len([msgpack.unpackb(payload, use_list=False) for payload in payloads])


def store_to_fold(path: Path, n_series: int) -> tuple[object, int]:
    """Make a store with ten minutes that are folded; give its consolidation and the bucket that is open."""
    clock = ManualClock(START_NS)
    store = Store(path, [Schema("g", "gauge", n_series)], clock=clock)
    batch = store.batch([store.gauge("g", n=n) for n in range(n_series)])
    for second in range(SECONDS):
        batch.set([float(n + second) for n in range(n_series)])
        clock.advance(1)
    consolidation, end = store._consolidations["g"], store._writers["g"].bucket + 1
    consolidation.fold_closed(end)
    return consolidation, end


def fold(consolidation: object, end: int, number: int) -> float:
    """Fold ten minutes into both upper tiers again and again, ns; to take them back is not counted."""
    total = 0
    for _ in range(number):
        consolidation.rewind(end - SECONDS)  # type: ignore[attr-defined]
        start = now_ns()
        consolidation.fold_closed(end)  # type: ignore[attr-defined]
        total += now_ns() - start
    return total / number


def closed_store(path: Path, n_series: int) -> Path:
    """Make a store with as many series."""
    with Store(path, [Schema("g", "gauge", n_series, (Tier("1s", "30s"), Tier("10s", "1m")))]) as store:
        for n in range(n_series):
            store.gauge("metric", instance=f"host-{n}", job="node", cpu=n % 64)
    return path


def open_store(path: Path, number: int) -> float:
    """Open a store for writing, ns; closing it is not counted."""
    total = 0
    for _ in range(number):
        gc.collect()
        start = now_ns()
        store = Store(path)
        total += now_ns() - start
        store.close()
        del store  # here, not in the next one's time
    return total / number


def open_reader(path: Path, number: int) -> float:
    """Open a store for reading, ns."""
    total = 0
    for _ in range(number):
        gc.collect()
        start = now_ns()
        reader = StoreReader(path)
        total += now_ns() - start
        reader.close()
        del reader
    return total / number


if __name__ == "__main__":
    finish(main)
