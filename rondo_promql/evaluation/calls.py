"""Calls of functions that take instant vectors, scalars and strings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.vector import Vector, empty_vector, merge_same_labels, metric_name, without_name
from rondo_promql.evaluation.context import Context
from rondo_promql.evaluation.ranges import absence
from rondo_promql.functions import native
from rondo_promql.functions.buckets import bucket_values, fraction_measure, quantile_measure
from rondo_promql.functions.elementwise import VALUE_FUNCTIONS
from rondo_promql.functions.labels import join_labels, labels_when_absent, replace_label
from rondo_promql.language.nodes import Node, SeriesSelector
from rondo_promql.operators.selecting import value_text

Floats = NDArray[np.float64]


def apply_values(function: str, vector: Vector, scalars: list[Floats]) -> Vector:
    """Apply a function of single values; the name goes."""
    floats = vector.float_rows()
    values = VALUE_FUNCTIONS[function](floats.values, *scalars)
    present = floats.present
    if function == "clamp":
        present = present & ~(scalars[1] < scalars[0])
    return merge_same_labels(Vector([without_name(each) for each in floats.labels], values, present))


def step_times(vector: Vector, context: Context) -> Vector:
    """Give each value the step's time in seconds."""
    values = np.broadcast_to(context.times / 1000.0, vector.values.shape)
    return nameless(Vector(vector.labels, values, vector.present))


def nameless(vector: Vector, *, strict: bool = False) -> Vector:
    """Take the metric's name away; if `strict`, refuse two series that are then one, even if they lived in turn."""
    return merge_same_labels(vector.relabelled([without_name(each) for each in vector.labels]), strict=strict)


def to_scalar(vector: Vector) -> Floats:
    """Give the value of the only series at each step; NaN where there are none or several."""
    floats = vector.float_rows()
    if not floats.labels:
        return np.full(floats.values.shape[1], np.nan)
    alone = floats.present.sum(axis=0) == 1
    values = np.take_along_axis(floats.values, floats.present.argmax(axis=0)[None, :], axis=0)[0]
    return np.where(alone, values, np.nan)


def to_vector(values: Floats) -> Vector:
    """Give a scalar as a series without labels."""
    return Vector([()], values[None, :], np.ones((1, len(values)), dtype=np.bool_))


def absent(node: Node, vector: Vector) -> Vector:
    """Give 1 at each step at which no series has a value."""
    labels = labels_when_absent(node.matchers) if isinstance(node, SeriesSelector) else ()
    return absence(np.asarray(vector.present.any(axis=0)), labels)


def sorted_by_value(vector: Vector, *, descending: bool) -> Vector:
    """Order an instant vector's series by value, NaN last; in a range query the order says nothing."""
    floats = vector.float_rows()
    if not floats.labels:
        return floats
    values = floats.values[:, -1]
    unknown = np.isnan(values) | ~floats.present[:, -1]
    keys = np.where(unknown, 0.0, -values if descending else values)
    ordered = floats.rows(np.lexsort((keys, unknown)))
    ordered.ordered = True
    return ordered


def replaced_label(vector: Vector, texts: list[str]) -> Vector:
    """Answer label_replace."""
    return merge_same_labels(vector.relabelled(replace_label(vector.labels, *texts)))


def joined_label(vector: Vector, texts: list[str]) -> Vector:
    """Answer label_join."""
    return merge_same_labels(vector.relabelled(join_labels(vector.labels, texts[0], texts[1], texts[2:])))


def warn_of_quantile(quantile: Floats, context: Context) -> None:
    """Warn of quantiles that are none."""
    for value in np.unique(quantile[~((quantile >= 0) & (quantile <= 1))]).tolist():
        context.annotations.warn(f"PromQL warning: quantile value should be between 0 and 1, got {value_text(value)}")


def histogram_quantile(vector: Vector, quantile: Floats, context: Context) -> Vector:
    """Give a quantile of each histogram, classic or native, at each step."""
    warn_of_quantile(quantile, context)
    measure = quantile_measure(lambda: _first_name(vector), context.annotations.inform)
    return _measured(vector, measure, [quantile], native.quantile, context)


def histogram_fraction(vector: Vector, lower: Floats, upper: Floats, context: Context) -> Vector:
    """Give the fraction of observations between two values of each histogram, classic or native, at each step."""
    return _measured(vector, fraction_measure, [lower, upper], native.fraction, context)


def _measured(
    vector: Vector,
    measure: Callable[[Floats, Floats, Floats], Floats],
    scalars: list[Floats],
    native_measure: Callable[..., Floats],
    context: Context,
) -> Vector:
    classic = bucket_values(vector, measure, np.array(scalars), context.annotations.warn)
    if not vector.histograms:
        return classic
    places = {labels: place for place, labels in enumerate(classic.labels)}
    labels, values, present = list(classic.labels), [*classic.values], [*classic.present]
    for row, histograms in vector.histograms.items():
        key = without_name(vector.labels[row])
        lived = vector.present[row]
        if key in places and (both := lived & present[places[key]]).any():
            name = metric_name(vector.labels[row])
            context.annotations.warn(
                f'PromQL warning: vector contains a mix of classic and native histograms for metric name "{name}"'
            )
            present[places[key]] = present[places[key]] & ~both
            lived = lived & ~both
        labels.append(key)
        values.append(native_measure(histograms, *scalars))
        present.append(lived)
    return merge_same_labels(Vector(labels, np.array(values), np.array(present)))


def _first_name(vector: Vector) -> str:
    return metric_name(vector.labels[0]) if vector.labels else ""


def histogram_values(function: str, vector: Vector) -> Vector:
    """Apply a function of single native histograms; floats have no answer."""
    rows = sorted(vector.histograms)
    if not rows:
        return empty_vector(vector.values.shape[1])
    values = np.array([native.HISTOGRAM_VALUES[function](vector.histograms[row]) for row in rows])
    labels = [without_name(vector.labels[row]) for row in rows]
    return merge_same_labels(Vector(labels, values, vector.present[rows]))
