"""What /metrics/info tells of many stores: read from their headers alone, and once for as long as those stay."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_core.model import META_FILE, REGISTRY_FILE, RUNS_FILE, Series
from rondo_core.storage import Meta, Registry, Run, read_meta, read_runs, size_bytes

# A file that was written that short a time ago may be written once more with the same time on it.
_SETTLED_NS = 2 * NS_PER_S
_Mark = tuple[tuple[int, int, int], ...]


@attrs.frozen
class Description:
    """What is told of a store. Attributes: `n_series`; `facts`, as JSON has them; `series`, the first of them."""

    n_series: int
    facts: dict[str, Any]
    series: tuple[Series, ...]


class Descriptions:
    """What was told of stores, by their paths, until their files change. Thread-safe."""

    def __init__(self) -> None:
        """Know no store."""
        self._known: dict[Path, tuple[_Mark, Description]] = {}
        self._lock = threading.Lock()

    def of(self, paths: dict[str, Path], max_series: int, left_out: list[str]) -> Iterator[tuple[str, Description]]:
        """Describe each store, at most so many series of it; what of one cannot be read is a line in `left_out`."""
        for name, path in paths.items():
            try:
                yield name, self._one(path, max_series)
            except (RondoError, OSError, ValueError) as error:
                left_out.append(one_line(error))
        with self._lock:
            there = {*paths.values()}
            self._known = {path: known for path, known in self._known.items() if path in there}

    def _one(self, path: Path, max_series: int) -> Description:
        mark = _mark(path)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        meta = read_meta(path)
        registry = Registry(path / REGISTRY_FILE, meta.schemas, writable=False)
        try:
            series = tuple(registry)[:max_series]
            described = Description(
                len(registry), describe(path, meta, registry.counts, read_runs(path / RUNS_FILE)), series
            )
        finally:
            registry.close()
        if all(wall_ns() - changed_ns > _SETTLED_NS for _, _, changed_ns in mark):
            with self._lock:
                self._known[path] = mark, described
        return described


def _mark(path: Path) -> _Mark:
    """Tell a store's headers, as they are now, from those of any other store or time."""
    found = ((path / name).lstat() for name in (META_FILE, REGISTRY_FILE, RUNS_FILE))
    return tuple((each.st_dev, each.st_ino, each.st_mtime_ns) for each in found)


def describe(path: Path, meta: Meta, counts: dict[str, int], runs: list[Run]) -> dict[str, Any]:
    """Say what a store is, as JSON has it. Args: `counts`: series by schema."""
    schemas = [
        {
            "name": schema.name,
            "kind": schema.kind,
            "series": counts[schema.name],
            "max_series": schema.max_series,
            "tiers": [str(tier) for tier in schema.tiers],
        }
        for schema in meta.schemas
    ]
    told = [
        {"number": run.number, "pid": run.pid, "writer": run.writer, "opened_ns": run.opened_ns, "ended": run.ended}
        for run in runs
    ]
    return {
        "path": str(path),
        "store_id": meta.store_id,
        "created_ns": meta.created_ns,
        "size_bytes": size_bytes(meta.schemas),
        "labels": dict(meta.labels),
        "schemas": schemas,
        "runs": told,
    }
