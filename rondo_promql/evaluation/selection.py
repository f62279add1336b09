"""Selection: the samples that a selector or a subquery's range reads, and what an instant selector sees at a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.samples import SampleBlock, read_series
from rondo_promql.arrays.vector import Labels, Vector, empty_vector, is_stale
from rondo_promql.evaluation.context import Context
from rondo_promql.language.nodes import SeriesSelector
from rondo_promql.source import Hint

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a selector: the function or aggregation above, and its `by`."""

    function: str = ""
    by: tuple[str, ...] | None = None


def select_blocks(selector: SeriesSelector, context: Context, reader: Reader) -> list[SampleBlock]:
    """Ask the source for a selector's series, from the first window's begin to the last one's end."""
    moments = context.moments(selector.moment)
    if not len(moments):
        return []
    inform, lookback_ms = context.annotations.inform, context.lookback_ms
    hint = Hint(reader.function, selector.range_ms, context.step_ms, reader.by, inform, lookback_ms=lookback_ms)
    start_ms = int(moments[0]) - (selector.range_ms or lookback_ms) + 1  # moments never fall
    context.budget.check()
    series = list(context.source.select(selector.matchers, start_ms, int(moments[-1]), hint))
    blocks, n_samples = read_series(series)
    context.budget.make(sum(len(block.labels) for block in blocks) * len(moments))
    context.budget.read(n_samples)
    return blocks


def select_instant(selector: SeriesSelector, context: Context, reader: Reader, *, gives_times: bool = False) -> Vector:
    """Give each series' newest sample at each step, at most the lookback old; one that ended has none.

    Args:
        gives_times: give the samples' times in seconds in the place of their values.
    """
    moments = context.moments(selector.moment)
    parts: list[Vector] = []
    for block in select_blocks(selector, context, reader):
        if (sampled := _sampled_at(block, moments)) is not None and not gives_times:
            parts.append(sampled)
            continue
        places = np.searchsorted(block.timestamps, moments, side="right") - 1
        known = places >= 0
        places = np.where(known, places, 0)
        if not len(block.timestamps):
            continue
        stamps = block.timestamps[places]
        known &= stamps > moments - context.lookback_ms
        values, histograms = block.values[:, places], {}
        marks = values
        if block.histograms is not None:
            rows = block.histograms.rows(places)
            marks = rows.sum[None, :]
            histograms = {} if gives_times else {0: rows}
        present = np.broadcast_to(known, values.shape).copy()
        if np.isnan(marks).any():
            present &= ~is_stale(marks)
        if gives_times:
            values = np.broadcast_to(stamps / 1000.0, values.shape)
        parts.append(Vector(block.labels, values, present, histograms))
    return join_rows(parts, len(moments))


def _sampled_at(block: SampleBlock, moments: Times) -> Vector | None:
    """Give a block of floats as it is where there is a sample at every step and nowhere between; None: not so."""
    if block.histograms is not None:
        return None
    first = int(block.timestamps.searchsorted(moments[0]))
    held = slice(first, first + len(moments))
    stamps = block.timestamps[held]
    if len(stamps) != len(moments) or np.count_nonzero(stamps != moments):
        return None
    values = block.values[:, held]
    marks = np.isnan(values)
    return Vector(block.labels, values, ~(is_stale(values) if np.count_nonzero(marks) else marks))


def join_rows(parts: list[Vector], n_steps: int) -> Vector:
    """Put the series of several vectors into one, without those that have no value at any step."""
    parts = [_living(part) for part in parts]
    parts = [part for part in parts if part.labels]
    if not parts:
        return empty_vector(n_steps)
    if len(parts) == 1:
        return parts[0]
    labels: list[Labels] = []
    histograms: dict[int, Histograms] = {}
    for part in parts:
        histograms |= {row + len(labels): each for row, each in part.histograms.items()}
        labels += part.labels
    values = np.concatenate([part.values for part in parts])
    return Vector(labels, values, np.concatenate([part.present for part in parts]), histograms)


def _living(vector: Vector) -> Vector:
    if vector.is_whole():
        return vector
    living = vector.present.any(axis=1)
    return vector if living.all() else vector.rows(np.flatnonzero(living))
