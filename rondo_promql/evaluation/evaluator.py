"""The evaluator: one function for each kind of node, which gives a vector or, for scalars, a value at each step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.vector import Vector
from rondo_promql.errors import QuerySyntaxError
from rondo_promql.evaluation import calls
from rondo_promql.evaluation.context import Context
from rondo_promql.evaluation.ranges import FUNCTIONS, absent_range, apply_range
from rondo_promql.evaluation.selection import Reader, select_instant
from rondo_promql.functions.elementwise import DATE_FUNCTIONS, VALUE_FUNCTIONS
from rondo_promql.functions.native import HISTOGRAM_VALUES
from rondo_promql.language.nodes import (
    Aggregation,
    Binary,
    Call,
    Negation,
    Node,
    Number,
    SeriesSelector,
    Subquery,
    Text,
)
from rondo_promql.language.parsing import SET_OPERATORS
from rondo_promql.operators.aggregation import aggregate, aggregate_quantile
from rondo_promql.operators.arithmetic import combine_scalars, combine_with_scalar
from rondo_promql.operators.matching import combine_sets, combine_vectors
from rondo_promql.operators.selecting import choose_extremes, count_values

Floats = NDArray[np.float64]
NO_READER = Reader()


def evaluate_scalar(node: Node, context: Context) -> Floats:
    """Evaluate a scalar expression: float64 [steps]."""
    context.budget.check()
    n_steps = len(context.times)
    match node:
        case Number(value):
            return np.full(n_steps, value)
        case Negation(inner):
            return -evaluate_scalar(inner, context)
        case Binary():
            left, right = evaluate_scalar(node.left, context), evaluate_scalar(node.right, context)
            return combine_scalars(node.operator, left, right)
        case Call("time"):
            return context.times / 1000.0
        case Call("pi"):
            return np.full(n_steps, np.pi)
        case Call("scalar", (inner,)):
            return calls.to_scalar(evaluate_vector(inner, context, Reader("scalar")))
        case _:
            raise QuerySyntaxError("parse error: a scalar was expected")


def evaluate_vector(node: Node, context: Context, reader: Reader = NO_READER) -> Vector:
    """Evaluate an expression that gives an instant vector, at every step at once.

    Args:
        reader: the function or aggregation right above, for the source's hint.
    """
    context.budget.check()
    match node:
        case SeriesSelector():
            vector = select_instant(node, context, reader)
        case Call():
            vector = _call(node, context, reader)
        case Aggregation():
            vector = _aggregation(node, context)
        case Binary():
            vector = _binary(node, context)
        case Negation(inner):
            vector = evaluate_vector(inner, context, reader)
            scaled = {row: each.scaled(-np.ones(len(each))) for row, each in vector.histograms.items()}
            vector = calls.nameless(Vector(vector.labels, -vector.values, vector.present, scaled), strict=True)
        case _:
            raise QuerySyntaxError("parse error: an instant vector was expected")
    context.budget.make(vector.values.size)
    return vector


def _binary(node: Binary, context: Context) -> Vector:
    left, right = node.left, node.right
    inform = context.annotations.inform
    if left.kind == "scalar":
        scalar, vector = evaluate_scalar(left, context), evaluate_vector(right, context)
        return combine_with_scalar(
            node.operator, vector, scalar, inform, scalar_is_left=True, returns_bool=node.returns_bool
        )
    if right.kind == "scalar":
        vector, scalar = evaluate_vector(left, context), evaluate_scalar(right, context)
        return combine_with_scalar(
            node.operator, vector, scalar, inform, scalar_is_left=False, returns_bool=node.returns_bool
        )
    both = evaluate_vector(left, context), evaluate_vector(right, context)
    if node.operator in SET_OPERATORS:
        return combine_sets(node.operator, *both, node.matching)
    return combine_vectors(
        node.operator, *both, node.matching, inform, context.budget.make, returns_bool=node.returns_bool
    )


def _aggregation(node: Aggregation, context: Context) -> Vector:
    grouping, notes = node.grouping, context.annotations
    reader = Reader(node.operator, None if grouping.without else grouping.labels)
    vector = evaluate_vector(node.inner, context, reader)
    if isinstance(node.parameter, Text):
        return count_values(vector, grouping, node.parameter.value, notes.inform, context.budget.make)
    if node.parameter is None:
        return aggregate(node.operator, vector, grouping, notes.warn, notes.inform)
    parameter = evaluate_scalar(node.parameter, context)
    if node.operator == "quantile":
        calls.warn_of_quantile(parameter, context)
        return aggregate_quantile(vector, grouping, parameter, notes.inform)
    return choose_extremes(node.operator, vector, grouping, parameter, notes.inform)


def _call(node: Call, context: Context, reader: Reader) -> Vector:
    function = node.function
    below = Reader(function, reader.by)
    if function in FUNCTIONS:
        scalars = [evaluate_scalar(each, context) for each in node.arguments if each.kind == "scalar"]
        return _over_range(function, _matrix_of(node), scalars, context, below)
    if function == "absent_over_time":
        return absent_range(_matrix_of(node), context, below, evaluate_vector)
    if function in VALUE_FUNCTIONS:
        return _values(node, context, below)
    if function in HISTOGRAM_VALUES:
        return calls.histogram_values(function, evaluate_vector(node.arguments[0], context, below))
    if function not in _CALLS:
        raise QuerySyntaxError(f'parse error: unknown function with name "{function}"')
    return _CALLS[function](node.arguments, context, below)


def _matrix_of(node: Call) -> SeriesSelector | Subquery:
    return next(
        each for each in node.arguments if isinstance(each, SeriesSelector | Subquery) and each.kind == "matrix"
    )


def _over_range(
    function: str, matrix: SeriesSelector | Subquery, scalars: list[Floats], context: Context, reader: Reader
) -> Vector:
    if function == "quantile_over_time":
        calls.warn_of_quantile(scalars[0], context)
    times = context.times.astype(np.float64)
    return apply_range(function, matrix, [*scalars, times], context, reader, evaluate_vector)


def _values(node: Call, context: Context, reader: Reader) -> Vector:
    if not node.arguments and node.function in DATE_FUNCTIONS:
        return calls.apply_values(node.function, calls.to_vector(context.times / 1000.0), [])
    scalars = [evaluate_scalar(each, context) for each in node.arguments[1:]]
    return calls.apply_values(node.function, evaluate_vector(node.arguments[0], context, reader), scalars)


Arguments = tuple[Node, ...]


def _timestamp(arguments: Arguments, context: Context, reader: Reader) -> Vector:
    """Give the samples' own times where the argument is a selector, else those of the steps."""
    if isinstance(arguments[0], SeriesSelector):
        return calls.nameless(select_instant(arguments[0], context, reader, gives_times=True))
    return calls.step_times(evaluate_vector(arguments[0], context, reader), context)


