"""`rondo bench`: what recording and ticking take on this machine, beside what they could be."""

from __future__ import annotations

import json
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import click

from rondo_cli.measure import case_of, in_turn, machine, per_call_ns
from rondo_cli.printing import data, show
from rondo_cli.render import table

FAMILIES = ("write", "tick")
N_ROW = 30
NUMBER = 20_000
Case = Callable[[], float]


@attrs.frozen
class Measured:
    """The cases of a family: what each gives is in `unit`; `compared_with` names the case that one is compared with."""

    unit: str
    cases: Mapping[str, Case]
    compared_with: Mapping[str, str] = attrs.Factory(dict)


@click.command("bench")
@click.argument("families", type=click.Choice(FAMILIES), nargs=-1, metavar="[write|tick]...")
@click.option("--repeat", type=click.IntRange(1, 1000), default=5, show_default=True, help="Runs: the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per case.")
def command(families: tuple[str, ...], repeat: int, as_json: bool) -> None:
    """Measure rondo here; without a name, all of it. Nothing is left behind.

    Times are CPU times, each the median of runs that take turns with what they stand beside: prometheus_client where
    that is installed, a call that does nothing. Below 1, the ratio says that rondo is quicker.

    \b
    rondo bench
    rondo bench write --json
    """
    found = []
    for family in [each for each in FAMILIES if each in families or not families]:
        with MEASURED[family]() as measured:
            found += [case_of(family, *each) for each in _run(family, measured, repeat, quiet=as_json)]
    if as_json:
        data("\n".join(map(json.dumps, found)))
        return
    show(machine("rondo-tsdb", "prometheus-client"))
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
        peer = measured.compared_with.get(name, "")
        yield name, values, measured.unit, *((peer, found[peer]) if peer in found else ())


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
    from rondo_core import ManualClock, Schema, Store

    clock = ManualClock(1_700_000_100 * 10**9)  # the start of a window of every tier
    schemas = [Schema("gauges", "gauge", N_ROW)]
    with tempfile.TemporaryDirectory() as directory, Store(Path(directory) / "s", schemas, clock=clock) as store:
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


MEASURED = {"write": _write, "tick": _tick}
