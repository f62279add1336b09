"""The HTTP API of a store or a directory of stores: read by a process of its own, so it costs the writer nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from rondo_cli import render
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.directory import size_bytes
from rondo_core.errors import RondoError, StoreNotFoundError, UnknownSeriesError, UsageError, one_line
from rondo_core.export.newest import Found, newest_of
from rondo_core.exposition import Value, choose, expose
from rondo_core.labels import Series
from rondo_core.query import parse_range
from rondo_core.store_reader import StoreReader
from rondo_core.stores import LABEL, StoresReader, open_reader
from rondo_core.units import parse_instant_ns

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

QUERY_KEYS = ("series", "start", "end", "range", "tier", "fn", "xff")
_JSON = "application/json"
_REOPEN_NS = 5 * NS_PER_S


class Api:
    """Answers requests from what is on disk; single-threaded, as the server's loop is."""

    def __init__(self, path: Path) -> None:
        """Open the store or the stores at `path`. Raises: as `open_reader`."""
        self._path = path
        self._reader = open_reader(path)
        self._opened_ns = wall_ns()

    def app(self) -> Starlette:
        """Give the application with its routes."""
        routes = {"health": self.health, "info": self.info, "query": self.query}
        below = [Route(f"/metrics/{name}", _answering(call)) for name, call in routes.items()]
        return Starlette(routes=[Route("/metrics", self._metrics), *below])

    def close(self) -> None:
        """Let go of the store."""
        self._reader.close()

    def health(self, _request: Request) -> Any:
        """Say whether a process writes the store, and how old its newest sample is."""
        reader = self._fresh()
        newest, pid = reader.newest_ns(), reader.writer_pid()
        age_s = max(0.0, (wall_ns() - newest) / NS_PER_S) if newest else None
        return {"status": "ended" if pid is None else "live", "writer_pid": pid, "newest_ns": newest, "age_s": age_s}

    def info(self, _request: Request) -> Any:
        """Say what the store is and which series it holds."""
        reader = self._fresh()
        series = [
            {"name": each.name, "labels": dict(each.labels), "kind": each.kind, "unit": each.unit, "help": each.help}
            for each in reader.series()
        ]
        stores = [_describe(each) for each in _named(reader).values()]
        return {"stores": stores, "series": series}

    def query(self, request: Request) -> Any:
        """Read points: `series` is a selector; `start` and `end` are instants, or `range` is a duration or "all"."""
        asked = dict(request.query_params)
        for key in asked:
            if key not in QUERY_KEYS:
                raise UsageError(f"{key}: no such parameter; there are {', '.join(QUERY_KEYS)}")
        if not asked.get("series"):
            raise UsageError("series: missing; give a selector such as vcpu_exits_total{reason=io}")
        reader = self._fresh()
        live = reader.writer_pid() is not None
        found = reader.query(
            asked["series"],
            parse_range(_range(asked)),
            tier=asked.get("tier", "auto"),
            fn=asked.get("fn"),
            now_ns=wall_ns() if live else None,
            xff=_share(asked.get("xff", "0")),
        )
        return json.loads(render.as_json(found))

    async def _metrics(self, request: Request) -> Response:
        """Say where the series of every live store stand, for a scraper; a store that has ended has none."""
        content_type = choose(request.headers.get("accept", ""))
        reader = self._fresh()
        found = [
            each
            for name, store in _named(reader).items()
            if store.writer_pid() is not None
            for each in _labelled(newest_of(store), name)
        ]
        return Response(expose(found, content_type).text, media_type=content_type)

    def _fresh(self) -> StoreReader | StoresReader:
        """Give the reader, with what was declared since; where the path became another store, with that one."""
        now_ns = wall_ns()
        if isinstance(self._reader, StoreReader) and not self._reader.is_outdated():
            self._reader.refresh()
        elif isinstance(self._reader, StoreReader) or now_ns - self._opened_ns > _REOPEN_NS:
            fresh = open_reader(self._path)
            self._reader.close()
            self._reader, self._opened_ns = fresh, now_ns
        return self._reader


def by_port(apps: Mapping[int, ASGIApp]) -> ASGIApp:
    """Give an application that hands each request to the one of the port that it came to."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    return dispatch


def _answering(call: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return _json(call(request))
        except (UnknownSeriesError, StoreNotFoundError) as error:
            return _json({"error": one_line(error)}, 404)
        except UsageError as error:
            return _json({"error": one_line(error)}, 400)
        except RondoError as error:
            return _json({"error": one_line(error)}, 503)

    return answer


def _json(plain: Any, status: int = 200) -> Response:
    return Response(json.dumps(plain) + "\n", status, media_type=_JSON)


def _named(reader: StoreReader | StoresReader) -> dict[str, StoreReader]:
    return {"": reader} if isinstance(reader, StoreReader) else reader.readers


def _labelled(found: list[Found], store: str) -> Iterator[tuple[Series, Value]]:
    """Tell the series of several stores apart, as queries do."""
    for series, _, value in found:
        labels = tuple(sorted({**dict(series.labels), LABEL: store}.items())) if store else series.labels
        yield series._replace(labels=labels), value


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


def _range(asked: dict[str, str]) -> str:
    """Give the range in the words of `--range`."""
    if "range" in asked:
        if "start" in asked or "end" in asked:
            raise UsageError("range: given beside start or end; keep one")
        return asked["range"]
    if "start" not in asked and "end" not in asked:
        return "all"
    start, end = asked.get("start", "1970-01-01T00:00:00Z"), asked.get("end", "2262-01-01T00:00:00Z")
    parse_instant_ns(start), parse_instant_ns(end)
    return f"{start}..{end}"


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0.0 <= (share := float(text)) <= 1.0:
            return share
    raise UsageError(f"xff: {text!r} is not a share; from 0 to 1")
