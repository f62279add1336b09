"""A receiver that objects to whatever the specifications forbid finds nothing in what randomised stores send."""

import logging
import math
import os
import random

import pytest

from rondo_core import ManualClock, Plugins, Schema, Store, StoreReader, Tier
from rondo_core.errors import ExportError
from rondo_core.export import runner as runner_module
from rondo_core.export.runner import Runner
from rondo_core.plugins.manager import EXPORTERS

REQUESTS = int(os.environ.get("RONDO_STRICT_REQUESTS", "400"))
S = 10**9
QUANTILES = ("0.5", "0.9", "0.99", "0.999")


class Recorded:
    """A store of random content, and what a receiver must hold of it: (labels, native) -> {ms: value}."""

    def __init__(self, path, rng, external):
        self.random, self.external = rng, external
        self.expected, self.observed = {}, {}
        self.clock = ManualClock(1_700_000_000 * S + rng.randrange(S))
        tiers = (Tier(rng.choice(("1s", "5s")), "20m"), Tier("1m", "1h"))
        self.schemas = [
            Schema("counters", "counter", 6, tiers),
            Schema("gauges", "gauge", 40, tiers),
            Schema("plain", "summary", 4, tiers, match='{__name__=~"plain.*"}'),
            Schema("sketched", "summary", 4, tiers, sketch=True),
        ]
        self.interval_ns = tiers[0].interval_ns
        self.totals = {}
        with Store(path, self.schemas, clock=self.clock) as store:
            self._record(store)

    def _record(self, store):
        handles = []
        for n in range(self.random.randint(1, 4)):
            labels = {self.random.choice("abzAZ_") + str(i): self._text() for i in range(self.random.randint(0, 4))}
            about = {"help": self.random.choice(("", "What it is.", "é")), "unit": self.random.choice(("", "bytes"))}
            for kind, name in (("counter", "c_total"), ("gauge", "g"), ("summary", "plain"), ("summary", "s_seconds")):
                if self.random.random() < 0.8:
                    key = (f"{name}{n}", tuple((k, v) for k, v in labels.items() if v))
                    handles.append((kind, key, getattr(store, kind)(key[0], labels, **about)))
        for _ in range(self.random.randint(5, 50)):
            bucket_ms = self.clock() // self.interval_ns * self.interval_ns // 10**6
            for kind, key, handle in handles:
                quiet = self.random.random() < 0.2
                if kind == "summary":
                    self._observe(key, handle, bucket_ms, 0 if quiet else self.random.randint(1, 6))
                elif kind == "counter":
                    step = 0.0 if quiet else self.random.random() * 10
                    handle.inc(step)
                    self.totals[key] = self.totals.get(key, 0.0) + step
                    self._expect(key, "", bucket_ms, self.totals[key])
                elif not quiet:
                    value = self.random.choice((0.0, -1.5, math.inf, 1e-300, self.random.gauss(0, 1e6)))
                    handle.set(value)
                    self._expect(key, "", bucket_ms, value)
            store.tick()
            self.clock.advance(self.interval_ns / S)

    def _observe(self, key, handle, bucket_ms, n):
        scale = self.random.choice((1.0, 1e-6, 1e6))
        values = [
            self.random.choice((0.0, self.random.random() * scale, math.exp(self.random.gauss(0, 3)))) for _ in range(n)
        ]
        for value in values:
            handle.observe(value)
        count, total = self.totals.get(key, (0, 0.0))
        in_bucket = 0.0
        for value in values:
            in_bucket += value
        self.totals[key] = count + n, total + in_bucket
        self._expect(key, "_count", bucket_ms, count + n)
        self._expect(key, "_sum", bucket_ms, total + in_bucket)
        if values:
            self._expect(key, "_min", bucket_ms, min(values))
            self._expect(key, "_max", bucket_ms, max(values))
            if key[0].startswith("s_"):
                self.observed[self.labels(key, ""), bucket_ms] = values

    def _expect(self, key, suffix, ms, value):
        self.expected.setdefault((self.labels(key, suffix), False), {})[ms] = value

    def labels(self, key, suffix, **more):
        return tuple(sorted({**self.external, **dict(key[1]), **more, "__name__": key[0] + suffix}.items()))

    def _text(self):
        return "".join(self.random.choice('aé"\\\n b7') for _ in range(self.random.randint(0, 6)))


class EndsAfter:
    """An exporter whose process ends before its next batch."""

    def __init__(self, exporter, n_batches):
        self._exporter, self._left, self.close = exporter, n_batches, exporter.close

    def send(self, batch):
        if not self._left:
            raise ExportError("the process ends here")
        self._exporter.send(batch)
        self._left -= 1


