"""What a batch becomes on the wire."""

import logging
import math
import runpy
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rondo_exporter_prometheus.columns import LabelSets
from rondo_exporter_prometheus.encode import Encoder as Encoder1
from rondo_exporter_prometheus.encode2 import Encoder2

from rondo_core import Batch, Part, Series

WriteRequest = runpy.run_path(str(Path(__file__).with_name("remote_write_pb2.py")))["WriteRequest"]
NAN, INF = math.nan, math.inf
S, MS = 10**9, 1_700_000_000_000
STALE_BITS = 0x7FF0000000000002


def Encoder(external=(), *, zeroes=False):
    return Encoder1(LabelSets(external), zeroes=zeroes)


def born(part):
    """The part, its series declared within its first bucket."""
    declared_ns = int(part.timestamps_ns[0]) + 5
    return attrs.evolve(part, series=tuple(each._replace(created_ns=declared_ns) for each in part.series))


def test_counters_and_gauges_are_sent_under_their_own_name(make_part, read_wire):
    """A sample is the bucket's last value at the bucket's first millisecond; labels follow the name."""
    counters = make_part("counter", [("hits_total", {"code": "200"})], 2, last=[5, 7])
    gauges = make_part("gauge", ["level", "depth"], 2, last=[[1, -2], [1.5, 1e300]])
    assert read_wire(Encoder().encode(Batch((counters, gauges)))) == {
        "hits_total{code=200}": [(MS, 5), (MS + 1000, 7)],
        "level": [(MS, 1), (MS + 1000, 1.5)],
        "depth": [(MS, -2), (MS + 1000, 1e300)],
    }


def test_a_total_begins_with_a_zero_once(make_part, read_wire):
    """A sample of 0 goes one bucket before a total's first one, with it alone: who goes on later sends no second one."""
    made = born(make_part("counter", ["hits_total"], 3, last=[5, 7, 8]))
    first, later = Batch((made.rows(slice(0, 2)),)), Batch((made.rows(slice(2, 3)),))
    encoder = Encoder(zeroes=True)
    assert read_wire(encoder.encode(first)) == {"hits_total": [(MS - 1000, 0), (MS, 5), (MS + 1000, 7)]}
    assert read_wire(encoder.encode(first)) == read_wire(Encoder(zeroes=True).encode(first))
    assert read_wire(encoder.encode(later)) == {"hits_total": [(MS + 2000, 8)]}
    assert read_wire(Encoder(zeroes=True).encode(later)) == {"hits_total": [(MS + 2000, 8)]}
    assert read_wire(Encoder().encode(first)) == {"hits_total": [(MS, 5), (MS + 1000, 7)]}
    level = born(make_part("gauge", ["level"], 1, last=[5]))
    assert read_wire(encoder.encode(Batch((level,)))) == {"level": [(MS, 5)]}


def test_a_coarser_tier_begins_where_the_finest_would_have(make_part, read_wire):
    """A window that stands in for the buckets of a birth has the zero of the finest tier before it."""
    made = born(make_part("counter", ["hits_total"], 1, last=[5]))
    window = attrs.evolve(made, tier=1, interval_ns=10 * S, timestamps_ns=made.timestamps_ns + 9 * S)
    assert read_wire(Encoder(zeroes=True).encode(Batch((window,)))) == {"hits_total": [(MS - 1000, 0), (MS + 9000, 5)]}


def test_absent_is_not_sent_and_infinity_and_zero_are(make_part, parse_request):
    """NaN is absent: no sample, and no series where all are; infinities and both zeros keep their bits."""
    part = make_part("gauge", ["some", "none"], 5, last=[[NAN, NAN], [INF, NAN], [-INF, NAN], [0.0, NAN], [-0.0, NAN]])
    [(labels, samples)] = parse_request(Encoder().encode(Batch((part,))))
    assert labels == (("__name__", "some"),)
    assert samples == [
        (MS + 1000, 0x7FF0000000000000),
        (MS + 2000, 0xFFF0000000000000),
        (MS + 3000, 0),
        (MS + 4000, 1 << 63),
    ]


def test_a_summary_is_four_series_of_running_totals_and_extremes(make_part, read_wire):
    """Count and sum are base + bucket wherever count is known; min and max come only with observations."""
    part = make_part(
        "summary",
        ["wait"],
        4,
        count=[2, 0, NAN, 1],
        sum=[3.5, 0, NAN, 4],
        min=[1, INF, NAN, 4],
        max=[2.5, -INF, NAN, 4],
        count_base=[10, 12, NAN, 12],
        sum_base=[100, 103.5, NAN, 103.5],
    )
    assert read_wire(Encoder().encode(Batch((part,)))) == {
        "wait_count": [(MS, 12), (MS + 1000, 12), (MS + 3000, 13)],
        "wait_sum": [(MS, 103.5), (MS + 1000, 103.5), (MS + 3000, 107.5)],
        "wait_min": [(MS, 1), (MS + 3000, 4)],
        "wait_max": [(MS, 2.5), (MS + 3000, 4)],
    }


