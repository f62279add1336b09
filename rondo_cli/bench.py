"""`rondo bench`: what recording, ticking, reading and exporting take on this machine, beside what they could be."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from rondo_cli.measure import case_of, in_turn, machine, per_call_ns, process_ns
from rondo_cli.printing import data, show
from rondo_cli.render import table

if TYPE_CHECKING:
    from rondo_core import Store

FAMILIES = ("write", "tick", "read", "export")
N_SERIES, SECONDS, N_ROW = 100, 600, 30
NUMBER = 20_000
Case = Callable[[], float]


@attrs.frozen
class Measured:
    """The cases of a family: what each gives is in `unit`; `beside` names the case that one is compared with."""

    unit: str
    cases: Mapping[str, Case]
    beside: Mapping[str, str] = attrs.Factory(dict)


@click.command("bench")
@click.argument("families", type=click.Choice(FAMILIES), nargs=-1, metavar="[write|tick|read|export]...")
@click.option("--repeat", type=click.IntRange(1, 1000), default=5, show_default=True, help="Runs: the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per case.")
def command(families: tuple[str, ...], repeat: int, as_json: bool) -> None:
    """Measure rondo here; without a name, all of it. Nothing is left behind.

    Times are CPU times, each the median of runs that take turns with what they stand beside: prometheus_client where
    that is installed, a numpy copy of the same points, a call that does nothing. Below 1, the ratio says that rondo is
    quicker.

    \b
    rondo bench
    rondo bench write tick --json
    """
    found = []
    for family in [each for each in FAMILIES if each in families or not families]:
        with MEASURED[family]() as measured:
            found += [case_of(family, *each) for each in _run(family, measured, repeat, quiet=as_json)]
    if as_json:
        data("\n".join(map(json.dumps, found)))
        return
    show(machine("rondo-tsdb", "numpy", "prometheus-client"))
    rows = [[each["bench"], each["case"], *_cells(each)] for each in found]
    show(table(["", "case", "median", "", "beside", "ratio", "spread"], rows, [False, False, True, False]))


def _cells(case: Mapping[str, Any]) -> list[str]:
    ratio = "" if case["ratio"] is None else f"{case['ratio']:.3g}"
    return [f"{case['value']:,.1f}", case["unit"], case["peer"], ratio, " to ".join(f"{n:.3g}" for n in case["spread"])]


def _run(family: str, measured: Measured, repeat: int, *, quiet: bool) -> Iterator[tuple[Any, ...]]:
    """Run a family's cases in turn, with a bar on a terminal; give what `case_of` takes of each."""
    steps = len(measured.cases) * (repeat + 1)
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(length=steps, label=f"{family:8}", file=sys.stderr, hidden=hidden) as bar:
        found = in_turn(measured.cases, repeat, partial(bar.update, 1))
    for name, values in found.items():
        peer = measured.beside.get(name, "")
        yield name, values, measured.unit, *((peer, found[peer]) if peer in found else ())


@contextmanager
def _store(n_series: int) -> Iterator[tuple[Store, Any]]:
    """Make a store of as many gauges, its clock standing still, at the start of a window of every tier."""
    from rondo_core import ManualClock, Schema, Store

    clock = ManualClock(1_700_000_100 * 10**9)
    schemas = [Schema("gauges", "gauge", n_series), Schema("counters", "counter", 8), Schema("summaries", "summary", 8)]
    with tempfile.TemporaryDirectory() as directory, Store(Path(directory) / "s", schemas, clock=clock) as store:
        yield store, clock


@contextmanager
def _write() -> Iterator[Measured]:
    """One record of each kind, with the wall clock, beside prometheus_client's."""
    from rondo_core import Store

    with tempfile.TemporaryDirectory() as directory, Store(Path(directory) / "s") as store:
        calls: dict[str, Callable[[], object]] = {
            "a call that does nothing": lambda: None,
            "gauge.set": partial(store.gauge("g").set, 1.5),
            "counter.inc": store.counter("c_total").inc,
            "summary.observe": partial(store.summary("s").observe, 0.25),
            **_peers(),
        }
        beside = {
            "gauge.set": "prometheus_client Gauge.set",
            "counter.inc": "prometheus_client Counter.inc",
            "summary.observe": "prometheus_client Histogram.observe",
        }
        yield Measured("ns", {name: partial(per_call_ns, call, NUMBER) for name, call in calls.items()}, beside)


