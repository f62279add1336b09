"""What people write: durations, instants, ranges, selectors, labels."""

import contextlib

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rondo_core.errors import LabelError, RangeError, SelectorError, UsageError
from rondo_core.model.labels import Series, canonical_labels, format_series
from rondo_core.model.ranges import parse_range
from rondo_core.model.selector import parse_selector
from rondo_core.units import format_duration, format_instant, parse_duration_ns, parse_instant_ns, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "ns"),
    [("15m", 900 * 10**9), ("1h30m", 5400 * 10**9), ("90", 90 * 10**9), ("1.5s", 1_500_000_000), ("250ms", 250_000_000),
     ("7d", 604_800 * 10**9), ("1w", 604_800 * 10**9), ("1us", 1000), ("0.000000001s", 1)],
)  # fmt: skip
def test_durations(text, ns):
    """Units add up; a bare number is seconds; nothing is lost to floats."""
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "m", "15", "x15m", "15m!", "1h 30m", "-5m", "0s", "1y", "9" * 30, "1e3s", "∞"])
def test_what_is_no_duration(text):
    """One line that says what to write; never a guess."""
    if text == "15":
        assert parse_duration_ns(text) == 15 * 10**9
        return
    with pytest.raises(RangeError):
        parse_duration_ns(text)


@given(st.integers(1, 10**6))
def test_a_formatted_duration_reads_back(seconds):
    """format_duration and parse_duration_ns agree, to three units."""
    text = format_duration(seconds * 10**9)
    assert abs(parse_duration_ns(text) - seconds * 10**9) < 60 * 10**9


@given(st.integers(0, 2**62))
def test_a_formatted_instant_reads_back_exactly(ns):
    """No nanosecond is lost."""
    text = format_instant(ns)
    assert abs(parse_instant_ns(text) - ns) < 1000
    assert parse_instant_ns(format_instant(ns - ns % 1000)) == ns - ns % 1000


@pytest.mark.parametrize(
    "text", ["", "..", "1..", "..1", "a..b", "5..5", "2023-01-01..2022-01-01", "1m..2m", "all..all"]
)
def test_ranges_that_are_none(text):
    """Half-open sides are allowed; everything else is refused with what to write."""
    if text in {"..", "1..", "..1"}:
        assert parse_range(text).start_ns <= parse_range(text).end_ns
        return
    with pytest.raises(RangeError):
        parse_range(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parsers(text):
    """Any text is either read or refused with a usage error."""
    for parse in (parse_selector, parse_range, parse_duration_ns, parse_instant_ns, parse_size_bytes):
        with contextlib.suppress(UsageError):
            parse(text)


@given(st.text(alphabet="ab{}=,!~\"'\\ |(.*", max_size=25))
def test_a_selectors_error_says_where(text):
    """The position lies in the text."""
    position = 0
    try:
        parse_selector(text)
    except SelectorError as error:
        position = error.position
    assert 0 <= position <= len(text)


SERIES = Series("jobs_total", (("code", "200"), ("queue", 'a"b')), "counter", "counters", 0)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [("jobs_total", True), ("", True), ("{}", True), ("jobs", False), ("jobs_total{code=200}", True), ("{code=200}", True),
     ("jobs_total{ code = '200' , }", True), ("jobs_total{code!=200}", False), ("jobs_total{code=~2..}", True),
     ("jobs_total{code=~2}", False), ("jobs_total{code!~'5..'}", True), ("jobs_total{absent=''}", True),
     ("jobs_total{absent!=x}", True), ('jobs_total{queue="a\\"b"}', True), ("{__name__=~'jobs_.*'}", True)],
)  # fmt: skip
def test_selectors_match(selector, matches):
    """As Prometheus has it: regular expressions are anchored, a label that is not there is the empty text."""
    assert parse_selector(selector).matches(SERIES) is matches


