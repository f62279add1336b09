"""Limits of a query: it ends when its client goes or its time is over, and what it may read is counted before."""

import shutil

import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.errors import QueryLimitError
from rondo_web.errors import FAILURES, EvaluationError
from rondo_web.prometheus.endpoint import ApiRequest
from rondo_web.prometheus.parameters import Parameters
from rondo_web.prometheus.selection import evaluated
from rondo_web.reading.limits import LARGE, SMALL
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.workers import Workers

START_MS = 1_700_000_000_000


@pytest.fixture
def served(large_store):
    """More than a small read takes."""
    served = ServedStore(large_store, Workers())
    yield served
    served.close()


def request(served, limits, gone=bool, text=b""):
    return ApiRequest(served, Parameters(text), b"", limits, gone)


def test_a_query_ends_when_its_client_is_gone(served):
    """Before it reads, between what it reads, and between what it does with that."""
    expression = "sum(g) + sum(g) + sum(g)"
    looks = []

    def count():
        looks.append(None)
        return False

    result = evaluated(request(served, LARGE, count), expression, START_MS + 300_000)[0]
    assert result.plain() == [({}, 360_000.0)]
    assert len(looks) > 6
    for last in (0, 2, len(looks) - 1):
        left = iter([False] * last)
        with pytest.raises(FAILURES) as ended:
            evaluated(request(served, LARGE, lambda left=left: next(left, True)), expression, START_MS + 300_000)
        assert "nobody waits" in str(ended.value) or "canceled" in str(ended.value)


def test_what_is_too_much_for_a_small_read_is_asked_again_as_a_large_one(served):
    """QueryLimitError, which hands it to the other line; there it is answered, or refused with what to ask instead."""
    steps = (START_MS, START_MS + 599_000, 1000)
    with pytest.raises(QueryLimitError):
        evaluated(request(served, SMALL), "sum(g)", *steps)
    assert len(evaluated(request(served, LARGE), "sum(g)", *steps)[0].series) == 1
    with pytest.raises(
        EvaluationError, match=r"240000 points; at most 200000 are told at once: ask for fewer"
    ) as caught:
        evaluated(request(served, LARGE), "g", *steps)
    assert caught.value.kind == "execution"
    with pytest.raises(EvaluationError) as caught:
        evaluated(request(served, LARGE), "max_over_time(sum(g)[10m:1ms])", *steps)
    assert caught.value.kind in {"execution", "timeout"}


def test_no_store_of_a_directory_is_left_out_where_a_read_is_too_large(tmp_path, clock):
    """What is more than a small read takes is asked again whole: a sum is of all stores, or there is none."""
    for name in ("a", "b", "c"):
        with Store(tmp_path / name, [Schema("g", "gauge", 80, (Tier("1s", "10m"),))], clock=clock) as store:
            batch = store.batch([store.gauge("g", i=n) for n in range(80)])
            for _ in range(600):
                batch.set([1.0] * 80)
                store.tick()
                clock.advance(1)
        clock.advance(-600)
    served = ServedStore(tmp_path, Workers())
    steps = (START_MS + 599_000, START_MS + 599_000, 1000)
    with pytest.raises(QueryLimitError):
        evaluated(request(served, SMALL), "sum(sum_over_time(g[10m]))", *steps)
    [(_, _, values)] = evaluated(request(served, LARGE), "sum(sum_over_time(g[10m]))", *steps)[0].series
    assert values.tolist() == [3 * 80 * 600]
    shutil.copytree(tmp_path / "b", tmp_path / "d")
    (tmp_path / "d" / "series").write_bytes(b"damaged")
    result, _ = evaluated(request(served, LARGE), "count(g)", *steps)
    assert result.series[0][2].tolist() == [240]
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("left out: ")
    served.close()


def test_the_time_of_a_query_is_what_it_asks_for_and_no_more_than_may_be(served):
    """`timeout` shortens it; a longer one does not lengthen it."""
    with pytest.raises(EvaluationError) as caught:
        evaluated(request(served, LARGE, text=b"timeout=0"), "sum(g)", START_MS + 300_000)
    assert caught.value.kind == "timeout"
    assert evaluated(request(served, LARGE, text=b"timeout=1y"), "sum(g)", START_MS + 300_000)[0].plain()
