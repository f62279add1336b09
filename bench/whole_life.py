"""The whole life of a store: days of 30 series at 1 s, replayed at full speed in simulated time.

The disk's use must not change by a byte, memory and latency stay flat, and all tiers equal a recomputation with numpy.
Memory is read once an hour, with garbage collected and free memory given back to the kernel first: a leak shows in it,
and what the allocator happens to keep of what was freed does not. Pages of files are told by themselves: with each page
that is touched the kernel maps those around it that it has in its cache, more as the rings fill up, 64 KiB at a time.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Report, finish, machine, options, temporary_folder
from numpy.typing import NDArray

from rondo_core import ManualClock, Schema, Store

START_NS = 1_700_006_400 * 10**9  # midnight, where a bucket of every tier begins
N_COUNTERS, N_GAUGES, N_SUMMARIES = 10, 15, 5
DAY_S = 86_400
TIERS = (600, 6 * 3600, 7 * DAY_S)
INTERVALS = (1, 10, 300)
CHUNK_S = 3600
_LIBC = ctypes.CDLL(None)  # once: each opening keeps a little


def main() -> int:
    """Replay, watch, compare; the exit status says whether every line of the contract held."""
    asked = options(__doc__ or "", days={"type": float, "default": 7.0, "help": "simulated days"})
    seconds = int(asked.days * DAY_S)
    report = Report("whole_life", asked, machine("rondo-tsdb", "numpy"), __doc__ or "")
    with temporary_folder() as directory:
        failed = replay(directory / "life.rondo", seconds, report, quiet=asked.json)
    report.save()
    for line in failed:
        print(f"whole_life: {line}", file=sys.stderr)
    return int(bool(failed))


def replay(path: Path, seconds: int, report: Report, *, quiet: bool) -> list[str]:
    """Run one life; give what did not hold, in words."""
    clock = ManualClock(START_NS)
    schemas = [
        Schema("counters", "counter", N_COUNTERS),
        Schema("gauges", "gauge", N_GAUGES),
        Schema("summaries", "summary", N_SUMMARIES),
    ]
    store = Store(path, schemas, strict=True, clock=clock)
    counters = [store.counter("jobs_total", n=n) for n in range(N_COUNTERS)]
    batch = store.batch([store.gauge("level", n=n) for n in range(N_GAUGES)])
    summaries = [store.summary("duration", n=n) for n in range(N_SUMMARIES)]
    size = disk_bytes(path)
    # Memory and pages of files, KiB, tick us median and p99, query us; made, and written to, before it counts
    hours = np.full((-(-seconds // CHUNK_S), 5), np.nan)
    started = time.perf_counter()
    for first in range(0, seconds, CHUNK_S):
        ticks = array("d")
        last = min(first + CHUNK_S, seconds)
        steps, levels = steps_of(first, last), levels_of(first, last)
        for row, second in enumerate(range(first, last)):
            for counter, step in zip(counters, steps[row].tolist(), strict=True):
                counter.inc(step)
            if second % 7:  # one second in seven has no gauge: absent, not zero
                batch.set(array("d", levels[row].tolist()))
            for n, summary in enumerate(summaries):
                summary.observe(float(second % 13 + n))
                if second % 3 == 0:
                    summary.observe(0.5)
            ticks.append(timed_us(store.tick))
            clock.advance(1)
        queries = [timed_us(lambda: store.query("level{n=3}", "1h")) for _ in range(50)]
        latency = statistics.median(ticks), np.percentile(ticks, 99), np.median(queries)
        hours[first // CHUNK_S] = *resident_kib(), *latency
        if not quiet and sys.stderr.isatty():
            print(f"\r{last / DAY_S:6.2f} of {seconds / DAY_S:g} days", end="", file=sys.stderr)
    spent = time.perf_counter() - started
    failed = [] if disk_bytes(path) == size else [f"disk use went from {size} to {disk_bytes(path)} bytes"]
    points, wrong = compare(store, seconds)
    failed += wrong
    store.close()
    failed += judge(report, hours, seconds)
    report.case("simulated seconds per second", [seconds / spent], "x")
    report.case("disk use, first and last", [size / 1024], "KiB")
    report.case("points equal to numpy's", [points], "points")
    if disk_bytes(path) != size:
        failed.append("disk use changed at close")
    return failed


def judge(report: Report, hours: NDArray[np.float64], seconds: int) -> list[str]:
    """Report how memory and latency went, and say what was not flat; the first hours warm up."""
    own, files, tick, tick_p99, query = hours.T
    settled = slice(min(8, len(own) // 2), None)  # the upper tiers' pages are touched for the first time before
    days = np.arange(len(own))[settled] * CHUNK_S / DAY_S
    slope, of_files = (float(np.polyfit(days, each[settled], 1)[0]) if len(days) > 1 else 0.0 for each in (own, files))
    report.case("memory, slope a simulated day", [slope], "KiB")
    report.case("pages of files, slope a simulated day", [of_files], "KiB")
    report.case("memory and pages of files, at the end", [(own[-1] + files[-1]) / 1024], "MiB")
    failed = (
        [] if slope < 50 or seconds < DAY_S else [f"memory grows by {slope:.0f} KiB a simulated day; under 50 wanted"]
    )
    for name, values in (("tick, median", tick), ("tick, p99", tick_p99), ("query of 1 h", query)):
        third = max(1, len(values[settled]) // 3)
        early, late = np.median(values[settled][:third]), np.median(values[settled][-third:])
        report.case(f"{name}, first third", [float(early)], "us")
        report.case(f"{name}, last third", [float(late)], "us", "its first third", [float(early)])
        if late > 2 * early and not name.endswith("p99"):  # which is the machine's other work
            failed.append(f"{name}: {early:.0f} us in the first third, {late:.0f} us in the last")
    return failed


def steps_of(first: int, last: int) -> NDArray[np.float64]:
    """What each counter is raised by: [seconds, counters]."""
    seconds = np.arange(first, last)[:, None]
    return ((seconds * 7 + np.arange(N_COUNTERS) * 3) % 11).astype(float)


def levels_of(first: int, last: int) -> NDArray[np.float64]:
    """What each gauge is set to: [seconds, gauges]."""
    seconds = np.arange(first, last)[:, None]
    return ((seconds * 31 + np.arange(N_GAUGES) * 17) % 1009) / 8.0


def observed(first: int, last: int) -> tuple[NDArray[np.float64], ...]:
    """Each summary's count, sum, min and max in each second: [seconds, summaries]."""
    seconds = np.arange(first, last)[:, None]
    value = (seconds % 13 + np.arange(N_SUMMARIES)).astype(float)
    twice = np.broadcast_to(seconds % 3 == 0, value.shape)
    return (
        1.0 + twice,
        value + 0.5 * twice,
        np.where(twice, np.minimum(value, 0.5), value),
        np.where(twice, np.maximum(value, 0.5), value),
    )


