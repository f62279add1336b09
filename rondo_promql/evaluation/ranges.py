"""Functions of a range over selectors and subqueries: blocks of samples, windows over them, a value for each step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.samples import SampleBlock, blocks_of, without_stale
from rondo_promql.arrays.vector import Labels, Vector, empty_vector, merge_same_labels, metric_name, without_name
from rondo_promql.arrays.windows import Windows, find_windows
from rondo_promql.evaluation.context import Context
from rondo_promql.evaluation.selection import Reader, join_rows, select_blocks
from rondo_promql.functions.labels import labels_when_absent
from rondo_promql.functions.native import COUNTING_RANGES, HISTOGRAM_RANGES, as_rows, from_rows
from rondo_promql.functions.ranges import RANGE_FUNCTIONS, Outcome
from rondo_promql.functions.rates import RATE_FUNCTIONS
from rondo_promql.language.nodes import Node, SeriesSelector, Subquery

Floats = NDArray[np.float64]
Evaluate = Callable[[Node, Context, Reader], Vector]
FUNCTIONS: dict[str, Callable[[Windows, list[Floats]], Outcome]] = RANGE_FUNCTIONS | RATE_FUNCTIONS
# Values, of samples or of steps, to which a function is applied at once: 128 KiB, which a processor's cache holds.
_PART = 1 << 14
_KEEP_NAME = frozenset({"first_over_time", "last_over_time"})
_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


def read_range(
    node: SeriesSelector | Subquery, context: Context, reader: Reader, evaluate: Evaluate
) -> list[SampleBlock]:
    """Read the samples of a range: a selector's, without marks of ends, or those that a subquery makes."""
    if isinstance(node, SeriesSelector):
        return without_stale(select_blocks(node, context, reader))
    moments = context.moments(node.moment)
    step_ms = node.step_ms or context.default_step_ms
    low, high = int(moments.min()) - node.range_ms, int(moments.max())
    first = (low // step_ms + 1) * step_ms
    n_times = max(0, (high - first) // step_ms + 1)
    context.budget.make(n_times)
    times = first + step_ms * np.arange(n_times, dtype=np.int64)
    times = within_windows(times, moments, node.range_ms)
    if not len(times):
        return []
    inner = evaluate(node.inner, context.at_times(times, step_ms), Reader())
    blocks = blocks_of(inner, times)
    context.budget.read(int(inner.present.sum()))
    return blocks


def within_windows(times: NDArray[np.int64], moments: NDArray[np.int64], range_ms: int) -> NDArray[np.int64]:
    """Give the times that lie in a window that ends at one of the moments: what others hold nobody reads."""
    ends = np.searchsorted(moments, times, side="left")
    return times[moments[np.minimum(ends, len(moments) - 1)] - range_ms < times]


def apply_range(
    function: str,
    node: SeriesSelector | Subquery,
    scalars: list[Floats],
    context: Context,
    reader: Reader,
    evaluate: Evaluate,
) -> Vector:
    """Apply a function of a range, with its scalar arguments at each step, to each series at each step."""
    moments = context.moments(node.moment)
    blocks = read_range(node, context, reader, evaluate)
    parts = []
    for block in blocks:
        context.budget.check()
        if function in {"rate", "increase"}:
            _note_names(block, context)
        if block.histograms is not None:
            part = _of_histograms(function, block, block.histograms, moments, node.range_ms)
        else:
            windows = find_windows(block.timestamps, block.values, moments, node.range_ms, block.weights)
            values, present = _by_parts(FUNCTIONS[function], windows, scalars)
            part = Vector(block.labels, values, np.broadcast_to(present, values.shape))
        if part is not None:
            parts.append(part)
    vector = join_rows(parts, len(moments))
    if function in _KEEP_NAME:
        return vector
    return merge_same_labels(vector.relabelled([without_name(labels) for labels in vector.labels]), strict=True)


def _by_parts(function: Callable[[Windows, list[Floats]], Outcome], windows: Windows, scalars: list[Floats]) -> Outcome:
    """Apply a function to some series at a time, so that what it makes along the way stays small beside the samples."""
    n_series, n_steps = len(windows.values), len(windows.ends)
    n_rows = max(1, _PART // max(1, n_steps, windows.values.shape[1]))
    if n_series <= n_rows:
        return function(windows, scalars)
    samples = windows.values  # of no use once their part was applied: the values take their place where they fit
    own = samples.flags.writeable and n_steps <= samples.shape[1]
    values = samples[:, :n_steps] if own else np.empty((n_series, n_steps))
    present = np.zeros(n_steps, np.bool_)
    for first in range(0, n_series, n_rows):
        rows = slice(first, first + n_rows)
        values[rows], present = function(windows.of_series(rows), scalars)
    return values, present


def _note_names(block: SampleBlock, context: Context) -> None:
    if not len(block.timestamps) or block.histograms is not None:
        return
    for name in {metric_name(labels) for labels in block.labels}:
        if name and not name.endswith(_COUNTER_SUFFIXES):
            context.annotations.inform(
                f'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "{name}"'
            )


def _of_histograms(
    function: str, block: SampleBlock, histograms: Histograms, moments: NDArray[np.int64], range_ms: int
) -> Vector | None:
    """Apply a function of a range to the histograms of one series; None where it reads floats alone."""
    windows = find_windows(block.timestamps, as_rows(histograms), moments, range_ms)
    if function in HISTOGRAM_RANGES and len(block.timestamps):
        rows, present = HISTOGRAM_RANGES[function](windows)
        nothing = np.full((1, len(moments)), np.nan)
        return Vector(block.labels, nothing, present[None, :].copy(), {0: from_rows(histograms, rows)})
    if function in COUNTING_RANGES:
        values, present = COUNTING_RANGES[function](windows)
        return Vector(block.labels, values, present[None, :].copy())
    return None


def absent_range(node: SeriesSelector | Subquery, context: Context, reader: Reader, evaluate: Evaluate) -> Vector:
    """Give 1 at each step whose range has no sample of any series."""
    moments = context.moments(node.moment)
    seen = np.zeros(len(moments), dtype=np.bool_)
    for block in read_range(node, context, reader, evaluate):
        seen |= find_windows(block.timestamps, block.values, moments, node.range_ms).counts > 0
    return absence(seen, labels_when_absent(node.matchers) if isinstance(node, SeriesSelector) else ())


def absence(seen: NDArray[np.bool_], labels: Labels) -> Vector:
    """Give 1 at each step at which nothing was seen."""
    if seen.all():
        return empty_vector(len(seen))
    return Vector([labels], np.ones((1, len(seen))), ~seen[None, :])
