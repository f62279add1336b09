"""/api/v1/read: remote read, by which a Prometheus asks what is served with an engine of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondo_core.errors import QueryLimitError, UsageError
from rondo_web.http.access import MAX_BODY_BYTES
from rondo_web.http.responses import PageResponse
from rondo_web.prometheus import snappy
from rondo_web.prometheus.endpoint import ApiRequest
from rondo_web.prometheus.parameters import FIRST_MS, LAST_MS
from rondo_web.prometheus.read_messages import ReadQuery, query_result, read_request, time_series
from rondo_web.prometheus.selection import ServedSource, matchers

# Some 20 bytes each, of which few answers are in memory at once, see `MAX_LARGE`.
MAX_SAMPLES = 800_000
_TYPE = "application/x-protobuf"


def remote_read(asked: ApiRequest) -> PageResponse:
    """Give the samples of each query, as SAMPLES, which every client takes, whatever else it would rather have."""
    try:
        queries = read_request(snappy.unpack(asked.body, MAX_BODY_BYTES))
    except ValueError as error:
        raise UsageError(f"no request of remote read: {error}") from None
    source, left = ServedSource(asked), MAX_SAMPLES
    results = []
    for query in queries:
        series = []
        for labels, stamps, values, *_ in _selected(source, query):
            left -= len(stamps)
            if left < 0:
                what = f"the query asks for more than {MAX_SAMPLES} samples"
                raise QueryLimitError(f"{what}; give a shorter range or fewer series")
            series.append(time_series(dict(labels), stamps, values))
        results.append(query_result(series))
    return PageResponse(snappy.wrap(b"".join(results)), _TYPE, "snappy")


def _selected(source: ServedSource, query: ReadQuery) -> list[Any]:
    """Give the series of samples; native histograms are left out, their buckets are there under their own name."""
    chosen = matchers(query.matchers, "remote read")
    span = (max(FIRST_MS, query.start_ms), min(LAST_MS, query.end_ms))
    return [each for each in source.select(chosen, *span, query) if isinstance(each[2], np.ndarray)]
