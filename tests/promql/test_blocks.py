"""A source may give series with the same timestamps as one block: no answer is another by that."""

import random
import runpy
from pathlib import Path

import numpy as np
import pytest

from rondo_promql import PromqlError, QueryExecutionError, evaluate

HERE = Path(__file__).parent
Expressions = runpy.run_path(str(HERE / "expressions.py"))["Expressions"]
PLAIN = runpy.run_path(str(HERE / "plain_source.py"))
PlainSource, random_series = PLAIN["PlainSource"], PLAIN["random_series"]
START_MS, LENGTH_S = 1_699_999_990_000, 600


class BlockSource(PlainSource):
    """The series of a plain source, in a new block of each timestamps."""

    def select(self, matchers, start_ms, end_ms, hint):
        assert hint.takes_blocks
        alike = {}
        for labels, stamps, values in super().select(matchers, start_ms, end_ms, hint):
            alike.setdefault(stamps.tobytes(), (stamps, [], []))[1].append(labels)
            alike[stamps.tobytes()][2].append(values)
        return [(labels, stamps, np.array(values)) for stamps, labels, values in alike.values()]


def answer(source, expression, step_ms):
    """Give labels, timestamps and the bits of the values, by labels; or the error."""
    try:
        found = evaluate(expression, source, START_MS + 307_000, START_MS + 547_000, step_ms).plain()
    except PromqlError as error:
        return str(error)
    return sorted((sorted(labels.items()), stamps.tolist(), values.tobytes()) for labels, stamps, values in found)


def test_blocks_are_answered_as_their_series_are():
    """Random expressions, over gaps, resets, stale ends, NaN and infinities."""
    chance = random.Random(16)
    series = random_series(chance, START_MS, LENGTH_S)
    plain, blocks, n_answers = PlainSource(series), BlockSource(series), 0
    for _ in range(200):
        expression = Expressions(chance).any()
        if any(each in expression for each in ("topk", "bottomk")):  # of equal values either may be chosen
            continue
        ours = answer(plain, expression, 15_000)
        assert answer(blocks, expression, 15_000) == ours, expression
        n_answers += not isinstance(ours, str) and bool(ours)
    assert n_answers > 80


def test_a_step_at_every_sample_is_answered_as_one_between_samples():
    """What has a sample at each step is given as it is: the values are those that a look-back finds."""
    stamps = list(range(START_MS, START_MS + 600_000, 1000))
    chance = random.Random(7)
    values = [chance.choice((1.0, -0.0, float("nan"), float("inf"), 3.5)) for _ in stamps]
    source = PlainSource([({"__name__": "g", "i": str(at)}, stamps, values) for at in range(3)])
    exact = evaluate("g", source, stamps[100], stamps[400], 1000).plain()
    between = evaluate("g offset -1ms", source, stamps[100], stamps[400], 1000).plain()
    later = evaluate("g", source, stamps[100] + 1, stamps[400] + 1, 1000).plain()
    assert len(exact) == 3
    for one, other, third in zip(exact, between, later, strict=True):
        assert one[2].tobytes() == other[2].tobytes() == third[2].tobytes() == np.array(values[100:401]).tobytes()


def test_what_is_read_only_is_not_written_to():
    """A source that keeps a block makes it read-only, and gives it again."""
    stamps = np.arange(START_MS, START_MS + 600_000, 1000)
    block = np.cumsum(np.ones((60, 600)), axis=1)
    block.setflags(write=False)

    class Kept:
        def select(self, *_):
            return [([{"__name__": "c_total", "i": str(at)} for at in range(60)], stamps, block)]

    first = answer(Kept(), "rate(c_total[1m])", 1000)
    assert first == answer(Kept(), "rate(c_total[1m])", 1000)
    assert (block == np.arange(1.0, 601.0)).all()


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 4)])
def test_a_block_of_another_shape_is_refused(shape):
    """Three series at three instants have nine values."""
    stamps = np.arange(START_MS + 300_000, START_MS + 303_000, 1000)

    class Odd:
        def select(self, *_):
            return [([{"__name__": "g", "i": str(at)} for at in range(3)], stamps, np.zeros(shape))]

    with pytest.raises(QueryExecutionError, match="the source must give as many"):
        evaluate("g", Odd(), START_MS + 301_000, START_MS + 302_000, 1000)