def test_label_sets_are_canonical():
    """Sorted, values as text, empty values left out."""
    assert canonical_labels({"b": 1, "a": "x", "c": ""}) == (("a", "x"), ("b", "1"))
    assert format_series("n", (("a", 'q"\\\n'),)) == 'n{a="q\\"\\\\\\n"}'
    for bad in ([("a", "1"), ("a", "2")], {"a": "\ud800"}, {"a": "x" * 1025}):
        with pytest.raises(LabelError):
            canonical_labels(bad)


def test_a_selector_takes_the_compiler_of_its_expressions():
    """A stranger's selector is read with another one than the owner's; what it cannot take is said where it stands."""
    seen = []

    def compiler(pattern):
        seen.append(pattern)
        if pattern == "no":
            raise ValueError("never")
        return lambda text: text == pattern

    series = Series("m", (("a", "x.*"),), "gauge", "gauges", 0)
    for _ in range(2):  # nothing of it is remembered
        assert parse_selector('m{a=~"x.*"}', compiler).matches(series)
    assert not parse_selector('m{a!~"x.*"}', compiler).matches(series)
    assert seen == ["x.*"] * 3
    with pytest.raises(SelectorError, match=r"at character 6: not a regular expression \(never\)") as caught:
        parse_selector('m{a=~"no"}', compiler)
    assert caught.value.position == 5
    assert parse_selector('m{a=~"x.*"}').matches(series)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000 + "s",
        "9" * 60_000,
        "1s" * 5000 + "!",
        "0." + "1" * 5000,
        "1." * 3000,
        "٣m",
        "\uff12\uff10",
        "1e400",
        "nan",
        "inf",
    ],
)
def test_no_number_is_too_long_to_be_refused(text):
    """Thousands of digits, digits of other scripts and what floats have besides: one line, at once."""
    for parse in (parse_duration_ns, parse_instant_ns, parse_range):
        with pytest.raises(RangeError):
            parse(text)
    if not text.startswith("1s"):
        with pytest.raises(RangeError):
            parse_size_bytes(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        *[(text, 2**30) for text in ("1G", "1g", "1Gi", "1GiB", "1 gib", "1024M", "1048576k", "1073741824", "1073741824 B")],
        *[(text, 10**9) for text in ("1GB", "1gb", "1000 MB", "1000000kB", "1000000KB")],
        ("1.5K", 1536),
        ("2T", 2**41),
    ],
)  # fmt: skip
def test_sizes_are_read_in_the_units_of_systemd_and_docker(text, size_bytes):
    """A letter alone is binary, as with Ki and KiB; KB and its kin are decimal; whether they are small makes no difference."""
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "G", "1X", "1bb", "1Kbb", "1iB", "-1G", "1G5", "1\u212a", "1e9"])
def test_what_is_no_size_is_refused_with_what_to_write(text):
    """One line, whatever letters there are."""
    with pytest.raises(RangeError, match="not a size; write 4096, 64KiB, 512M or "):
        parse_size_bytes(text)


def test_a_query_within_a_budget_reads_no_more(store, clock):
    """Points, values and time are counted before anything is read; what one query leaves is another's of the same."""
    from rondo_core.errors import QueryLimitError
    from rondo_core.read.budget import Budget

    gauges = [store.gauge("g", i=n) for n in range(8)]
    for _ in range(20):
        for gauge in gauges:
            gauge.set(1.0)
        store.tick()
        clock.advance(1)
    found = store.view.query("g", budget=Budget(160, 1000, 10**10))
    assert sum(map(len, found)) == 160
    with pytest.raises(
        QueryLimitError, match=r"more than 159 points; give a shorter range, a coarser tier or fewer series"
    ):
        store.view.query("g", budget=Budget(159, 1000, 10**10))
    assert len(store.view.query("g", tier=1, budget=Budget(30, 1000, 10**10))[0]) == 1
    with pytest.raises(QueryLimitError, match="more than may be read at once"):
        store.view.query("g", budget=Budget(160, 10, 10**10))
    with pytest.raises(QueryLimitError, match="takes longer than 0 s"):
        store.view.query('{i=~"."}', budget=Budget(160, 1000, 0))
