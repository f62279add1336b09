"""Points arrive in pandas and pyarrow as they are, with their times in UTC."""

import json
import sys

import numpy as np
import pytest

from rondo_core.errors import UsageError
from rondo_core.read import frames


@pytest.fixture
def read(store, clock):
    """Three series: one of two points, one that begins later, one without any."""
    first = store.gauge("g", n=1, help="A gauge.", unit="bytes")
    second = store.gauge("g", n=2)
    store.gauge("g", n=3)
    first.set(1.5)
    clock.advance(1)
    first.set(2.5)
    second.set(-4.0)
    return store.query("g", tier=0)


def test_a_series_becomes_what_json_holds(store, clock):
    """Its points with their intervals and coverage, and what the series is; no value that JSON has no word for."""
    gauge = store.gauge("g", n=1, unit="bytes")
    stamps = []
    for value in (1.5, float("inf"), float("-inf")):
        gauge.set(value)
        stamps.append(clock())
        clock.advance(1)
    (data,) = store.query("g", tier=0)
    assert json.loads(json.dumps(data.to_dict(), allow_nan=False)) == {
        "name": "g",
        "labels": {"n": "1"},
        "kind": "gauge",
        "unit": "bytes",
        "fn": "avg",
        "points": [list(each) for each in zip(stamps, (1.5, "inf", "-inf"), strict=True)],
        "interval_ns": [10**9] * 3,
        "coverage": [1] * 3,
        "error": 0.0,
    }


def test_a_series_becomes_a_pandas_series(read, clock):
    """Named by the series, indexed by UTC times of nanoseconds; one without points stays one."""
    pandas = pytest.importorskip("pandas")
    series = read[0].to_pandas()
    assert series.name == 'g{n="1"}'
    assert str(series.index.dtype) == "datetime64[ns, UTC]"
    assert series.tolist() == [1.5, 2.5]
    assert series.index[1] == pandas.Timestamp(clock(), tz="UTC")
    empty = read[2].to_pandas()
    assert len(empty) == 0
    assert str(empty.index.dtype) == "datetime64[ns, UTC]"


def test_many_series_become_one_frame(read):
    """A column each, NaN where a series has no point, times in order."""
    pytest.importorskip("pandas")
    frame = frames.to_pandas(read)
    assert list(frame.columns) == ['g{n="1"}', 'g{n="2"}', 'g{n="3"}']
    assert frame.index.is_monotonic_increasing
    assert np.array_equal(frame.to_numpy(), [[1.5, np.nan, np.nan], [2.5, -4.0, np.nan]], equal_nan=True)
    assert frames.to_pandas([]).shape == (0, 0)


def test_a_series_becomes_an_arrow_table(read):
    """Timestamps of ns in UTC, value, coverage, interval; what the series is in the metadata."""
    arrow = pytest.importorskip("pyarrow")
    table = read[0].to_arrow()
    assert table.column_names == ["timestamp", "value", "coverage", "interval_ns"]
    assert table.schema.field("timestamp").type == arrow.timestamp("ns", "UTC")
    assert table["timestamp"].cast(arrow.int64()).to_pylist() == read[0].timestamps_ns.tolist()
    assert table["value"].to_pylist() == [1.5, 2.5]
    assert table["coverage"].to_pylist() == [1, 1]
    assert table["interval_ns"].to_pylist() == [10**9, 10**9]
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    labels = json.loads(facts.pop("labels"))
    assert labels == {"n": "1"}
    assert facts == {"name": "g", "kind": "gauge", "unit": "bytes", "help": "A gauge.", "fn": "avg"}


def test_many_series_become_one_arrow_table(read):
    """Series after series, each row naming its own; none at all is an empty table with the same columns."""
    pytest.importorskip("pyarrow")
    table = frames.to_arrow(read)
    assert table["series"].to_pylist() == ['g{n="1"}', 'g{n="1"}', 'g{n="2"}']
    assert table["value"].to_pylist() == [1.5, 2.5, -4.0]
    facts = json.loads(table.schema.metadata[b"series"])
    assert [each["labels"]["n"] for each in facts] == ["1", "2", "3"]
    empty = frames.to_arrow([])
    assert empty.schema.equals(table.schema)
    assert len(empty) == 0


@pytest.mark.parametrize(("module", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_what_is_not_installed_is_named_with_its_mend(module, method, read, monkeypatch):
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    line = f"{method}: needs {module}, which is not installed; pip install {module}"
    with pytest.raises(UsageError, match=line):
        getattr(read[0], method)()
    with pytest.raises(UsageError, match=line):
        getattr(frames, method)(read)
