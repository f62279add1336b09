"""Batches made by hand arrive in a real Prometheus as they are: no store, no runner, the plugin's object alone."""

import math
import time

import numpy as np
import pytest

from rondo_core import Batch, Part, Plugins, Series
from rondo_core.errors import ExportError, PermanentExportError, RetryableExportError
from rondo_core.plugins.manager import EXPORTERS

pytestmark = pytest.mark.prometheus

S, MS = 10**9, 10**6
NAN, INF = math.nan, math.inf


def rondo_exporter_open(config):
    plugins = Plugins(config={"prometheus": config})
    plugins.load(EXPORTERS, ["prometheus"])
    return plugins.open("rondo_exporter_open", "prometheus")


def part(kind, series, stamps_ns, **statistics):
    """Make a part of one kind: series as (name, labels) pairs, each statistic as rows of values."""
    made = tuple(Series(name, labels, kind, f"{kind}s", column) for column, (name, labels) in enumerate(series))
    stamps = np.array(stamps_ns, np.int64)
    values = {name: np.array(each, np.float64).reshape(len(stamps), len(made)) for name, each in statistics.items()}
    return Part(f"{kind}s", 0, S, kind, made, stamps, values)


@pytest.fixture
def first_ns():
    """A minute ago, 7 ms into a second and 999 ns into a millisecond: what is below a millisecond is cut off."""
    return (int(time.time()) - 60) * S + 7 * MS + 999


@pytest.fixture
def exporter(prometheus):
    opened = rondo_exporter_open({"url": prometheus.write_url, "external_labels": "instance=vm1"})
    yield opened
    opened.close()


def stored(prometheus, first_ns):
    """Give every sample that the server holds, by name alone: each series here has a name of its own."""
    raw = prometheus.raw('{__name__=~".+"}', first_ns / S + 120, "10m")
    return {dict(labels)["__name__"]: points for labels, points in raw.items()}


