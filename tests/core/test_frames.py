"""Points arrive in pandas, pyarrow, matplotlib and notebooks as they are, with their times in UTC or a zone asked for."""

import json
import sys

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, StoresReader, Tier
from rondo_core.errors import RangeError, UsageError
from rondo_core.read import frames, html


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
    assert read.to_pandas().equals(frame)
    assert read[:2].to_pandas().equals(frame.iloc[:, :2])


def test_a_frame_has_its_times_in_the_zone_that_is_asked_for(read):
    """The same instants, called otherwise; a zone that there is not is refused by its name."""
    pandas = pytest.importorskip("pandas")
    frame = read.to_pandas(tz="Europe/Berlin")
    assert str(frame.index.tz) == "Europe/Berlin"
    assert (frame.index == read.to_pandas().index).all()
    assert str(read[:0].to_pandas(tz="Europe/Berlin").index.tz) == "Europe/Berlin"
    assert frame.index[0] == pandas.Timestamp(int(read[0].timestamps_ns[0]), tz="UTC")
    with pytest.raises(RangeError, match="Nowhere"):
        read.to_pandas(tz="Nowhere")


def test_what_a_directory_of_stores_gives_is_as_what_a_store_gives(tmp_path):
    """A column for each series of each store, also of one value for the whole range."""
    pytest.importorskip("pandas")
    for number in range(2):
        clock = ManualClock()
        with Store(tmp_path / f"s{number}", [Schema("g", "gauge", 4, (Tier("1s", "1m"),))], clock=clock) as store:
            for _ in range(3):
                store.gauge("g", n=1).set(number)
                clock.advance(1)
    with StoresReader(tmp_path) as reader:
        found = reader.query("g")
        assert list(found.to_pandas().columns) == ['g{n="1",rondo_store="s0"}', 'g{n="1",rondo_store="s1"}']
        assert found.to_pandas().to_numpy().tolist() == [[0.0, 1.0]] * 3
        assert [table.values.tolist() for table in found.tables] == [[[0.0]] * 3, [[1.0]] * 3]
        assert [str(each.series) for each in found[1:]] == ['g{n="1",rondo_store="s1"}']
        assert reader.query("g", fn="avg", agg=True).to_pandas().to_numpy().tolist() == [[0.5]]


def test_points_become_lines_that_end_where_buckets_are_absent(store, clock):
    """A series a line, over the times of its points; a point without a neighbour is a dot; marks stand upright."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import dates
    from matplotlib import pyplot as plt

    gauge = store.gauge("g", unit="bytes", cost="$a_{$")  # no formula, whatever it looks like
    store.mark("deploy")
    begin = clock()
    for second in range(6):
        if second not in {2, 4}:
            gauge.set(second)
        clock.advance(1)
    ax = store.query("g", tier=0).plot(tz="Europe/Berlin", events=store.view.events())
    line, dots, mark = ax.get_lines()
    y = np.array(line.get_ydata(), float)
    assert np.array_equal(y, [0, 1, np.nan, 3, np.nan, 5], equal_nan=True)
    assert dots.get_ydata().tolist() == [3, 5]
    seconds = dates.num2date(line.get_xdata(orig=False)[3]).timestamp()
    assert round(seconds) == begin // 10**9 + 3
    assert round(dates.num2date(mark.get_xdata(orig=False)[0]).timestamp()) == begin // 10**9
    assert ax.get_ylabel() == "bytes"
    ax.figure.canvas.draw()
    assert "Berlin" in str(ax.xaxis.get_major_formatter()._tz)
    other = plt.figure().add_subplot()
    assert store.query("g", "1..2").plot(other) is other
    assert "no points" in other.get_title()
    plt.close("all")


def test_a_notebook_shows_a_small_table_in_which_labels_are_text(store, clock):
    """Whatever they hold: no element of theirs, no attribute; well-formed; a line of the points, its gaps apart."""
    from xml.etree import ElementTree as ET

    gauge = store.gauge("g", path="<script>alert(1)</script>&\"'", unit="<b>")
    for second in range(9):
        if second != 4:
            gauge.set(float("inf") if second == 6 else second * 1e300)
        clock.advance(1)
    written = store.query("g", tier=0)._repr_html_()
    root = ET.fromstring(written)
    assert {each.tag for each in root.iter()} <= {
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "polyline",
        "circle",
    }
    cells = [each.text for each in root.iter("td")]
    assert cells[0] == str(gauge.series)
    assert cells[1:4] == ["avg", "8", "8e+300 <b>"]
    assert [len(each.get("points").split()) for each in root.iter("polyline")] == [4, 2]
    assert len(list(root.iter("circle"))) == 1  # before the infinity


def test_what_is_long_is_shown_short_with_its_extremes(store, clock):
    """So many rows and points as one can look at; the least and the greatest of all are among them."""
    for number in range(8):
        store.gauge("g", n=number).set(1)
    found = store.query("g")
    assert html.as_html([*found] * 10).count("<tr>") == 31
    assert "and 50 more series" in html.as_html([*found] * 10)
    values = np.sin(np.arange(100_000.0))
    values[54_321] = 7
    picked = values[html._extremes(values)]
    assert len(picked) <= html.MOST_POINTS
    assert (picked.max(), picked[0], picked[-1]) == (7, values[0], values[-1])
    assert "<svg" not in store.query("g", "1..2")._repr_html_()


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
    with pytest.raises(UsageError, match=line):
        getattr(read, method)()


def test_a_plot_without_matplotlib_names_the_extra_that_brings_it(read, monkeypatch):
    """One line."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(UsageError, match=r"plot: needs matplotlib, .*; pip install matplotlib"):
        read.plot()
