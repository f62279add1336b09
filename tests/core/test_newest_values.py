"""The newest value of each counter and gauge of a store, read without a query."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import StoreNotFoundError
from rondo_core.storage import last_values

TIERS = (Tier("1s", "10s"), Tier("5s", "1m"))
SCHEMAS = [Schema("c", "counter", 4, TIERS), Schema("g", "gauge", 4, TIERS), Schema("s", "summary", 4, TIERS)]


def held(path):
    return {
        str(series): (value, time_ns) for series, value, time_ns in last_values(path) if series.schema in {"c", "g"}
    }


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("cg"), st.integers(0, 3), st.integers(0, 9), st.sampled_from([0, 1, 3, 40]))))
def test_it_is_what_a_query_says_last(tmp_path_factory, steps):
    """Of a store that is written, and of one that was closed; whatever lies between two records."""
    path, clock, totals, levels = tmp_path_factory.mktemp("s") / "s", ManualClock(), {}, {}
    with Store(path, SCHEMAS, clock=clock) as store:
        store.summary("s").observe(1.0)
        for kind, number, value, seconds in steps:
            clock.advance(seconds)
            if kind == "c":
                store.counter(f"c{number}").inc(value)
                totals[f"c{number}"] = totals.get(f"c{number}", 0) + value
            else:
                store.gauge(f"g{number}").set(value)
                levels[f"g{number}"] = value, clock() // 10**9 * 10**9
            store.tick()
        live = held(path)
    for found in (live, held(path)):
        assert {name: value for name, (value, _) in found.items() if name[0] == "c"} == totals
        kept = {name: at for name, at in found.items() if name[0] == "g"}
        assert {name: at for name, at in levels.items() if at[1] > clock() - 10 * 10**9}.items() <= kept.items()
    with StoreReader(path) as reader:
        for series in reader.series():
            if series.schema in {"c", "g"}:
                (data,) = reader.query([series], tier=0, fn="last")
                if len(data.values):
                    assert found[str(series)] == (float(data.values[-1]), int(data.timestamps_ns[-1]))


def test_it_loads_no_numpy(tmp_path):
    """A worker that looks at what others have left pays for no query."""
    code = (
        "import sys\nfrom rondo_core import Store\nfrom rondo_core.storage import last_values\nfrom pathlib import Path\n"
        "with Store(sys.argv[1]) as store:\n    store.counter('c').inc(2)\n    print(last_values(Path(sys.argv[1]))[-1][1])\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0", "False"]


def test_no_total_is_lower_than_at_an_earlier_look(tmp_path):
    """While another process writes as fast as it can, over many buckets."""
    code = (
        "import sys\nfrom rondo_core import ManualClock, Schema, Store, Tier\nclock = ManualClock()\n"
        "store = Store(sys.argv[1], [Schema('c', 'counter', 4, (Tier('1s', '10s'), Tier('5s', '1m')))], clock=clock)\n"
        "counter = store.counter('c')\nprint(flush=True)\n"
        "while True:\n    counter.inc()\n    clock.advance(0.25)\n    if counter.value % 50 == 0:\n        store.tick()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "s"], stdout=subprocess.PIPE) as writer:
        try:
            writer.stdout.readline()
            before, looks = 0.0, 0
            while before < 20_000:
                found = {series.name: value for series, value, _ in last_values(tmp_path / "s")}
                assert found.get("c", 0.0) >= before
                looks, before = looks + 1, found.get("c", 0.0)
        finally:
            writer.kill()
    assert looks > 10


def test_what_is_no_store_is_an_error(tmp_path, open_paths):
    """And leaves no descriptor open, nor does a look that succeeds."""
    with Store(tmp_path / "s", SCHEMAS):
        before = open_paths(tmp_path)
        for _ in range(5):
            last_values(tmp_path / "s")
            with pytest.raises(StoreNotFoundError):
                last_values(tmp_path / "none")
        assert open_paths(tmp_path) == before
