"""The store that tests of programs use: in memory, on a clock of its own, with assertions that fail where they should."""

import os

import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.errors import CapacityError, SchemaError
from rondo_core.testing import StoreAssertions, TemporaryStore


@pytest.fixture
def metrics():
    with TemporaryStore() as store:
        yield store


@pytest.fixture
def filled(metrics):
    requests = metrics.counter("http_requests_total", "Requests.", labels=["route", "code"])
    for code in (200, 200, 404):
        requests.labels("/", code).inc()
    metrics.gauge("depth", queue="a").set(3)
    metrics.gauge("depth", queue="b").set(4)
    took = metrics.summary("took_seconds", route="/")
    for value in (0.5, 1.5):
        took.observe(value)
    metrics.mark("deploy", version="1.4.2")
    return metrics


def test_what_was_recorded_can_be_said_at_once(filled):
    """In the second under way, and later; of counters and summaries those that match are added up."""
    for _ in range(2):
        filled.assert_value("http_requests_total", 3, route="/")
        filled.assert_value("http_requests_total", 2, route="/", code=200)
        filled.assert_value("http_requests_total", 1, {"code": "404"})
        filled.assert_value("depth", pytest.approx(3.0), queue="a")
        filled.assert_value("http_requests_total", None, route="/none")
        filled.assert_value("none_total", None)
        filled.assert_observed("took_seconds")
        filled.assert_observed("took_seconds", 2, total=2.0, least=0.5, greatest=1.5, route="/")
        filled.assert_marked("deploy", version="1.4.2")
        filled.advance(1)
    assert filled.value("took_seconds") == 2


def test_growth_is_said_since_it_was_last_said(filled):
    """From 0 at first; whatever it was, where no number is given."""
    filled.assert_increased("http_requests_total", 3, route="/")
    filled.counter("http_requests_total", route="/", code=200).inc(2)
    filled.advance(1)
    filled.assert_increased("http_requests_total", 2, route="/")
    filled.assert_increased("http_requests_total", code=200)
    for call in (
        lambda: filled.assert_increased("http_requests_total", route="/"),
        lambda: filled.assert_increased("http_requests_total", 1, route="/"),
        lambda: filled.assert_increased("none_total"),
    ):
        with pytest.raises(AssertionError, match="increased"):
            call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda store: store.assert_value("http_requests_total", 2, route="/"), r'http_requests_total{route="/"}: 3, not 2; there is http_requests_total{code="200",route="/"} 2, '),
        (lambda store: store.assert_value("http_requests_total", None), "3, not None"),
        (lambda store: store.assert_value("http_request_total", 2), "None, not 2; no such series; there are http_requests_total"),
        (lambda store: store.assert_value("depth", 7), "depth: 2 gauges; there is depth"),
        (lambda store: store.assert_value("depth", float("nan"), queue="a"), "3, not nan"),
        (lambda store: store.assert_increased("depth", 3), "a gauge, which has no growth"),
        (lambda store: store.assert_observed("took_seconds", 3), "2 observations, not 3"),
        (lambda store: store.assert_observed("none_seconds"), "0 observations, not at least one"),
        (lambda store: store.assert_observed("took_seconds", total=3), "sum of the observations is 2, not 3"),
        (lambda store: store.assert_observed("none_seconds", 0, least=3), "min of the observations is nothing, not 3"),
        (lambda store: store.assert_observed("took_seconds", least=0.4), "min of the observations is 0.5, not 0.4"),
        (lambda store: store.assert_observed("took_seconds", greatest=2), "max of the observations is 1.5, not 2"),
        (lambda store: store.assert_observed("depth"), "no summary; use assert_value"),
        (lambda store: store.assert_marked("deploy", version="2"), "not made; the marks are deploy version=1.4.2"),
        (lambda store: store.assert_marked("deployed"), "not made"),
    ],
)  # fmt: skip
def test_an_assertion_that_fails_says_what_is_there(filled, call, said):
    """In one line: what was asked for, what was found, and what else there is of that name."""
    with pytest.raises(AssertionError) as caught:
        call(filled)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_of_it_is_left(tmp_path, monkeypatch):
    """It lies in memory where that can be, else where temporary files do; a child of a fork removes none of it."""
    monkeypatch.setattr("rondo_core.testing.temporary.MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with TemporaryStore() as store:
        assert tmp_path in store.path.parents
        if os.fork() == 0:
            store.close()
            os._exit(0)
        os.wait()
        assert store.path.exists()
    store.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SchemaError):
        TemporaryStore([Schema("s", "gauge", 1, (Tier("1s", "1m"),))] * 2)
    assert list(tmp_path.iterdir()) == []


def test_what_a_program_is_told_by_a_warning_fails_a_test(metrics):
    """A label set too many, say, as in production it counts into an overflow series."""
    with TemporaryStore([Schema("c", "counter", 1, (Tier("1s", "1m"),))]) as small:
        small.counter("a_total")
        with pytest.raises(CapacityError):
            small.counter("b_total")


def test_any_open_store_can_be_looked_at(path, clock):
    """One that the program under test has opened itself."""
    with Store(path, clock=clock) as store:
        store.counter("jobs_total").inc()
        StoreAssertions(store).assert_increased("jobs_total", 1)