def compare(store: Store, seconds: int) -> tuple[int, list[str]]:
    """Read every point of every tier and compare it with numpy's own; give how many, and what differs."""
    count, failed = 0, []
    for tier, (interval, kept) in enumerate(zip(INTERVALS, TIERS, strict=True)):
        newest = (seconds - 1) // interval * interval
        first = max(0, newest - kept + (0 if tier else interval))  # a coarse tier's open window is not written yet
        last = min(seconds, newest + interval)
        for selector, fn, expected in expectations(first, last, interval):
            found = store.query(selector, "all", tier=tier, fn=fn)
            for column, data in enumerate(found):
                closed = expected.shape[0] - (1 if tier else 0)
                starts = START_NS + (first + np.arange(expected.shape[0]) * interval) * 10**9
                there = ~np.isnan(expected[:, column])
                mine = dict(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True))
                want = dict(
                    zip(
                        starts[:closed][there[:closed]].tolist(),
                        expected[:closed][there[:closed], column].tolist(),
                        strict=True,
                    )
                )
                wrong = [
                    stamp for stamp, value in want.items() if not np.isclose(mine.get(stamp, np.nan), value, rtol=1e-12)
                ]
                count += len(want) - len(wrong)
                if wrong or set(mine) - set(starts[there].tolist()):
                    failed.append(f"tier {tier}: {len(wrong)} points of {data.series} ({fn}) differ from numpy's")
    return count, failed


def expectations(first: int, last: int, interval: int) -> list[tuple[str, str, NDArray[np.float64]]]:
    """What each query must give, [windows, series], NaN where nothing was recorded."""

    def folded(values: NDArray[np.float64], how: str) -> NDArray[np.float64]:
        rest = -len(values) % interval
        padded = np.vstack([values, np.full((rest, values.shape[1]), np.nan)]) if rest else values
        windows = padded.reshape(-1, interval, values.shape[1])
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # windows in which all is absent
            if how == "sum":
                return np.where(np.isnan(windows).all(axis=1), np.nan, np.nansum(windows, axis=1))
            return {"mean": np.nanmean, "min": np.nanmin, "max": np.nanmax}[how](windows, axis=1)

    totals = np.cumsum(steps_of(0, last), axis=0)[first:]
    levels = levels_of(first, last)
    levels[np.arange(first, last) % 7 == 0] = np.nan
    counts, sums, lows, highs = observed(first, last)
    return [
        ("jobs_total", "last", folded(totals, "max")),
        ("level", "avg", folded(levels, "mean")),
        ("level", "min", folded(levels, "min")),
        ("level", "max", folded(levels, "max")),
        ("duration", "count", folded(counts, "sum")),
        ("duration", "sum", folded(sums, "sum")),
        ("duration", "min", folded(lows, "min")),
        ("duration", "max", folded(highs, "max")),
    ]


def timed_us(call: Callable[[], object]) -> float:
    """Call once; give how long it took, us."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e6


def disk_bytes(path: Path) -> int:
    """Count what the files of the store take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in path.iterdir())


def resident_kib() -> tuple[float, float]:
    """Resident memory that is in use, the process's own and of files, KiB."""
    gc.collect()
    _LIBC.malloc_trim(0)
    _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
    page_kib = resource.getpagesize() / 1024
    return (resident - of_files) * page_kib, of_files * page_kib


if __name__ == "__main__":
    finish(main)
