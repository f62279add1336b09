"""Samples of many series: those that have the same timestamps lie in one block, so that windows are found once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms, read_histograms
from rondo_promql.arrays.vector import Labels, Vector, is_stale, read_labels
from rondo_promql.errors import QueryExecutionError

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(slots=True)
class SampleBlock:
    """Series with the same timestamps: float values [series, samples], or the histograms of one series.

    `weights`, if the source gave any, are how many observations each value stands for, for their average.
    """

    labels: list[Labels]
    timestamps: Times
    values: Floats
    histograms: Histograms | None = None
    weights: Floats | None = None


def read_series(series: list[tuple[Any, ...]]) -> tuple[list[SampleBlock], int]:
    """Put what a source selected into blocks.

    Returns: the blocks, and how many samples there are.
    Raises: QueryExecutionError: a series has not as many values, or weights, as timestamps, or these fall.
    """
    blocks: list[SampleBlock] = []
    alike: dict[tuple[bytes, bool], tuple[Times, list[tuple[Labels, Floats, Any]]]] = {}
    last: tuple[Any, bool, list[tuple[Labels, Floats, Any]]] | None = None
    n_samples = 0
    for labels, timestamps, values, *more in series:
        weights = more[0] if more else None
        n_samples += len(timestamps)
        if hasattr(values, "cells"):
            stamps = np.asarray(timestamps, dtype=np.int64)
            histograms = read_histograms(values)
            _check(stamps, [(read_labels(labels), histograms.sum, None)])
            blocks.append(SampleBlock([read_labels(labels)], stamps, np.empty((1, len(stamps))), histograms))
            continue
        if getattr(values, "ndim", 1) == 2:
            blocks.append(_read_block(labels, timestamps, values, weights))
            n_samples += len(timestamps) * (len(values) - 1)
            continue
        row = (read_labels(labels), np.asarray(values, dtype=np.float64), weights)
        if last is not None and last[0] is timestamps and last[1] is (weights is None):
            last[2].append(row)
            continue
        stamps = np.asarray(timestamps, dtype=np.int64)
        _, rows = alike.setdefault((stamps.tobytes(), weights is None), (stamps, []))
        rows.append(row)
        last = (timestamps, weights is None, rows)
    for stamps, rows in alike.values():
        _check(stamps, rows)
        weights = None if rows[0][2] is None else np.array([row[2] for row in rows], dtype=np.float64)
        values = np.array([row[1] for row in rows]).reshape(len(rows), len(stamps))
        blocks.append(SampleBlock([row[0] for row in rows], stamps, values, None, weights))
    return blocks, n_samples


def _read_block(labels: Any, timestamps: Any, values: Any, weights: Any) -> SampleBlock:
    """Take series that came as a block, without a copy. Raises: as `read_series`."""
    names = [read_labels(each) for each in labels]
    stamps, floats = np.asarray(timestamps, dtype=np.int64), np.asarray(values, dtype=np.float64)
    weighed = None if weights is None else np.asarray(weights, dtype=np.float64)
    for each in (floats, floats if weighed is None else weighed):
        if each.shape != (len(names), len(stamps)):
            what = f"a block of {len(names)} series and {len(stamps)} timestamps, with {each.shape} values or weights"
            raise QueryExecutionError(f"{what}; the source must give as many")
    _check(stamps, [(names[0], floats[0], None)] if names else [])
    return SampleBlock(names, stamps, floats, None, weighed)


def _check(stamps: Times, rows: list[tuple[Labels, Floats, Any]]) -> None:
    """Refuse what a source must not give: windows of it would be wrong in silence."""
    what = "timestamps that fall; the source must sort them" if np.count_nonzero(stamps[1:] < stamps[:-1]) else ""
    for labels, values, weights in rows:
        if len(values) != len(stamps) or (weights is not None and len(weights) != len(stamps)):
            what = f"{len(stamps)} timestamps with {len(values)} values; the source must give as many, of weights too"
        if what:
            raise QueryExecutionError(f"{dict(labels)}: {what}")


def without_stale(blocks: list[SampleBlock]) -> list[SampleBlock]:
    """Give blocks without the marks that end series, which no window counts as samples."""
    clean: list[SampleBlock] = []
    for block in blocks:
        marked = block.histograms.sum[None, :] if block.histograms is not None else block.values
        if not np.isnan(marked).any() or not (stale := is_stale(marked)).any():
            clean.append(block)
            continue
        for rows, keep in _patterns(~stale):
            clean.append(
                SampleBlock(
                    [block.labels[row] for row in rows],
                    block.timestamps[keep],
                    block.values[np.ix_(rows, np.flatnonzero(keep))],
                    None if block.histograms is None else block.histograms.rows(keep),
                    None if block.weights is None else block.weights[np.ix_(rows, np.flatnonzero(keep))],
                )
            )
    return clean


def _patterns(keep: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Give the rows that keep the same columns, together."""
    if keep.all():
        return [(np.arange(len(keep)), keep[0])] if len(keep) else []
    packed = np.packbits(keep, axis=1)
    groups: dict[bytes, list[int]] = {}
    for row in range(len(keep)):
        groups.setdefault(packed[row].tobytes(), []).append(row)
    return [(np.array(rows, dtype=np.int64), keep[rows[0]]) for rows in groups.values()]


def blocks_of(vector: Vector, times: Times) -> list[SampleBlock]:
    """Make samples of an expression's values at some times, for the windows of a subquery."""
    blocks = []
    floats = np.array([row for row in range(len(vector.labels)) if row not in vector.histograms], dtype=np.int64)
    for rows, keep in _patterns(vector.present[floats]):
        places = floats[rows]
        values = vector.values[np.ix_(places, np.flatnonzero(keep))]
        blocks.append(SampleBlock([vector.labels[place] for place in places], times[keep], values))
    for row, histograms in vector.histograms.items():
        keep = vector.present[row]
        values = np.empty((1, int(keep.sum())))
        blocks.append(SampleBlock([vector.labels[row]], times[keep], values, histograms.rows(keep)))
    return blocks