def _peers() -> dict[str, Callable[[], object]]:
    if find_spec("prometheus_client") is None:
        return {}
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()
    return {
        "prometheus_client Gauge.set": partial(Gauge("g", "g", registry=registry).set, 1.5),
        "prometheus_client Counter.inc": Counter("c", "c", registry=registry).inc,
        "prometheus_client Histogram.observe": partial(Histogram("h", "h", registry=registry).observe, 0.25),
    }


@contextmanager
def _tick() -> Iterator[Measured]:
    """A second's work: a row of gauges set in one call, and the tick that enters the next second and folds."""
    with _store(N_ROW) as (store, clock):
        batch = store.batch([store.gauge("tick", n=n) for n in range(N_ROW)])
        row = array("d", range(N_ROW))

        def second() -> None:
            clock.advance(1)
            batch.set(row)
            store.tick()

        one, each, whole = f"one of {N_ROW} gauges set", f"{N_ROW} gauges set in one call", "a second: set and tick"
        gauge = store.gauge("tick", n=0)
        cases = {
            one: partial(per_call_ns, partial(gauge.set, 1.5), NUMBER),
            each: partial(per_call_ns, partial(batch.set, row), NUMBER),
            whole: partial(per_call_ns, second, 300),
        }
        yield Measured("ns", cases, {each: one, whole: one})


@contextmanager
def _read() -> Iterator[Measured]:
    """Ten minutes of one series and of a hundred, beside a copy of the same points by numpy."""
    import numpy as np

    with _store(N_SERIES) as (store, clock):
        _fill(store, clock)
        rows = np.ones((SECONDS, N_SERIES))
        one, hundred = store.view.series("level{n=5}"), store.view.series("level")
        prepared, many = store.view.prepare(one, tier=0), store.view.prepare(hundred, tier=0)
        floor, floors = f"numpy: copy {SECONDS} points", f"numpy: copy {N_SERIES} x {SECONDS} points"
        calls: dict[str, tuple[Callable[[], object], int]] = {
            floor: (rows[:, 5].copy, 2000),
            f"{SECONDS} points, query prepared": (prepared.read, 500),
            f"{SECONDS} points, selector as text": (lambda: store.view.query("level{n=5}", tier=0), 500),
            floors: (rows.copy, 100),
            f"{N_SERIES} x {SECONDS} points": (many.read, 50),
        }

        def timed(call: Callable[[], object], number: int) -> float:
            return per_call_ns(call, number) / 1000

        beside = {name: floors if str(N_SERIES) in name.split() else floor for name in calls if "numpy" not in name}
        yield Measured("us", {name: partial(timed, *how) for name, how in calls.items()}, beside)


@contextmanager
def _export() -> Iterator[Measured]:
    """Everything an export does, for a sample: drain, encode, send to a receiver that acknowledges, save the cursor."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store, clock = stack.enter_context(_store(N_SERIES))
        _fill(store, clock)
        configs: dict[str, dict[str, Any]] = {
            name: {"path": str(directory / f"out.{name}")} for name in ("csv", "jsonl")
        }
        if find_spec("rondo_exporter_prometheus"):
            configs["prometheus"] = {"url": f"http://127.0.0.1:{stack.enter_context(_receiver())}/1", "protocol": "1.0"}
        yield Measured("ns a sample", {name: partial(_send, store, name, config) for name, config in configs.items()})


def _send(store: Store, name: str, config: dict[str, Any]) -> float:
    """Export all of a store anew; give the CPU time of a sample, ns. Raises: ExportError: it did not arrive."""
    from rondo_core.errors import ExportError
    from rondo_core.export import cursor_path, open_runner

    Path(cursor_path(store.path, name)).unlink(missing_ok=True)
    if "path" in config:
        Path(config["path"]).unlink(missing_ok=True)
    runner = open_runner(store.view, name, config)
    began = process_ns()
    outcome = runner.finish(store.run.number, 60)
    spent = process_ns() - began
    if outcome.error or not outcome.samples:
        raise ExportError(f"{name}: {outcome.error or 'nothing was sent'}; run it again")
    return spent / outcome.samples


def _fill(store: Store, clock: Any) -> None:
    """Record every series every second, until the finest tier is full."""
    batch = store.batch([store.gauge("level", n=n) for n in range(N_SERIES)])
    for second in range(SECONDS):
        batch.set([second * 0.7 + n for n in range(N_SERIES)])
        store.tick()
        clock.advance(1)


@contextmanager
def _receiver() -> Iterator[int]:
    """Run a receiver in a process of its own, which ends with this one; give its port."""
    command = [sys.executable, "-m", "rondo_cli.acknowledge"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        yield int(process.stdout.readline() if process.stdout else 0)


MEASURED = {"write": _write, "tick": _tick, "read": _read, "export": _export}