def test_every_kind_arrives_with_its_times_values_and_labels(exporter, prometheus, first_ns):
    """A minute of a counter, a gauge and a summary is stored sample for sample, to the ms and to the last bit."""
    rows = 60
    stamps_ns = [first_ns + row * S for row in range(rows)]
    ms = [stamp // MS for stamp in stamps_ns]
    total = [row * 0.1 for row in range(rows)]
    level = [NAN if row % 5 == 0 else INF if row == 7 else -1e-300 / (row + 1) for row in range(rows)]
    count = [NAN if row % 7 == 3 else float(row % 3) for row in range(rows)]
    base = np.concatenate([[0], np.cumsum(np.nan_to_num(count))])[:-1].tolist()
    low = [0.1 + row if count[row] > 0 else INF for row in range(rows)]
    high = [0.3 + row if count[row] > 0 else -INF for row in range(rows)]
    exporter.send(
        Batch(
            (
                part("counter", [("hits_total", (("code", "200"),))], stamps_ns, last=total),
                part("gauge", [("level", (("instance", "own"), ("room", 'a"b\\c é')))], stamps_ns, last=level),
                part(
                    "summary",
                    [("wait", ())],
                    stamps_ns,
                    count=count,
                    sum=[each * 2.5 for each in count],
                    min=low,
                    max=high,
                    count_base=base,
                    sum_base=[each * 2.5 for each in base],
                ),
            )
        )
    )
    present = [row for row in range(rows) if not math.isnan(count[row])]
    observed = [row for row in present if count[row] > 0]
    assert stored(prometheus, first_ns) == {
        "hits_total": list(zip(ms, total, strict=True)),
        "level": [(ms[row], level[row]) for row in range(rows) if not math.isnan(level[row])],
        "wait_count": [(ms[row], base[row] + count[row]) for row in present],
        "wait_sum": [(ms[row], (base[row] + count[row]) * 2.5) for row in present],
        "wait_min": [(ms[row], low[row]) for row in observed],
        "wait_max": [(ms[row], high[row]) for row in observed],
    }
    labels = {frozenset(each["metric"].items()) for each in prometheus.query("hits_total or level", ms[-1] / 1000)}
    assert labels == {
        frozenset({"__name__": "hits_total", "code": "200", "instance": "vm1"}.items()),
        frozenset({"__name__": "level", "instance": "vm1", "exported_instance": "own", "room": 'a"b\\c é'}.items()),
    }


def test_the_last_samples_again_are_taken_as_the_same(exporter, prometheus, first_ns):
    """A resend of each series' last sample is acknowledged and changes nothing."""
    whole = part("gauge", [("level", ()), ("depth", ())], [first_ns, first_ns + S], last=[[1, 2], [3, 4]])
    exporter.send(Batch((whole,)))
    before = stored(prometheus, first_ns)
    exporter.send(Batch((whole.rows(slice(1, None)),)))
    assert (
        stored(prometheus, first_ns)
        == before
        == {
            "level": [(first_ns // MS, 1), (first_ns // MS + 1000, 3)],
            "depth": [(first_ns // MS, 2), (first_ns // MS + 1000, 4)],
        }
    )


@pytest.mark.parametrize(
    ("row", "value", "said"), [(1, 9.0, "duplicate sample for timestamp"), (0, 1.0, "out of order sample")]
)
def test_what_prometheus_refuses_is_permanent_and_rolls_all_back(exporter, prometheus, first_ns, row, value, said):
    """Another value at a time that is taken, or an older sample: refused for good, with what came in the same request."""
    series = [("level", ())]
    exporter.send(Batch((part("gauge", series, [first_ns, first_ns + S], last=[1, 3]),)))
    before = stored(prometheus, first_ns)
    good = part("counter", [("hits_total", ())], [first_ns + S], last=[5])
    bad = part("gauge", series, [first_ns + row * S], last=[value])
    with pytest.raises(PermanentExportError, match=said):
        exporter.send(Batch((good, bad)))
    assert stored(prometheus, first_ns) == before
    exporter.send(Batch((good,)))
    assert stored(prometheus, first_ns) == {**before, "hits_total": [(first_ns // MS + 1000, 5)]}


def test_an_ended_series_leaves_instant_queries_at_once(exporter, prometheus, first_ns):
    """Up to its last ms a series is seen; 1 ms later it is not, under any name, and no sample was added."""
    summary = {name: [2.0] for name in ("count", "sum", "min", "max", "count_base", "sum_base")}
    rows = (
        part("gauge", [("level", ())], [first_ns], last=[1]),
        part("summary", [("wait", ())], [first_ns], **summary),
    )
    exporter.send(Batch(rows))
    before = stored(prometheus, first_ns)
    assert set(before) == {"level", "wait_count", "wait_sum", "wait_min", "wait_max"}
    ended = Batch((), tuple(each.series[0] for each in rows), first_ns)
    for _ in range(2):  # the second is a resend: the marker is acknowledged again
        exporter.send(ended)
    last_s = first_ns // MS / 1000
    assert len(prometheus.instant('{__name__=~".+"}', last_s)) == 5
    assert prometheus.instant('{__name__=~".+"}', last_s + 0.001) == {}
    assert stored(prometheus, first_ns) == before


def test_a_wrong_path_stops_and_a_server_that_is_gone_does_not(prometheus, first_ns):
    """404 is a wrong config; no server is a reason to try again."""
    batch = Batch((part("gauge", [("level", ())], [first_ns], last=[1]),))
    astray = rondo_exporter_open({"url": f"{prometheus.url}/no/such/path"})
    with pytest.raises(ExportError, match="answered 404") as caught:
        astray.send(batch)
    assert type(caught.value) is ExportError
    astray.close()
    exporter = rondo_exporter_open({"url": prometheus.write_url})
    prometheus.stop()
    with pytest.raises(RetryableExportError, match="no connection"):
        exporter.send(batch)
    exporter.close()
