"""What recording takes of a process's memory: PSS beyond that of a bare Python, after a minute of 30 series.

Each program is a process of its own that reads its own /proc/self/smaps at the end: the same interpreter with nothing
imported, and one with a store of the default schemas that records 30 series ten times a second and ticks, with its
recorders `process` and `python` on, also with quantiles, and prometheus_client beside it with as many series. What the
store maps of its own files is counted apart. The programs run one after the other, so that none shares a page with
another but those of the interpreter and the libraries, which every other process of the machine shares as well.
"""

import json
import os
import subprocess
import sys

from harness import Report, finish, machine, options, temporary_folder

LIMIT_MIB = 8.0
# As an installed program: its modules are compiled already, by the first run, which does not count.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MEASURE = """
import sys
def measured(folder):
    sizes, mapped = {"store": 0, "rest": 0}, False
    with open("/proc/self/smaps") as file:
        for line in file:
            fields = line.split(None, 5)
            if "-" in fields[0] and ":" not in fields[0]:
                mapped = len(fields) == 6 and fields[5].startswith(folder)
            elif fields[0] == "Pss:":
                sizes["store" if mapped else "rest"] += int(fields[1])
    return sizes
"""
WAIT = "import select\n"  # of the standard library, and loaded by most; a bare Python waits with it as well
BARE = """
for second in range(seconds):
    select.select([], [], [], 1.0)
"""
RONDO = """
from rondo_core import Store
from rondo_core.plugins.manager import open_recorders
store = Store(folder + "/s.rondo")
if recorders:
    store.bind_recorders(open_recorders({}, defaults=("process", "python")))
counters = [store.counter("requests_total", n=n) for n in range(15)]
gauges = [store.gauge("level", n=n) for n in range(10)]  # with those of the recorders as many as there is room for
summaries = [store.summary("job_seconds", n=n) for n in range(3)]
summaries += [store.summary("quantile_seconds", n=n, quantiles=quantiles) for n in range(2)]
for tenth in range(seconds * 10):
    for each in counters:
        each.inc()
    for each in gauges:
        each.set(tenth)
    for each in summaries:
        each.observe(0.001 * (tenth + 1))
    if tenth % 10 == 0:
        store.tick()
    select.select([], [], [], 0.1)
"""
PROMETHEUS = """
import prometheus_client
counter = prometheus_client.Counter("requests", "r", ["n"])
gauge = prometheus_client.Gauge("level", "l", ["n"])
histogram = prometheus_client.Histogram("job_seconds", "j", ["n"])
counters = [counter.labels(n) for n in range(15)]
gauges = [gauge.labels(n) for n in range(10)]
histograms = [histogram.labels(n) for n in range(5)]
for tenth in range(seconds * 10):
    for each in counters:
        each.inc()
    for each in gauges:
        each.set(tenth)
    for each in histograms:
        each.observe(0.001 * (tenth + 1))
    select.select([], [], [], 0.1)
"""
PROGRAMS = {
    "bare Python": (BARE, {}),
    "rondo": (RONDO, {"recorders": False, "quantiles": False}),
    "rondo, recorders on": (RONDO, {"recorders": True, "quantiles": False}),
    "rondo, recorders and quantiles": (RONDO, {"recorders": True, "quantiles": True}),
    "prometheus_client": (PROMETHEUS, {}),
}


def measure(program, facts, seconds):
    """Run a program and give its PSS in MiB: that of the store's own mapping, and all the rest."""
    with temporary_folder() as folder:
        known = facts | {"folder": str(folder), "seconds": seconds}
        given = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        code = f"{WAIT}{MEASURE}{given}{program}\nprint(measured(folder), len(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    sizes, _, modules = done.stdout.rpartition(" ")
    kib = json.loads(sizes.replace("'", '"'))
    return kib["rest"] / 1024, kib["store"] / 1024, int(modules)


def main():
    """Measure each program in turn; say what is beyond a bare Python."""
    asked = options(__doc__ or "", seconds={"type": int, "default": 60, "help": "how long each of them records"})
    report = Report("footprint", asked, machine("rondo-tsdb", "prometheus-client"), __doc__ or "")
    for program in PROGRAMS.values():
        measure(*program, 1)
    found = {name: [] for name in PROGRAMS}
    for _ in range(asked.repeat):
        for name, program in PROGRAMS.items():
            found[name].append(measure(*program, asked.seconds))
    bare = [rest for rest, _, _ in found.pop("bare Python")]
    report.case("bare Python", bare, "MiB")
    over = []
    for name, runs in found.items():
        beyond = [rest - without for (rest, _, _), without in zip(runs, bare, strict=True)]
        report.case(f"{name}: beyond a bare Python", beyond, "MiB")
        report.case(f"{name}: modules", [modules for _, _, modules in runs], "")
        if name.startswith("rondo"):
            report.case(f"{name}: the store's mapping", [store for _, store, _ in runs], "MiB")
            over += [name] * (sorted(beyond)[len(beyond) // 2] > LIMIT_MIB)
    report.save()
    if over:
        print(f"footprint: more than {LIMIT_MIB:.0f} MiB beyond a bare Python: {', '.join(over)}", file=sys.stderr)
    return int(bool(over))


if __name__ == "__main__":
    finish(main)
