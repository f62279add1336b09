"""What scrapers read: both text forms, held against the field's own parsers."""

import math
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rondo_core import Series
from rondo_core.export.exposition import OPENMETRICS, TEXT, SummaryValue, choose, expose

EVERY_KIND = [
    (Series("jobs_total", (("queue", 'a "b"\\c\nd é'),), "counter", "", 0, 'Jobs\\done,\n"all".'), 12.0),
    (Series("jobs_total", (), "counter", "", 1, "later words"), 0.5),
    (Series("level_bytes", (), "gauge", "", 0, "Level.", "bytes"), -3.0),
    (Series("heat", (), "gauge", "", 1, "Heat.", "celsius"), math.inf),
    (
        Series("wait_seconds", (("a", "1"),), "summary", "", 0, "Wait.", "seconds"),
        SummaryValue(4, 2.5, ((0.0, 0.1), (1.0, 2.0))),
    ),
    (Series("idle_seconds", (), "summary", "", 1, "Idle."), SummaryValue(0, 0.0)),
]


def samples(families):
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


@pytest.mark.parametrize(("form", "parse"), [(OPENMETRICS, parse_openmetrics), (TEXT, parse_text)])
def test_every_kind_is_read_as_it_was_written(form, parse):
    """Names, labels, values, types and help come out of prometheus_client's parser as they went in."""
    families = list(parse(expose(EVERY_KIND, form).text))
    assert samples(families) == {
        ("jobs_total", (("queue", 'a "b"\\c\nd é'),)): 12.0,
        ("jobs_total", ()): 0.5,
        ("level_bytes", ()): -3.0,
        ("heat", ()): math.inf,
        ("wait_seconds", (("a", "1"), ("quantile", "0.0"))): 0.1,
        ("wait_seconds", (("a", "1"), ("quantile", "1.0"))): 2.0,
        ("wait_seconds_count", (("a", "1"),)): 4.0,
        ("wait_seconds_sum", (("a", "1"),)): 2.5,
        ("idle_seconds_count", ()): 0.0,
        ("idle_seconds_sum", ()): 0.0,
    }
    by_name = {family.name: family for family in families}
    assert by_name["jobs"].type == "counter"
    assert by_name["jobs"].documentation == 'Jobs\\done,\n"all".'
    assert [by_name[name].type for name in ("level_bytes", "wait_seconds")] == ["gauge", "summary"]


def test_a_unit_is_announced_where_the_name_ends_in_it():
    """OpenMetrics takes a UNIT only there; text has none; the last line says that it is the last."""
    text = expose(EVERY_KIND, OPENMETRICS).text
    assert [line for line in text.splitlines() if "UNIT" in line] == [
        "# UNIT level_bytes bytes",
        "# UNIT wait_seconds seconds",
    ]
    assert text.endswith("\n# EOF\n")
    assert expose([], OPENMETRICS).text == "# EOF\n"
    assert "UNIT" not in expose(EVERY_KIND, TEXT).text
    assert expose([], TEXT).text == ""


def test_a_counter_ends_in_total_whatever_it_is_called():
    """A series keeps its name whichever form a scraper asks for."""
    for form, parse in ((OPENMETRICS, parse_openmetrics), (TEXT, parse_text)):
        text = expose([(Series("jobs", (), "counter", "", 0), 1.0)], form).text
        assert samples(parse(text)) == {("jobs_total", ()): 1.0}


@pytest.mark.parametrize(
    ("first", "second", "forms"),
    [
        (("x", "summary"), ("x_count", "gauge"), {OPENMETRICS, TEXT}),
        (("x_sum", "gauge"), ("x", "summary"), {OPENMETRICS, TEXT}),
        (("x_total", "gauge"), ("x", "counter"), {OPENMETRICS, TEXT}),
        (("x", "counter"), ("x_total", "counter"), {OPENMETRICS, TEXT}),
        (("x", "gauge"), ("x", "summary"), {OPENMETRICS, TEXT}),
        (("x_total", "counter"), ("x", "gauge"), {OPENMETRICS}),
    ],
)
def test_of_two_names_that_collide_the_first_stands(first, second, forms):
    """What could not be told apart is left out and named, and what is written still parses."""
    series = [Series(name, (), kind, "", 0) for name, kind in (first, second)]
    values = [(each, SummaryValue(1, 1.0) if each.kind == "summary" else 1.0) for each in series]
    for form, parse in ((OPENMETRICS, parse_openmetrics), (TEXT, parse_text)):
        shown = expose(values, form)
        assert shown.left_out == ([series[1]] if form in forms else [])
        list(parse(shown.text))


def test_times_are_seconds_or_milliseconds():
    """With times a value says when it was: OpenMetrics in seconds, text in milliseconds."""
    series = Series("g", (), "gauge", "", 0)
    times = {series: 1_700_000_000_250_000_000}
    assert expose([(series, 1.0)], OPENMETRICS, times).text.splitlines()[1] == "g 1 1700000000.250000000"
    assert expose([(series, 1.0)], TEXT, times).text.splitlines()[1] == "g 1 1700000000250"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.8,text/plain;version=0.0.4;q=0.4",
            TEXT,
        ),
        ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text; version=1.0.0; q=0.3", TEXT),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        ("application/openmetrics-text; q=0", TEXT),
        ("application/openmetrics-text; q=many", TEXT),
        ("APPLICATION/OPENMETRICS-TEXT; Version=1.0.0", OPENMETRICS),
        (";;,=,q", TEXT),
    ],
)
def test_the_scraper_chooses_the_form(accept, chosen):
    """By quality; OpenMetrics only where it is named, and of a version that is known."""
    assert choose(accept) == chosen


@given(st.floats(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1))
def test_any_value_and_any_label_is_read_back(value, text):
    """Every float is exact, and every label value comes back as it was, in both forms."""
    series = Series("g", (("label", text),), "gauge", "", 0, text)
    for form, parse in ((OPENMETRICS, parse_openmetrics), (TEXT, parse_text)):
        ((found,),) = [family.samples for family in parse(expose([(series, value)], form).text)]
        assert found.labels == {"label": text}
        assert found.value == value or (math.isnan(value) and math.isnan(found.value))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; install the package prometheus")
def test_promtool_has_nothing_to_say():
    """Prometheus' own checker takes the text of every kind without a complaint."""
    values = [each for each in EVERY_KIND if each[0].name != "heat"]
    text = expose(values, TEXT).text
    checked = subprocess.run(["promtool", "check", "metrics"], check=False, input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
