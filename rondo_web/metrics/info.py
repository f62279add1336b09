"""/metrics/info: what the store is, who wrote it, and which series it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from rondo_core.model import Series
from rondo_core.read import StoreReader
from rondo_core.storage import size_bytes
from rondo_web.http.responses import Answer
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.shared_reader import Reader, of_each

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SERIES_LISTED = 10_000


def info(store: ServedStore, _request: Request, limits: ReadLimits) -> Answer:
    """Give each store, the first 10,000 series and how many there are, and the stores that could not be read."""
    with store.reader(limits) as reader:
        n_series = sum(of_each(reader, lambda _, each: len(each.registry)))
        limits.check_series(n_series)
        series = [
            {key: getattr(each, key) for key in ("name", "kind", "unit", "help")} | {"labels": dict(each.labels)}
            for each in islice(_series(reader), MAX_SERIES_LISTED)
        ]
        stores = of_each(reader, lambda _, each: _describe(each))
        told = {"stores": stores, "n_series": n_series, "series": series}
        told["left_out"] = list(getattr(reader, "errors", ()))
    return Answer([json.dumps(told), "\n"])


def _series(reader: Reader) -> Iterator[Series]:
    return iter(reader.registry if isinstance(reader, StoreReader) else reader.series())


def _describe(reader: StoreReader) -> dict[str, Any]:
    meta = reader.meta
    schemas = [
        {
            "name": schema.name,
            "kind": schema.kind,
            "series": reader.registry.counts[schema.name],
            "max_series": schema.max_series,
            "tiers": [str(tier) for tier in schema.tiers],
        }
        for schema in meta.schemas
    ]
    runs = [
        {"number": run.number, "pid": run.pid, "writer": run.writer, "opened_ns": run.opened_ns, "ended": run.ended}
        for run in reader.runs()
    ]
    return {
        "path": str(reader.path),
        "store_id": meta.store_id,
        "created_ns": meta.created_ns,
        "size_bytes": size_bytes(meta.schemas),
        "schemas": schemas,
        "runs": runs,
    }
