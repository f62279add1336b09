"""Recording beside prometheus_client, in turn in one process: ns of CPU time a call."""

from __future__ import annotations

from array import array
from functools import partial

from harness import Report, finish, in_turn, machine, options, per_call_ns, temporary_folder
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PeerCounter
from prometheus_client import Gauge as PeerGauge
from prometheus_client import Histogram as PeerHistogram

from rondo_core import Schema, Store, Tier
from rondo_core.record import handles

NUMBER = 200_000
MANY = 10_000
# Of its own, whatever the default schemas hold: in overflow series another path would be timed, which `strict` refuses.
ROOM = (Schema("counters", "counter", 32), Schema("gauges", "gauge", 32), Schema("summaries", "summary", 32))
REFERENCE_NS = 210.0  # what Gauge.set takes on the machine for which the targets in ns were set


def main() -> None:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": NUMBER, "help": "calls of a run"})
    registry = CollectorRegistry()
    peer_gauge, peer_counter = PeerGauge("g", "g", registry=registry), PeerCounter("c", "c", registry=registry)
    peer_histogram = PeerHistogram("h", "h", registry=registry)
    peer_gauges = [PeerGauge(f"g{n}", "g", registry=registry) for n in range(30)]
    number = asked.number
    with (
        temporary_folder() as directory,
        Store(directory / "s", ROOM, strict=True) as store,
        Store(directory / "wide", [Schema("g", "gauge", MANY, (Tier("1s", "10s"),))], strict=True) as wide,
    ):
        batch = store.batch([store.gauge("tick", n=n) for n in range(30)])
        many, values = wide.batch([wide.gauge("tick", n=n) for n in range(MANY)]), array("d", range(MANY))
        gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("s")
        row, numbers = array("d", range(30)), list(map(float, range(30)))

        def peers_in_a_row() -> None:
            for each in peer_gauges:
                each.set(1.5)

        timed = {
            "call floor": (lambda: None, number),
            "gauge set": (partial(gauge.set, 1.5), number),
            "peer gauge set": (partial(peer_gauge.set, 1.5), number),
            "counter inc": (counter.inc, number),
            "peer counter inc": (peer_counter.inc, number),
            "summary observe": (partial(summary.observe, 0.25), number),
            "peer histogram observe": (partial(peer_histogram.observe, 0.25), number),
            "tick of 30, array": (partial(batch.set, row), number // 4),
            "tick of 30, list": (partial(batch.set, numbers), number // 4),
            "tick of 10,000, array": (partial(many.set, values), number // 200),
            "peer 30 gauge sets": (peers_in_a_row, number // 30),
        }
        found = in_turn({name: partial(per_call_ns, *how) for name, how in timed.items()}, asked.repeat)
    report = Report("write_path", asked, machine("rondo-tsdb", "prometheus-client"), __doc__ or "")
    report.case("call floor", found["call floor"], "ns")
    peer = found["peer gauge set"]
    report.case("prometheus_client Gauge.set", peer, "ns", "reference machine, 210 ns", [REFERENCE_NS] * len(peer))
    pure = handles.__file__.endswith(".py")
    # 250 ns and 10 us where Gauge.set takes 210 ns, and 30 of them 6,270.
    for case, peer_case, name, target in (
        ("gauge set", "peer gauge set", "Gauge.set", 0.65 if pure else 0.25),
        ("counter inc", "peer counter inc", "Counter.inc", 0.75 if pure else 0.25),
        ("summary observe", "peer histogram observe", "Histogram.observe", 0.6 if pure else 0.15),
        ("tick of 30, array", "peer 30 gauge sets", "30 Gauge.set", 250 / 6270),
        ("tick of 30, list", "peer 30 gauge sets", "30 Gauge.set", 250 / 6270),
        ("tick of 10,000, array", "peer gauge set", "one Gauge.set", 10_000 / REFERENCE_NS),
    ):
        report.case(case, found[case], "ns", f"prometheus_client {name}", found[peer_case], target)
    report.save()


if __name__ == "__main__":
    finish(main)