def test_labels_are_sorted_by_byte_and_external_ones_win(make_part, parse_request):
    """Upper case comes before __name__; a series' own label is sent as exported_NAME; an empty one is no label."""
    part = make_part("gauge", [("level", {"Zone": "z", "instance": "own", "empty": ""})], 1, last=[1])
    external = (("instance", "vm1"), ("a", "é"), ("B", "b"))
    [(labels, _)] = parse_request(Encoder(external).encode(Batch((part,))))
    assert labels == (
        ("B", "b"),
        ("Zone", "z"),
        ("__name__", "level"),
        ("a", "é"),
        ("exported_instance", "own"),
        ("instance", "vm1"),
    )


def test_the_end_of_a_run_marks_every_name_stale_once(make_part, parse_request):
    """Each name of each ended series gets one marker with the protocol's bits, 1 ms after the newest sample."""
    ended = tuple(
        Series(name, (), kind, f"{kind}s", 0)
        for name, kind in (("a_total", "counter"), ("b", "gauge"), ("c", "summary"))
    )
    sent = parse_request(Encoder().encode(Batch((), ended, MS * 10**6 + 999_999)))
    names = [dict(labels)["__name__"] for labels, _ in sent]
    assert names == ["a_total", "b", "c_count", "c_sum", "c_min", "c_max"]
    assert all(samples == [(MS + 1, STALE_BITS)] for _, samples in sent)


def test_samples_and_the_marker_of_one_series_are_one_series_in_time_order(make_part, read_wire):
    """A batch with rows and an end gives one TimeSeries for each label set, the marker last."""
    part = make_part("gauge", ["level"], 2, last=[1, 2])
    batch = Batch((part,), part.series, (MS + 1000) * 10**6)
    assert read_wire(Encoder().encode(batch)) == {"level": [(MS, 1), (MS + 1000, 2), (MS + 1001, "stale")]}


def test_nothing_to_send_is_no_bytes(make_part):
    """A batch without a sample and without an end has no request."""
    assert Encoder().encode(Batch(())) == b""
    assert Encoder().encode(Batch((make_part("gauge", ["level"], 2, last=[NAN, NAN]),))) == b""
    assert Encoder().encode(Batch((make_part("gauge", ["level"], 0, last=[]),))) == b""
    assert Encoder().encode(Batch((make_part("gauge", [], 2, last=[]),))) == b""


@pytest.mark.parametrize("width", range(1, 7))
def test_timestamps_of_every_width_are_exact(make_part, read_wire, width):
    """Where a timestamp's varint grows by a byte within a part, every sample keeps its place and value."""
    edge_ms = 1 << 7 * width
    stamps_ms = [-edge_ms, -1, 0, 1, edge_ms - 1, edge_ms, edge_ms + 1]
    part = make_part("gauge", ["level"], [ms * 10**6 for ms in stamps_ms], last=range(7))
    expected = [(ms, float(row)) for row, ms in enumerate(stamps_ms)]
    assert read_wire(Encoder().encode(Batch((part,)))) == {"level": expected}


def test_the_same_batch_gives_the_same_bytes(make_part):
    """Encoding is deterministic, for one encoder and across encoders: a retry resends what was sent."""
    part = make_part("gauge", [("level", {"n": str(n)}) for n in range(9)], 3, last=np.arange(27.0).reshape(3, 9))
    batch = Batch((part,), part.series, MS * 10**6)
    encoder = Encoder((("x", "y"),))
    assert encoder.encode(batch) == encoder.encode(batch) == Encoder((("x", "y"),)).encode(batch)


def test_one_label_set_has_one_owner(make_part, read_wire, caplog):
    """Of two series that are one on the wire the first sent keeps it for good; the other is left out and named."""
    summary = {name: [1.0] for name in ("count", "sum", "min", "max", "count_base", "sum_base")}
    clashing = make_part("counter", ["wait_count"], 1, last=[99])
    encoder = Encoder()
    with caplog.at_level(logging.WARNING, "rondo.export.prometheus"):
        first = read_wire(encoder.encode(Batch((make_part("summary", ["wait"], 1, **summary), clashing))))
        again = encoder.encode(Batch((clashing,)))
    assert first["wait_count"] == [(MS, 2)]
    assert again == b""
    assert [record.getMessage() for record in caplog.records] == [
        "wait_count: left out as wait_count; another series is sent under that name and these labels"
    ]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("bad", (("a", "1"), ("a", "2"))),
        ("bad", (("a-b", "1"),)),
        ("bad", (("__name__", "other"),)),
        ("bad", (("a", "\ud800"),)),
        ("bad name", ()),
    ],
)
def test_a_series_that_no_receiver_may_be_sent_is_left_out_alone(make_part, read_wire, caplog, name, labels):
    """Repeated or invalid labels: that series has neither samples nor marker, once in words; the others are sent."""
    bad, good = Series(name, labels, "gauge", "g", 0), Series("good", (), "gauge", "g", 1)
    part = attrs.evolve(make_part("gauge", ["x", "y"], 1, last=[[1, 2]]), series=(bad, good))
    encoder, batch = Encoder(), Batch((part,), (bad, good), MS * 10**6)
    with caplog.at_level(logging.WARNING, "rondo.export.prometheus"):
        sent = [read_wire(encoder.encode(batch)) for _ in range(2)]
    assert sent == [{"good": [(MS, 2), (MS + 1, "stale")]}] * 2
    (said,) = [record.getMessage() for record in caplog.records if "left out as " + name in record.getMessage()]
    assert said.isprintable()


