"""Values as JSON: whole arrays are written as one value after the other would be."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rondo_web.prometheus.values import matrix_json, number_text, vector_json

FLOATS = st.one_of(
    st.floats(), st.integers(-5, 5).map(float), st.sampled_from([0.1, 1e15, 1e16, 1e17, 1e21, 1e22, 1e-7, 5e-324, -0.0])
)


@given(
    arrays(np.int64, st.integers(0, 6), elements=st.integers(-(10**13), 10**13)).flatmap(
        lambda stamps: st.tuples(
            st.just(stamps), st.lists(arrays(np.float64, len(stamps), elements=FLOATS), max_size=3)
        )
    )
)
def test_points_come_back_as_they_went(given_points):
    """Every float64, NaN and the infinities too, bit by bit; times to the millisecond; numbers that are whole as such."""
    stamps, several = given_points
    written = matrix_json(
        [({"__name__": "x", "i": str(index)}, stamps, values) for index, values in enumerate(several)]
    )
    read = json.loads(written)
    assert [each["metric"] for each in read] == [{"__name__": "x", "i": str(index)} for index in range(len(several))]
    for each, values in zip(read, several, strict=True):
        assert [round(at * 1000) for at, _ in each["values"]] == stamps.tolist()
        assert all(isinstance(text, str) for _, text in each["values"])
        back = np.array([float(text) for _, text in each["values"]])
        assert np.array_equal(back, values, equal_nan=True)
        assert [math.copysign(1, x) for x in back if x == 0] == [math.copysign(1, x) for x in values if x == 0]


def test_series_of_other_times_are_not_given_those_of_the_first():
    """What is shared of equal times is not shared of others, of the same length or not."""
    first, other = np.array([1000, 2000]), np.array([1000, 2500])
    values = np.array([1.0, 0.5])
    written = json.loads(
        matrix_json([({}, first, values), ({}, other, values), ({}, other[:1], values[:1]), ({}, first, values)])
    )
    assert [[at for at, _ in each["values"]] for each in written] == [[1, 2], [1, 2.5], [1], [1, 2]]


def test_words_are_those_that_clients_read():
    """NaN, +Inf, -Inf, and numbers without a needless .0."""
    assert [number_text(each) for each in (math.nan, math.inf, -math.inf, 2.0, 0.1, 1e300)] == [
        "NaN",
        "+Inf",
        "-Inf",
        "2",
        "0.1",
        "1e+300",
    ]
    assert json.loads(vector_json([({"a": 'x"\n\u2028'}, math.inf)], 4000)) == [
        {"metric": {"a": 'x"\n\u2028'}, "value": [4, "+Inf"]}
    ]
