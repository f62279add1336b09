"""Overflow series: where label sets are counted that a full schema has no series of their own for.

Such a series is `NAME{rondo_overflow="true"}`; one of each schema, named by its kind, takes those metrics for which
there is none left. They lie in the schema's `reserve`, beside the room for `max_series` series.
"""

from __future__ import annotations

from rondo_core.model.labels import Kind, Labels, Series

OVERFLOW = ("rondo_overflow", "true")
OVERFLOW_NAMES: dict[Kind, str] = {
    "counter": "rondo_overflow_total",
    "gauge": "rondo_overflow_value",
    "summary": "rondo_overflow_observed",
}
OVERFLOW_HELP = "All that found no series of its own in a schema, of the metrics that have no overflow series."


def overflow_of(name: str) -> tuple[str, Labels]:
    """Give the identity of a metric's overflow series."""
    return name, (OVERFLOW,)


def overflow_of_all(kind: Kind, schema: str) -> tuple[str, Labels]:
    """Give the identity of the series that takes what overflows in a schema beyond the metrics that have their own."""
    return OVERFLOW_NAMES[kind], (OVERFLOW, ("schema", schema))


def is_overflow(series: Series) -> bool:
    """Say whether it is an overflow series."""
    return OVERFLOW in series.labels


def is_of_all(series: Series) -> bool:
    """Say whether it is the one of a schema that takes every metric."""
    return series.name == OVERFLOW_NAMES[series.kind] and OVERFLOW in series.labels
