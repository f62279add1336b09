"""Folding without numpy: the bytes that numpy would have left."""

import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.record import consolidation, fold_small

TIERS = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
CODE = """
import random, sys
from rondo_core import ManualClock, Schema, Store, Tier
tiers = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
schemas = [Schema(kind, kind, 4, tiers) for kind in ("counter", "gauge", "summary")]
schemas.append(Schema("sketched", "summary", 4, tiers, sketch=True))
def record(path, clock):
    chance = random.Random(7)
    with Store(path, schemas, clock=clock) as store:
        counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
        sketched = [store.summary("q", n=n, quantiles=True) for n in range(3)]
        for second in range(95):
            if second == 30:
                gauge, summary = store.gauge("later"), store.summary("later_s")
            for _ in range(chance.randrange(3)):
                counter.inc(chance.randrange(9))
                gauge.set(chance.choice([1.5, -2.0, float("inf"), float("-inf"), 1e308, float("nan")]))
                summary.observe(chance.uniform(-1e3, 1e3))
                for each in sketched[: chance.randrange(4)]:
                    each.observe(chance.choice([0.0, 10 ** chance.uniform(-3, 3), chance.uniform(1, 9)]))
            if chance.random() < 0.2:
                gauge.set(8.0, clock() - chance.randrange(15) * 10**9)
                sketched[0].observe(8.0, clock() - chance.randrange(15) * 10**9)
            clock.advance(chance.choice([1, 1, 1, 2, 12]))
            store.tick()
"""


def rows(store):
    """Give all rows of every slab, as they are in the files."""
    return {each.name: each.read_bytes()[4096:] for each in sorted(Path(store).glob("*.slab"))}


def test_a_process_without_numpy_leaves_the_same_rows(tmp_path):
    """Holes, late samples, infinities and series that come later: both ways to fold give every byte alike."""
    known: dict = {}
    exec(CODE, known)
    known["record"](tmp_path / "with", ManualClock())
    code = f"{CODE}\nrecord(sys.argv[1], ManualClock())\nprint('numpy' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "without")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    assert any(rows(tmp_path / "with")["summary.2.slab"])
    assert any(rows(tmp_path / "with")["sketched.2.slab"])


@pytest.mark.parametrize(
    "schema",
    [Schema("s", "summary", 1, TIERS, sketch=True, sketch_layout=1), Schema("s", "summary", 600, TIERS)],
)
def test_numpy_folds_what_is_much_or_of_the_first_layout_of_sketches(tmp_path, monkeypatch, schema):
    """Which it is left to; the points are there."""
    monkeypatch.setattr(consolidation, "without_numpy", lambda: True)
    folded = []
    small = fold_small.fold_small
    monkeypatch.setattr(fold_small, "fold_small", lambda *what: folded.append(small(*what)) or folded[-1])
    clock = ManualClock()
    with Store(tmp_path / "s", [schema], clock=clock) as store:
        for index in range(schema.max_series):
            store.summary("s", index=index).observe(1.0)
        clock.advance(10)
        store.tick()
        assert folded[0] is None
        assert store.query("s{index=0}", fn="count", tier=1)[0].values.tolist() == [1.0]


@pytest.mark.parametrize("layout", [1, 2])
def test_a_tier_without_sketches_is_folded_from_one_with_them(tmp_path, monkeypatch, layout):
    """Both ways leave the same bytes, in stores of either layout."""
    tiers = (*TIERS[:2], Tier("30s", "10m", ("count", "max")))
    for numpy in (True, False):
        monkeypatch.setattr(consolidation, "without_numpy", lambda without=not numpy: without)
        clock = ManualClock()
        schema = Schema("s", "summary", 2, tiers, sketch=True, sketch_layout=layout)
        with Store(tmp_path / str(numpy), [schema], clock=clock) as store:
            for second in range(90):
                store.summary("s").observe(second % 7)
                store.tick()
                clock.advance(1)
    assert rows(tmp_path / "True") == rows(tmp_path / "False")
    with StoreReader(tmp_path / "False") as reader:
        assert sum(reader.query("s", fn="count", tier=2)[0].values) == 90


QUANTILES = """
import random, sys
from rondo_core import ManualClock, Schema, Store
chance, clock = random.Random(3), ManualClock(1_700_000_100 * 10**9)
with Store(sys.argv[1], [Schema("q", "summary", 8, sketch=True)], clock=clock) as store:
    summaries = [store.summary("q_seconds", quantiles=True, n=n) for n in range(5)]
    for second in range(660):
        for each in summaries:
            for _ in range(5):
                each.observe(chance.lognormvariate(-3, 1))
        store.tick()
        clock.advance(1)
print("numpy" in sys.modules)
"""


def test_a_few_sketched_series_never_load_numpy(tmp_path):
    """Eleven minutes of five of them in the default tiers, from the first record to the close."""
    command = [sys.executable, "-c", QUANTILES, str(tmp_path / "s")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"
    with StoreReader(tmp_path / "s") as reader:
        (data,) = reader.query("q_seconds{n=0}", fn="count", tier=2)
        assert data.values.sum() == 660 * 5
        assert reader.query("q_seconds{n=0}", fn="p50", tier=2)[0].values == pytest.approx([0.05] * 3, rel=0.1)
