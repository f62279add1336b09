"""/api/v1/rondo/lives: the lives that are served, living and dead: whose each is, and how it ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core.clock import wall_ns
from rondo_core.errors import QueryLimitError, RondoError, UsageError, one_line
from rondo_core.model import REGISTRY_FILE, RUNS_FILE, Series, store_name
from rondo_core.read import NewestStores, StoreChoice, scan_directory, still_counted
from rondo_core.retention import Listed, look_at_store
from rondo_core.storage import Meta, Registry, how_ended, outcome, read_meta
from rondo_web.http.responses import PageResponse
from rondo_web.prometheus.parameters import Parameters
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_LIVES = 2_000
MAX_LOOKED_AT_ONCE = 50  # stores, by a small read
NS_PER_MS = 1_000_000
# What a small chart of a life shows: the first of these that it has, else its first counter, else its first series.
_TELLING = ("process_cpu_seconds_total", "vcpu_exits_total", "http_requests_total")


class ListedLife(NamedTuple):
    """What the page knows of a store without reading its points. Attributes: `facts`, as JSON has them."""

    listed: Listed
    facts: dict[str, Any]


class LifeDirectory:
    """The lives at a path. What is known of a dead one is looked for once. Thread-safe."""

    def __init__(self, path: Path, label: str) -> None:
        """Know none of them. Args: `label`: which has a life's name, where there are several."""
        self.path, self._label = path, label
        self._known: dict[Path, tuple[tuple[int, ...], ListedLife]] = {}
        self._newest = NewestStores()
        self._lock = threading.Lock()

    def find(
        self,
        left_out: list[str],
        limits: ReadLimits,
        *,
        directory: bool,
        choices: Sequence[StoreChoice] = (),
        most: int = MAX_LIVES,
    ) -> tuple[list[ListedLife], int]:
        """Look at those that live and the newest of the others, and say how many there are.

        Args: `left_out`: takes a line for each that could not be looked at; `directory`: whether the path is one;
            `choices`: only these; `most`: how many are looked at.
        Raises: QueryLimitError: that takes longer than the limits allow; as `scan_directory`; where the path is a
            store, as `look_at_store`.
        """
        if not directory:
            return [self._look(self.path, "")], 1
        scan = scan_directory(self.path)
        left_out += scan.errors + scan.passed
        every, found = still_counted(scan.stores, left_out), list[ListedLife]()
        chosen = every
        for choice in choices:
            chosen = self._newest.choose(choice, chosen)
        stores = self._newest.newest_first(chosen, most)
        n_new = sum(path not in self._known for path in stores)
        if n_new > MAX_LOOKED_AT_ONCE and not limits.may_reopen:
            raise QueryLimitError(f"{n_new} stores that were not looked at yet; at most {MAX_LOOKED_AT_ONCE} at once")
        for path in stores:
            try:
                found.append(self._look(path, str(path.relative_to(self.path))))
            except (RondoError, OSError, ValueError) as error:
                left_out.append(one_line(error))
        with self._lock:
            there = set(every)
            self._known = {path: known for path, known in self._known.items() if path in there}
        self._newest.forget_others(there)
        return found, len(chosen)

    def one(self, name: str, *, directory: bool) -> ListedLife:
        """Look at the one of this name, its path below the directory; empty: at the only one.

        Raises: UsageError: there is none; else as `look_at_store`.
        """
        if not directory and not name:
            return self._look(self.path, "")
        stores = still_counted(scan_directory(self.path).stores) if directory else ()
        path = next((each for each in stores if str(each.relative_to(self.path)) == name), None)
        if path is None:
            raise UsageError(f"store {name!r}: no such life here; /api/v1/rondo/lives names them")
        return self._look(path, name)

    def _look(self, path: Path, name: str) -> ListedLife:
        mark = _mark(path)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        listed = look_at_store(path)
        meta = read_meta(path)
        registry = Registry(path / REGISTRY_FILE, meta.schemas, writable=False)
        try:
            telling = {self._label: store_name(path, self.path, self._label)} if name else {}
            facts = _facts(listed, meta, name, telling, list(registry))
        finally:
            registry.close()
        life = ListedLife(listed, facts)
        if listed.is_dead or listed.folded is not None:
            with self._lock:
                self._known[path] = mark, life
        return life


def lives(known: LifeDirectory, store: ServedStore, request: Request, limits: ReadLimits) -> PageResponse:
    """Give the lives, the living first and then the newest, and a line for each store that could not be read.

    Its parameters are `limit`, how many; `last` and `job`, of which; see `StoreChoice`.
    """
    asked = Parameters(request.scope["query_string"])
    choices = store.choice, StoreChoice(asked.limit("last"), asked.text("job"))
    most = min(asked.limit() or MAX_LIVES, MAX_LIVES)
    left_out: list[str] = []
    found, n_lives = known.find(left_out, limits, directory=store.is_directory(), choices=choices, most=most)
    limits.check_series(len(found))
    found.sort(key=lambda life: (life.facts["outcome"] != "live", -(life.facts["start_ms"] or 0), life.facts["name"]))
    told = {
        "place": known.path.resolve().name,
        "directory": store.is_directory(),
        "now_ms": wall_ns() // NS_PER_MS,
        "n_lives": n_lives,
        "lives": [life.facts for life in found],
        "left_out": left_out,
    }
    return success(told)


def success(data: Any) -> PageResponse:
    """Give an answer as the Prometheus API wraps it."""
    return PageResponse([json.dumps({"status": "success", "data": data}), "\n"])


def _mark(path: Path) -> tuple[int, ...]:
    """Tell a dead store from what it is after another opening: by its record of runs, which each opening writes."""
    found = (path / RUNS_FILE).lstat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _facts(listed: Listed, meta: Meta, name: str, telling: dict[str, str], series: Sequence[Series]) -> dict[str, Any]:
    run = listed.run
    said, sort = "never written", "unclear"
    if listed.folded is not None:
        said = f"{listed.folded.stores} lives, folded into one store"
    elif listed.unknown:
        said = f"whether it is written is not known: {listed.unknown}"
    elif run is not None:
        said, sort = how_ended(run, listed.pid), outcome(run, listed.pid)
    labels = telling and telling | dict(meta.labels)
    return {
        "store": name,
        "name": name or listed.path.resolve().name,
        "id": listed.store_id,
        "labels": labels,
        "matchers": {each: labels[each] for each in telling},
        "writer": run.writer if run else "",
        "pid": run.pid if run else None,
        "run": run.number if run else 0,
        "made_ms": meta.created_ns // NS_PER_MS,
        "start_ms": run.opened_ns // NS_PER_MS if run else None,
        "end_ms": listed.ended_ns // NS_PER_MS if listed.ended_ns else None,
        "ended": said,
        "outcome": sort,
        "size_bytes": listed.size_bytes,
        "n_series": len(series),
        "telling": _telling(series),
    }


def _telling(series: Sequence[Series]) -> dict[str, str] | None:
    """Choose the metric that tells most of a life at a glance."""
    kinds = {each.name: each.kind for each in reversed(series) if not each.name.startswith("rondo_")}
    chosen = next((name for name in _TELLING if name in kinds), None)
    chosen = chosen or next((each.name for each in series if kinds.get(each.name) == "counter"), None)
    chosen = chosen or next(iter(reversed(kinds)), None)
    return {"name": chosen, "kind": kinds[chosen]} if chosen else None
