"""Recording beside prometheus_client, in turn in one process: ns a call, medians, ratios run by run."""

from __future__ import annotations

import tempfile
from array import array
from functools import partial
from pathlib import Path

from harness import Report, in_turn, machine, options, per_call_ns
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PeerCounter
from prometheus_client import Gauge as PeerGauge
from prometheus_client import Histogram as PeerHistogram

from rondo_core import Store

NUMBER = 200_000


def main() -> None:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": NUMBER, "help": "calls of a run"})
    registry = CollectorRegistry()
    peer_gauge, peer_counter = PeerGauge("g", "g", registry=registry), PeerCounter("c", "c", registry=registry)
    peer_histogram = PeerHistogram("h", "h", registry=registry)
    peer_gauges = [PeerGauge(f"g{n}", "g", registry=registry) for n in range(30)]
    number = asked.number
    with tempfile.TemporaryDirectory() as directory, Store(Path(directory) / "s") as store:
        batch = store.batch([store.gauge("tick", n=n) for n in range(30)])
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
            "peer 30 gauge sets": (peers_in_a_row, number // 30),
        }
        found = in_turn({name: partial(per_call_ns, *how) for name, how in timed.items()}, asked.repeat)
    report = Report("write_path", asked.json, machine("rondo", "prometheus-client"))
    report.case("call floor", found["call floor"], "ns")
    for case, peer, name in (
        ("gauge set", "peer gauge set", "prometheus_client Gauge.set"),
        ("counter inc", "peer counter inc", "prometheus_client Counter.inc"),
        ("summary observe", "peer histogram observe", "prometheus_client Histogram.observe"),
        ("tick of 30, array", "peer 30 gauge sets", "prometheus_client 30 Gauge.set"),
        ("tick of 30, list", "peer 30 gauge sets", "prometheus_client 30 Gauge.set"),
    ):
        report.case(case, found[case], "ns", name, found[peer])


if __name__ == "__main__":
    main()