def test_parts_of_one_series_follow_each_other(make_part, read_wire):
    """Two parts with the same series give one TimeSeries, in the order of the parts."""
    early, late = (make_part("gauge", ["level"], [at * S], last=[at]) for at in (1, 2))
    assert read_wire(Encoder().encode(Batch((early, late)))) == {"level": [(1000, 1), (2000, 2)]}


label_names = st.from_regex("[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda name: name[:2] != "__")
label_sets = st.dictionaries(label_names, st.text(max_size=200).filter(lambda s: s.isprintable()), max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(label_sets, min_size=1, max_size=5, unique_by=lambda labels: str(sorted(labels.items()))),
    label_sets,
    st.lists(st.integers(-(2**62), 2**62), max_size=6, unique_by=lambda ns: ns // 10**6).map(sorted),
    st.data(),
)
def test_protobuf_reads_what_was_written(sets, external, stamps, data):
    """For any labels, timestamps and values protobuf reads back what a plain loop says should be there."""
    series = tuple(Series("m", tuple(sorted(each.items())), "gauge", "g", i) for i, each in enumerate(sets))
    cells = st.lists(st.floats(width=64), min_size=len(stamps) * len(sets), max_size=len(stamps) * len(sets))
    values = np.array(data.draw(cells), np.float64).reshape(len(stamps), len(sets))
    part = Part("g", 0, S, "gauge", series, np.array(stamps, np.int64), {"last": values})
    expected = {}
    for column, labels in enumerate(sets):
        own = {key: value for key, value in labels.items() if value}
        sent = {**own, **external}
        for name in sorted(own.keys() & external.keys(), key=lambda name: (len(name), name)):
            kept = "exported_" + name
            while kept in sent:
                kept = "exported_" + kept
            sent[kept] = own[name]
        sent = {key: value for key, value in sent.items() if value}
        whole = tuple(sorted({**sent, "__name__": "m"}.items()))
        samples = [(ns // 10**6, v) for ns, v in zip(stamps, values[:, column].tolist(), strict=True) if v == v]
        if samples and whole not in expected:  # another set may have become the same: the first to be sent keeps it
            expected[whole] = samples
    request = WriteRequest.FromString(Encoder(tuple(external.items())).encode(Batch((part,))))
    read = {
        tuple((label.name, label.value) for label in each.labels): [(s.timestamp, s.value) for s in each.samples]
        for each in request.timeseries
    }
    assert read == expected


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_is_kept_of_the_request_before_changes_no_byte(make_part, version):
    """Requests that follow each other with the same series, with others, with gaps and with ends are as if each was alone."""
    labelled = [("a", {"x": "1"}), ("a", {"x": "2"}), "b"]
    names = make_part("gauge", labelled, 1, last=[1.0, 2.0, 3.0]).series
    counters = make_part("counter", ["c_total", "d_total"], 1, last=[1.0, 2.0]).series

    def encoder():
        return (Encoder1 if version == "1.0" else Encoder2)(LabelSets((("site", "lab"),)))

    def batch(row, *, gap=False, short=False, ended=False, more=True):
        values = [row + 0.5, math.nan if gap else 2.0, 3.0]
        gauges = attrs.evolve(make_part("gauge", labelled, [(MS // 1000 + row) * S], last=values), series=names)
        totals = attrs.evolve(
            make_part("counter", ["c_total", "d_total"], [(MS // 1000 + row) * S], last=[1.0, 2.0]), series=counters
        )
        parts = (gauges.columns(slice(2)) if short else gauges, *((totals,) if more else ()))
        return Batch(parts, names if ended else (), (MS // 1000 + row) * S)

    turns = [{}, {}, {"gap": True}, {}, {}, {"short": True}, {"more": False}, {"more": False}, {}, {"ended": True}, {}]
    going = encoder()
    for row, turn in enumerate(turns):
        alone = encoder().encode(batch(row, **turn))
        assert going.encode(batch(row, **turn)) == alone
        assert alone
