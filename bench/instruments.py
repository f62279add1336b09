"""Labels, timers and gauges as programs use them, beside prometheus_client, in turn in a process: ns of CPU a call."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial

from harness import Report, finish, in_turn, machine, options, per_call_ns, temporary_folder
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PeerCounter
from prometheus_client import Gauge as PeerGauge
from prometheus_client import Summary as PeerSummary

from rondo_core import Schema, Store, Tier
from rondo_core.record import handles

NUMBER = 100_000
MANY = 10_000


def block(summary: object) -> Callable[[], None]:
    """Time a block that does nothing."""

    def run() -> None:
        with summary.time():  # type: ignore[attr-defined]
            pass

    return run


def main() -> None:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": NUMBER, "help": "calls of a run"})
    registry, number = CollectorRegistry(), asked.number
    peer_requests = PeerCounter("r", "r", ["route", "code"], registry=registry)
    peer_jobs, peer_summary = PeerGauge("j", "j", registry=registry), PeerSummary("s", "s", registry=registry)
    tiers = (Tier("1s", "1m"),)
    schemas = [Schema("c", "counter", 64, tiers), Schema("g", "gauge", 64, tiers)]
    schemas += [Schema("p", "gauge", 64, tiers, peaks=True), Schema("s", "summary", 64, tiers)]
    with temporary_folder() as directory, Store(directory / "s", schemas) as store:
        requests = store.counter("requests_total", labels=["route", "code"])
        jobs, peak, summary = store.gauge("jobs"), store.gauge("peak", peaks=True), store.summary("seconds")
        counters = store.counter_batch([store.counter("batch_total", n=n) for n in range(30)])
        row, values = array("d", range(30)), array("d", range(MANY))

        @summary.timed
        def timed() -> None:
            pass

        @peer_summary.time()
        def peer_timed() -> None:
            pass

        timed_calls = {
            "call floor": (lambda: None, number),
            "labels, inc": (lambda: requests.labels("/orders", "200").inc(), number),
            "peer labels, inc": (lambda: peer_requests.labels("/orders", "200").inc(), number),
            "labels by name, inc": (lambda: requests.labels(route="/orders", code="200").inc(), number),
            "peer labels by name, inc": (lambda: peer_requests.labels(route="/orders", code="200").inc(), number),
            "labels, a number, inc": (lambda: requests.labels("/orders", 200).inc(), number),
            "peer labels, a number, inc": (lambda: peer_requests.labels("/orders", 200).inc(), number),
            "with time()": (block(summary), number),
            "peer with time()": (block(peer_summary), number),
            "decorated call": (timed, number),
            "peer decorated call": (peer_timed, number),
            "gauge inc": (jobs.inc, number),
            "peer gauge inc": (peer_jobs.inc, number),
            "gauge set": (partial(jobs.set, 1.5), number),
            "gauge set, peaks": (partial(peak.set, 1.5), number),
            "30 counters, array": (partial(counters.inc, row), number // 10),
            "observe_many of 10,000": (partial(summary.observe_many, values), number // 1000),
            "observe": (partial(summary.observe, 0.25), number),
        }
        found = in_turn({name: partial(per_call_ns, *how) for name, how in timed_calls.items()}, asked.repeat)
    report = Report("instruments", asked, machine("rondo-tsdb", "prometheus-client"), __doc__ or "")
    report.case("call floor", found["call floor"], "ns")
    pure = handles.__file__.endswith(".py")
    for case, peer, name, target in (
        ("labels, inc", "peer labels, inc", "labels(...).inc()", 0.8 if pure else 0.35),
        ("labels by name, inc", "peer labels by name, inc", "labels(route=...).inc()", 0.8 if pure else 0.35),
        ("labels, a number, inc", "peer labels, a number, inc", "labels(..., 200).inc()", 0.8 if pure else 0.35),
        ("with time()", "peer with time()", "with Summary.time()", None if pure else 0.35),
        ("decorated call", "peer decorated call", "@Summary.time()", None if pure else 0.4),
        ("gauge inc", "peer gauge inc", "Gauge.inc", None),
        ("gauge set, peaks", "gauge set", "(rondo's own) Gauge.set", None if pure else 1.3),
        ("30 counters, array", "peer gauge inc", "one Gauge.inc", None),
        ("observe_many of 10,000", "observe", "(rondo's own) one observe", None),
    ):
        report.case(
            case,
            found[case],
            "ns",
            f"prometheus_client {name}" if peer.startswith("peer") else name,
            found[peer],
            target,
        )
    report.save()


if __name__ == "__main__":
    finish(main)