def send(path, receiver, rng, **config):
    """Export a store, perhaps by several processes one after the other; each begins by what the cursor says."""
    plugins = Plugins(config={"prometheus": {"url": receiver.url, **config}})
    plugins.load(EXPORTERS, ["prometheus"])
    max_samples = rng.choice((20, 60, 300))
    # One that ends while a batch is split or retried leaves it to the next, which begins it anew: no case for this test.
    ends = rng.randint(0, 2) if not (receiver.trouble or receiver.poison) else 0
    for n_batches in (*(rng.randint(1, 3) for _ in range(ends)), 1 << 30):
        exporter = plugins.open("rondo_exporter_open", "prometheus")
        with StoreReader(path) as reader:
            ending = EndsAfter(exporter, n_batches)
            outcome = Runner(reader, ending, "strict", max_samples=max_samples).finish(1, 120)
    return outcome, exporter


def compare(recorded, receiver, *, native, zeroes):
    """Find what is missing or different; values are compared bit by bit, quantiles within their error.

    Args: `zeroes`: whether each total has a sample of 0, one bucket before its first one.
    """
    for (labels, _), points in recorded.expected.items() if zeroes else ():
        if points and dict(labels)["__name__"].endswith(("_count", "_sum")) | ("_total" in dict(labels)["__name__"]):
            points[min(points) - recorded.interval_ns // 10**6] = 0.0
    own = {
        key: points[:-1] if points[-1][1] == "stale" else points
        for key, points in receiver.taken.items()
        if not dict(key[0])["__name__"].startswith("rondo_")
    }
    assert all(points[-1][1] == "stale" for points in receiver.taken.values()), "a series has not ended"
    plain = {
        key: dict(points) for key, points in own.items() if not key[1] and "quantile" not in dict(key[0]) and points
    }
    for key, ms in receiver.poison:
        recorded.expected[key, False].pop(ms, None)
    assert plain == {key: points for key, points in recorded.expected.items() if points}
    quantiles = {
        (tuple(pair for pair in key if pair[0] != "quantile"), ms, dict(key)["quantile"]): value
        for (key, _), points in own.items()
        if "quantile" in dict(key)
        for ms, value in points
    }
    assert quantiles.keys() == {(*at, share) for at in recorded.observed for share in QUANTILES}
    for (key, ms, share), value in quantiles.items():
        exact = sorted(recorded.observed[key, ms])[
            max(0, math.ceil(len(recorded.observed[key, ms]) * float(share)) - 1)
        ]
        assert math.isclose(value, exact, rel_tol=0.2), (key, ms, share)
    histograms = {(key, ms): value for (key, is_native), points in own.items() if is_native for ms, value in points}
    if not native:
        assert histograms == {}
        return
    assert histograms.keys() == recorded.observed.keys()
    for at, (schema, zeroes, total, buckets) in histograms.items():
        values = recorded.observed[at]
        assert zeroes == values.count(0.0)
        assert math.isclose(total, sum(values), rel_tol=1e-12)
        found = {}
        for value in filter(None, values):
            index = math.ceil(math.log2(value) * 2.0**schema)
            found[index] = found.get(index, 0) + 1
        assert dict(buckets) == found


@pytest.fixture
def quick(monkeypatch):
    """Retries without waiting."""
    monkeypatch.setattr(runner_module, "BACKOFF_FIRST_S", 0.0)


def test_no_request_of_a_randomised_store_breaks_a_rule(tmp_path, strict_receiver, quick, caplog):
    """Whatever a store holds and however the receiver fails, each request keeps every MUST and every point arrives."""
    caplog.set_level(logging.CRITICAL)
    receivers = {versions: strict_receiver(versions) for versions in ("12", "1", "old")}
    number = 0
    while sum(each.n_requests for each in receivers.values()) < REQUESTS:
        rng = random.Random(number)
        receiver = receivers[rng.choice(("12", "12", "1", "old"))]
        receiver.forget()
        receiver.native = rng.random() < 0.7
        receiver.trouble, receiver.poison = rng.choice((0.0, 0.2)), set()
        external = rng.choice(({}, {"instance": "vm1", "Zone": "é"}))
        path = tmp_path / f"{number}.rondo"
        recorded = Recorded(path, rng, external)
        plain = sorted((key, ms) for (key, _), points in recorded.expected.items() for ms in points)
        gauges = [each for each in plain if dict(each[0])["__name__"][0] in "cg"]
        if gauges and rng.random() < 0.3 and not receiver.trouble:
            receiver.poison = set(rng.sample(gauges, 1))
        protocol = rng.choice(("auto", "1.0", "2.0") if receiver.versions == "12" else ("auto", "1.0"))
        zeroes = rng.random() < 0.7
        outcome, exporter = send(path, receiver, rng, external_labels=external, protocol=protocol, zeroes=zeroes)
        assert not outcome.stopped, (number, outcome)
        assert receiver.violations == [], (number, outcome)
        speaks_2 = receiver.versions == "12" and protocol != "1.0"
        assert not outcome.requests or exporter.protocol == ("2.0" if speaks_2 else "1.0")
        compare(recorded, receiver, native=speaks_2 and receiver.native, zeroes=zeroes)
        number += 1
    print({versions: each.statuses for versions, each in receivers.items()})
