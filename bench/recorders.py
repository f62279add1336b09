"""What each recorder costs a second: CPU time of a tick, of 1,000 each, read one after the other in this process.

Each recorder has a store of its own; what the store's own tick takes without a recorder is beside it, and not part of
it. A loop with 20 tasks and 8 threads are there to be recorded.
"""

import asyncio
import gc
import statistics
import sys
import threading

from harness import Report, finish, machine, now_ns, options, temporary_folder

from rondo_core import Schema, Store, watch_loop
from rondo_core.builtin import event_loop
from rondo_core.plugins.manager import open_recorders

NAMES = ("process", "python", "asyncio", "threads", "host", "cgroup")
SCHEMAS = [Schema("counters", "counter", 100), Schema("gauges", "gauge", 100), Schema("summaries", "summary", 16)]
TARGET_US = 200.0


def recorder_us(name, ticks):
    """Give the CPU time of one tick of the recorder, its records included, and how many series it has."""
    with temporary_folder() as folder, Store(folder / "s", SCHEMAS) as store:
        plugins = open_recorders({name: {}})
        if store.bind_recorders(plugins) != [name]:
            return None
        (tick,) = store._ticks
        store.tick()
        clock = store.clock
        gc.collect()
        spent = 0
        for _ in range(ticks):
            at_ns = clock()
            started = now_ns()
            tick(at_ns)
            spent += now_ns() - started
        if plugins.failures:
            raise RuntimeError(f"{name}: {plugins.failures}")
        series = sum(not each.name.startswith("rondo_") for each in store.view.series())
        return spent / ticks / 1000, series


def paced_us(seconds):
    """Give the CPU time of a tick of each recorder at one a second, when nothing of it is in the CPU's caches.

    The store's own tick comes first, and enters the second: whoever records first in it would pay for that.
    """
    found = {name: [] for name in ("the store", *NAMES)}
    with temporary_folder() as folder, Store(folder / "s", SCHEMAS) as store:
        for name in NAMES:
            store.bind_recorders(open_recorders({name: {}}))
        ticks = dict(zip(found, (store.tick, *store._ticks), strict=True))
        store._ticks.clear()
        waiting = threading.Event()
        for second in range(seconds + 1):
            at_ns = store.clock()
            for name, tick in ticks.items():
                started = now_ns()
                tick(at_ns)
                if second:
                    found[name].append((now_ns() - started) / 1000)
            waiting.wait(1.0)
    return found


def timers_us(number=1000):
    """Give what the timers of `asyncio` take of a loop in a second: four runs, measured as many one after the other."""
    with temporary_folder() as folder, Store(folder / "s", SCHEMAS) as store:
        store.bind_recorders(open_recorders({"asyncio": {}}))
        loop, left = asyncio.new_event_loop(), number
        watch_loop(loop)
        period, event_loop.PERIOD_NS = event_loop.PERIOD_NS, 0
        observe = event_loop._Loops.observe

        def counted(recorder, late_ns):
            nonlocal left
            left -= 1
            if not left:
                loop.stop()
            return observe(recorder, late_ns)

        event_loop._Loops.observe = counted
        try:
            loop.call_soon(store.tick)
            started = now_ns()
            loop.run_forever()
            return (now_ns() - started) / number * 4 / 1000
        finally:
            event_loop.PERIOD_NS, event_loop._Loops.observe = period, observe
            loop.close()


def collections_us(pairs):
    """Give what the recorder `python` adds to a collection of the youngest generation, in pairs with and without."""
    found = []
    for _ in range(pairs):
        plain = per_collection_us()
        with temporary_folder() as folder, Store(folder / "s", SCHEMAS) as store:
            store.bind_recorders(open_recorders({"python": {}}))
            found.append(per_collection_us() - plain)
    return found


def per_collection_us(number=2000):
    started = now_ns()
    for _ in range(number):
        gc.collect(0)
    return (now_ns() - started) / number / 1000


def busy_loop(ended):
    async def main():
        tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(20)]
        await asyncio.to_thread(ended.wait)
        for each in tasks:
            each.cancel()

    asyncio.run(main())


def main():
    """Measure them in turn, report the median, and say which is over 200 us."""
    asked = options(
        __doc__ or "",
        ticks={"type": int, "default": 1000, "help": "how many of each"},
        seconds={"type": int, "default": 20, "help": "how many at one a second"},
    )
    report = Report("recorders", asked, machine("rondo-tsdb"), __doc__ or "")
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait, name=f"worker-{number}") for number in range(8)]
    threads.append(threading.Thread(target=busy_loop, args=(ended,)))
    for each in threads:
        each.start()
    try:
        found = {name: [] for name in NAMES}
        for _ in range(asked.repeat):
            for name in NAMES:
                if measured := recorder_us(name, asked.ticks):
                    found[name].append(measured)
        over = [
            name
            for name, runs in found.items()
            if runs and report_one(report, f"{name}, {runs[-1][1]} series", [us for us, _ in runs])
        ]
        for name, each in paced_us(asked.seconds).items():
            over += [name] * (name in NAMES) * report_one(report, f"{name}, a tick a second", each)
        report.case("python, of each garbage collection", collections_us(asked.repeat), "us")
        report.case("asyncio, its timers in a loop", [timers_us() for _ in range(asked.repeat)], "us/s")
    finally:
        ended.set()
        for each in threads:
            each.join()
    report.save()
    if over:
        print(f"recorders: more than {TARGET_US:.0f} us a tick: {', '.join(over)}", file=sys.stderr)
    return int(bool(over))


def report_one(report, case, values):
    """Report the CPU time of ticks, and say whether the median is over the target."""
    report.case(case, values, "us")
    return statistics.median(values) > TARGET_US


if __name__ == "__main__":
    finish(main)
