"""What a receiver would not take is said with its reason and its samples, by series, and nothing is asked of anyone."""

import numpy as np
import pytest

from rondo_core import Batch, Plugins
from rondo_core.errors import UsageError
from rondo_core.plugins.manager import EXPORTERS

NAN, INF = float("nan"), float("inf")
S = 10**9
NOW_NS = 1_800_000_000 * S
URL = "http://receiver.invalid/api/v1/write"


@pytest.fixture
def opened(monkeypatch):
    """Open a dry run by its table, as of NOW_NS."""
    from rondo_exporter_prometheus import dry_run

    plain = dry_run.RemoteWriteDryRun

    def at_now(settings, limits):
        return plain(settings, limits, lambda: NOW_NS)

    monkeypatch.setattr(dry_run, "RemoteWriteDryRun", at_now)

    def open_(**config):
        plugins = Plugins(config={"prometheus": {"url": URL, **config}})
        plugins.load(EXPORTERS, ["prometheus"])
        return plugins.open("rondo_dry_run_open", "prometheus")

    return open_


def found(dry, *parts):
    dry.send(Batch(parts))
    return {(each.reason, each.series): each.samples for each in dry.forecast().refusals}


def gauges(make_part, names, rows, start_ns=NOW_NS - 60 * S):
    return make_part("gauge", names, rows, start_ns, last=np.ones((rows, len(names))))


@pytest.mark.parametrize(
    ("receiver", "limits", "labels", "reason"),
    [
        ("mimir", {}, {f"l{n}": "x" for n in range(30)}, "more than 30 labels"),
        ("mimir", {"value_bytes": "1000"}, {"l": "x" * 1001}, "a label's value of more than 1000 bytes"),
        ("cortex", {"name_bytes": "99"}, {"l" * 100: "x"}, "a label's name of more than 99 bytes"),
        (
            "victoriametrics",
            {},
            {"l" * 257: "x"},
            "a label's name of more than 256 bytes: answered 2xx, and not stored so",
        ),
        ("prometheus", {"labels": "2"}, {"a": "x", "b": "x"}, "more than 2 labels"),
        (None, {"value_bytes": "1000"}, {"l": "x" * 1001}, "a label's value of more than 1000 bytes"),
    ],
)
def test_labels_beyond_a_limit_are_named_and_those_at_it_are_not(opened, make_part, receiver, limits, labels, reason):
    """The name counts as one label, as it does where receivers count; one less of what is too much is taken."""
    config = {"limits": limits} | ({"receiver": receiver} if receiver else {})
    name, value = list(labels.items())[-1]
    less = {each: labels[each] for each in list(labels)[:-1]} | ({} if len(labels) > 1 else {name: value[1:]})
    if len(name) > 99:
        less = {name[1:]: value}
    dry = opened(**config)
    part = gauges(make_part, [("good", less), ("bad", labels)], 3)
    dry.send(Batch((part,)))
    (refusal,) = dry.forecast().refusals
    assert (refusal.reason, refusal.samples) == (reason, 3)
    assert refusal.series.startswith("bad{")


def test_external_labels_count_and_what_a_summary_adds_does_too(opened, make_part):
    """What is sent is held against the limits, not what is stored: the label quantile is one of a sketched summary's."""
    dry = opened(external_labels="zone=eu", limits={"labels": "3"})
    assert found(dry, gauges(make_part, [("two", {"a": "1"}), ("three", {"a": "1", "b": "2"})], 2)) == {
        ("more than 3 labels", 'three{a="1",b="2",zone="eu"}'): 2
    }


def test_times_are_held_against_the_window_and_the_clock(opened, make_part):
    """Each row beyond the window, and ahead of the clock, counts for each series that has a sample in it."""
    dry = opened(receiver="mimir")
    late = gauges(make_part, ["a", "b"], 4, NOW_NS - 3602 * S)
    late.statistics["last"][0, 1] = NAN
    early = gauges(make_part, ["a"], 3, NOW_NS + 599 * S)
    older, ahead = "older than 1h before the receiver's newest sample", "more than 10m ahead of the clock"
    assert found(dry, late, early) == {(older, "a"): 2, (older, "b"): 1, (ahead, "a"): 1}
    assert found(opened(receiver="mimir", limits={"window": "2h", "ahead": "0"}), late, early) == {}
    assert found(opened(), late, early) == {}


def test_a_series_is_counted_for_one_reason_only(opened, make_part):
    """One whose labels are beyond a limit is not counted again for its times."""
    dry = opened(receiver="prometheus", limits={"labels": "1"})
    part = gauges(make_part, [("a", {"l": "x"}), "b"], 2, NOW_NS - 7200 * S)
    assert found(dry, part) == {
        ("more than 1 labels", 'a{l="x"}'): 2,
        ("older than 1h before the receiver's newest sample", "b"): 2,
    }


def test_infinite_values_are_named_where_they_are_dropped(opened, make_part):
    """InfluxDB answers 2xx to them, and has none."""
    part = make_part("gauge", ["a", "b"], 3, NOW_NS - 9 * S, last=[[1, INF], [2, 3], [-INF, INF]])
    reason = "an infinite value: answered 2xx, and not stored so"
    assert found(opened(receiver="influxdb"), part) == {(reason, "a"): 1, (reason, "b"): 2}
    assert found(opened(receiver="prometheus"), part) == {}


def test_two_series_of_one_name_are_told_as_the_export_would_tell_them(opened, make_part):
    """The second is left out, and its samples count."""
    empty = gauges(make_part, [("a", {}), ("a", {"l": ""})], 2)
    assert found(opened(), empty) == {("left out: another series has its name, or none may", 'a{l=""}'): 2}


def test_requests_and_rates_are_noted(opened, make_part):
    """The size of what is sent is that of the requests; what is too large, too many or too fast for defaults is said."""
    part = gauges(make_part, [f"m{n}" for n in range(50)], 60)
    dry = opened(limits={"message_bytes": "1KiB", "series": "49", "samples_per_s": "100"})
    dry.send(Batch((part,)))
    notes = dry.forecast().notes
    assert any("1.0 KiB" in note and "max_bytes" in note for note in notes)
    assert any(note.startswith("50 series: the receiver takes 49") for note in notes)
    assert any("30s or longer" in note for note in notes)


def test_the_bytes_are_those_that_the_exporter_sends(opened, make_part, receiver):
    """As they go over the wire."""
    batch = Batch((gauges(make_part, ["a", "b"], 40),))
    dry = opened(protocol="1.0")
    plugins = Plugins(config={"prometheus": {"url": receiver.url, "protocol": "1.0"}})
    plugins.load(EXPORTERS, ["prometheus"])
    exporter = plugins.open("rondo_exporter_open", "prometheus")
    for each in (exporter, dry):
        each.send(batch)
        each.close()
    ((_, headers, sent),) = receiver.requests
    assert sent
    assert dry.forecast().sent_bytes == int(headers["Content-Length"])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"windows": "1h"}, "windows: no such limit"),
        ({"window": "soon"}, "window: 'soon'"),
        ({"labels": "x"}, "not a number"),
        ({"labels": "-1"}, "below 0"),
    ],
)
def test_a_limit_that_cannot_be_is_named(opened, limits, said):
    """With what can be."""
    with pytest.raises(UsageError, match=said):
        opened(limits=limits)
