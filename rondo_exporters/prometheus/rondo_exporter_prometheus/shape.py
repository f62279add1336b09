"""What a request's series begin with, kept while requests follow each other with the same series; pure, no I/O.

A backlog leaves as one request after the other, of the same series in the same order, each with every sample. Then all
but the samples is known from the request before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondo_core import Series
from rondo_core.export.protobuf import varint
from rondo_core.model.prometheus import Column
from rondo_exporter_prometheus.wire import zero_sample


class Block(NamedTuple):
    """One column of a part: the samples of all of its series, as bytes; none where nothing of a series is sent."""

    series: tuple[Series, ...]
    column: Column
    data: list[bytes]


def with_zeroes(data: list[bytes], zeroes_ms: NDArray[np.int64] | None) -> list[bytes]:
    """Put a sample of 0 before the samples of the series that begin with one: at `zeroes_ms`, -1: none."""
    if zeroes_ms is None:
        return data
    stamps = zeroes_ms.tolist()
    return [zero_sample(ms) + own if own and ms >= 0 else own for own, ms in zip(data, stamps, strict=True)]


class Shape:
    """The series of the request before, in order, and what each begins with."""

    def __init__(self, tag: bytes) -> None:
        """Know of no request yet. Args: `tag`: what goes before the length of a series."""
        self._tag = tag
        self._columns: list[tuple[tuple[Series, ...], Column]] = []
        self._front, self._heads = b"", list[bytes]()

    def keep(self, blocks: Sequence[Block], front: bytes, heads: Iterable[bytes]) -> None:
        """Keep the shape of a request: `front`, what stands before its series, and what each of them begins with.

        A request of which not every series of every block is one of its own is no shape that others could have.
        """
        self._front, self._heads = front, list(heads)
        whole = len(self._heads) == sum(len(block.series) for block in blocks) and _all_present(blocks)
        self._columns = [(block.series, block.column) for block in blocks] if whole else []

    def body(self, blocks: Sequence[Block]) -> bytes:
        """Give the request of these blocks; no bytes where it has another shape."""
        columns = self._columns
        if len(blocks) != len(columns) or not columns or not _all_present(blocks):
            return b""
        for block, (series, column) in zip(blocks, columns, strict=True):
            if block.series is not series or block.column is not column:
                return b""
        pieces = [self._front]
        for head, data in zip(self._heads, chain.from_iterable(block.data for block in blocks), strict=True):
            pieces += (self._tag, varint(len(head) + len(data)), head, data)
        return b"".join(pieces)


def _all_present(blocks: Sequence[Block]) -> bool:
    return all(all(block.data) for block in blocks)