def _texts(arguments: Arguments) -> list[str]:
    return [each.value for each in arguments if isinstance(each, Text)]


def _histogram_quantile(arguments: Arguments, context: Context, reader: Reader) -> Vector:
    quantile = evaluate_scalar(arguments[0], context)
    return calls.histogram_quantile(evaluate_vector(arguments[1], context, reader), quantile, context)


def _histogram_fraction(arguments: Arguments, context: Context, reader: Reader) -> Vector:
    lower, upper = evaluate_scalar(arguments[0], context), evaluate_scalar(arguments[1], context)
    return calls.histogram_fraction(evaluate_vector(arguments[2], context, reader), lower, upper, context)


def _vector(function: Callable[[Vector], Vector]) -> Callable[[Arguments, Context, Reader], Vector]:
    """Make a call of a function that takes its first argument's vector alone."""
    return lambda arguments, context, reader: function(evaluate_vector(arguments[0], context, reader))


def _labels(function: Callable[[Vector, list[str]], Vector]) -> Callable[[Arguments, Context, Reader], Vector]:
    """Make a call of a function that changes labels by the strings that it is given."""
    return lambda arguments, context, reader: function(
        evaluate_vector(arguments[0], context, Reader(reader.function)), _texts(arguments)
    )


_CALLS: dict[str, Callable[[Arguments, Context, Reader], Vector]] = {
    "absent": lambda arguments, context, reader: calls.absent(
        arguments[0], evaluate_vector(arguments[0], context, reader)
    ),
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "label_join": _labels(calls.joined_label),
    "label_replace": _labels(calls.replaced_label),
    "sort": _vector(lambda vector: calls.sorted_by_value(vector, descending=False)),
    "sort_desc": _vector(lambda vector: calls.sorted_by_value(vector, descending=True)),
    "timestamp": _timestamp,
    "vector": lambda arguments, context, _: calls.to_vector(evaluate_scalar(arguments[0], context)),
}
