"""A store asked by PromQL answers what a real Prometheus answers to which the store was sent."""

import math
import random
import time

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export.runner import open_runner
from rondo_promql import evaluate_instant

pytestmark = pytest.mark.prometheus

TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
SCHEMAS = [
    Schema("counters", "counter", 16, TIERS),
    Schema("gauges", "gauge", 16, TIERS),
    Schema("sketched", "summary", 4, TIERS, sketch=True),
    Schema("plain", "summary", 4, TIERS, match='{__name__=~"plain.*"}'),
]
S = 10**9
SELECTORS = (
    "requests_total",
    "level",
    "plain_seconds_count",
    "plain_seconds_max",
    'waits{quantile="0.9"}',
    "late_total",
)
QUERIES = (
    *SELECTORS,
    '{__name__=~".+",__name__!~"rondo_.*"}',
    *(f"rate({each}[10s])" for each in ("requests_total", "plain_seconds_count", "late_total")),
    *(f"increase({each}[{window}])" for each in ("requests_total", "late_total") for window in ("7s", "1m")),
    *(f"{over}_over_time(level[20s])" for over in ("max", "min", "avg", "sum", "count", "last", "stddev")),
    "sum by (code) (rate(requests_total[15s]))",
    "sum(rate(plain_seconds_sum[15s])) / sum(rate(plain_seconds_count[15s]))",
    'max_over_time(waits{quantile="0.9"}[20s])',
    "absent(late_total)",
    "changes(level[30s])",
    "resets(requests_total[1m])",
)


def record(path, clock, rng, url):
    """Record for two minutes in two runs, sent when each has ended; one series is declared late, a gauge has gaps."""
    for run, seconds in enumerate((70, 40), 1):
        with Store(path, SCHEMAS, clock=clock) as store:
            requests = [store.counter("requests_total", code=code) for code in ("200", "500")]
            level, waits = store.gauge("level"), store.summary("waits", quantiles=True)
            plain = store.summary("plain_seconds")
            for second in range(seconds):
                clock.advance(0.2)
                requests[0].inc(rng.randrange(9))
                requests[1].inc(rng.random())
                if rng.random() < 0.7:
                    level.set(rng.gauss(0, 10))
                for _ in range(rng.randrange(4)):
                    waits.observe(rng.expovariate(1))
                    plain.observe(rng.random())
                if second >= 25:
                    store.counter("late_total").inc(3)
                store.tick()
                clock.advance(0.8)
        with StoreReader(path) as reader:
            outcome = open_runner(reader, "prometheus", {"url": url}).finish(ended_run=run, deadline_s=60)
        assert (outcome.error, outcome.stopped) == ("", False)
        clock.advance(17)


def answers(result):
    return {
        frozenset(labels.items()): float(values[0])
        for labels, _, values in result.series
        if not hasattr(values, "cells")
    }


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        math.isclose(ours[key], theirs[key], rel_tol=1e-9, abs_tol=1e-12)
        or math.isnan(ours[key]) & math.isnan(theirs[key])
        for key in ours
    )


def test_a_store_answers_what_prometheus_answers_that_it_was_sent_to(path, prometheus):
    """Selectors, rates, extremes, means: at each instant the same series with the same values, ends of lives included."""
    rng = random.Random(7)
    start_s = int(time.time()) - 240
    clock = ManualClock(start_s * S)
    record(path, clock, rng, prometheus.write_url)
    with StoreReader(path) as reader:
        source = reader.source()
        differ, asked = [], 0
        for query in QUERIES:
            for at_s in range(start_s - 2, start_s + 135, 7):
                at_ms = at_s * 1000 + 500
                ours = answers(evaluate_instant(query, source, at_ms))
                theirs = prometheus.instant(query, at_ms / 1000)
                asked += 1
                if not same(ours, theirs):
                    differ.append((query, at_s - start_s, ours, theirs))
    print(f"{asked} questions, {len(differ)} differ")
    assert not differ, differ[:3]
