"""The HTTP API of a store or a directory of stores: read by a process of its own, so it costs the writer nothing.

Whoever asks may be a stranger: what a request may read is bounded, its regular expressions are RE2's, and it is read
on a thread beside the server's loop. `health` waits for none of them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from rondo_cli import render
from rondo_cli.described import Described, Descriptions, describe
from rondo_cli.guard import GONE, error_body
from rondo_cli.lanes import BusyError, Lanes
from rondo_cli.patterns import compile_re2
from rondo_cli.served import Reader, Served
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import QueryLimitError, RondoError, UnknownSeriesError, UsageError, one_line
from rondo_core.export import Found, newest_of
from rondo_core.export.exposition import Value, choose, expose
from rondo_core.model import Series, overridden, parse_range, parse_selector
from rondo_core.read import LABEL, Budget, StoreReader, look_below
from rondo_core.units import parse_instant_ns

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

T = TypeVar("T")
PAGES = ("/metrics", "/metrics/health", "/metrics/info", "/metrics/query")
QUERY_KEYS = ("series", "start", "end", "range", "tier", "fn", "xff")
MAX_POINTS, MAX_VALUES, QUERY_NS = 200_000, 4_000_000, 5 * NS_PER_S
SMALL_POINTS, SMALL_VALUES, SMALL_NS = 5_000, 100_000, NS_PER_S // 5
MAX_CONDITIONS = 64
MAX_SERIES_SCRAPED, MAX_SERIES_LISTED, SMALL_SERIES = 50_000, 10_000, 1_000
# Answers that are in memory at once, with what a slow client has not taken yet.
MAX_ANSWERS, MAX_LARGE = 128, 8
MAX_WAITING, PATIENCE_S = 128, 20.0
_JSON = "application/json"
_PIECE = 1 << 16
# The first that an error is of.
_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (UnknownSeriesError, 404),
    (QueryLimitError, 422),
    (UsageError, 400),
    (RondoError, 503),
    (OSError, 503),
    (MemoryError, 503),
)
_FAILURES = tuple(kind for kind, _ in _STATUSES)
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Desk:
    """What the APIs of one process share: a thread for what is small, one for what is large, and one for health.

    Every request is tried as a small one; one that turns out not to be waits for the large ones before it, and keeps
    no small one waiting.
    """

    def __init__(self) -> None:
        """Start the threads."""
        self.small, self.large, self.telling = (Lanes(1, MAX_WAITING, PATIENCE_S) for _ in range(3))
        self.n_answers = self.n_large = 0


class Api:
    """Answers requests from what is on disk."""

    def __init__(self, path: Path, desk: Desk) -> None:
        """Open the store or the stores at `path`. Raises: as `open_reader`."""
        self._served, self._desk = Served(path), desk
        self._path, self._descriptions = path, Descriptions(MAX_SERIES_LISTED)

    def app(self) -> Starlette:
        """Give the application with its routes."""
        routes = {
            "/metrics": self._bounded(self.metrics),
            "/metrics/health": self.health,
            "/metrics/info": self._bounded(self.info),
            "/metrics/query": self._bounded(self.query),
        }
        handlers: dict[Any, Any] = {HTTPException: _refused}
        app = Starlette(routes=[Route(path, call) for path, call in routes.items()], exception_handlers=handlers)
        app.router.redirect_slashes = False  # which would send the client to whatever its Host says
        return app

    def close(self) -> None:
        """Let go of the store."""
        self._served.close()

    async def health(self, _request: Request) -> Response:
        """Say whether a process writes the store, and how old its newest sample is; at once, whoever else asks."""
        try:
            facts = await self._desk.telling.run(self._served.facts)
        except _FAILURES as error:
            return _failure(error)
        if self._served.is_due():
            self._follow()
        if facts is None:
            return _failure(BusyError())
        newest, pid = facts
        age_s = max(0.0, (wall_ns() - newest) / NS_PER_S) if newest else None
        told = {"status": "ended" if pid is None else "live", "writer_pid": pid, "newest_ns": newest, "age_s": age_s}
        return Response(json.dumps(told) + "\n", 200, _HEADERS, _JSON)

    def _follow(self) -> None:
        """Have what is at the path by now opened, by a thread that may take its time; nobody waits for it."""

        def look() -> None:
            with suppress(*_FAILURES), self._served.reader():
                pass

        self._desk.large.send(look)

    def info(self, _request: Request, *, small: bool) -> tuple[list[str], str]:
        """Say what the store is and which series it holds: the first 10,000 of them, and how many there are."""
        if self._served.is_many():  # their headers say it all: none of them is opened whole
            below = look_below(self._path)
            left_out = below.errors + below.passed
            paths = {str(path.relative_to(self._path)): path for path in below.stores}
            found = list(self._descriptions.of(paths, left_out))
        else:
            with self._reader(small=small) as store:
                assert isinstance(store, StoreReader)  # noqa: S101 - for the type checker
                facts = describe(store.path, store.meta, store.registry.counts, store.runs())
                first = tuple(islice(store.registry, MAX_SERIES_LISTED))
                found, left_out = [("", Described(len(store.registry), facts, first))], []
        n_series = sum(each.n_series for _, each in found)
        _check_small(n_series, small=small)
        named = (_named(name, series) for name, each in found for series in each.series)
        series = [
            {key: getattr(each, key) for key in ("name", "kind", "unit", "help")} | {"labels": dict(each.labels)}
            for each in islice(named, MAX_SERIES_LISTED)
        ]
        plain = {"stores": [each.facts for _, each in found], "n_series": n_series, "series": series}
        return [json.dumps({**plain, "left_out": left_out}), "\n"], _JSON

    def query(self, request: Request, *, small: bool) -> tuple[list[str], str]:
        """Read points: `series` is a selector; `start` and `end` are instants, or `range` is a duration or "all"."""
        asked = dict(request.query_params)
        for key in asked:
            if key not in QUERY_KEYS:
                raise UsageError(f"{key}: no such parameter; there are {', '.join(QUERY_KEYS)}")
        if not asked.get("series"):
            raise UsageError("series: missing; give a selector such as vcpu_exits_total{reason=io}")
        selector = parse_selector(asked["series"], compile_re2)
        if selector.conditions() > MAX_CONDITIONS:
            raise UsageError(f"series: {selector.conditions()} conditions; at most {MAX_CONDITIONS}")
        span, xff = parse_range(_range(asked)), _share(asked.get("xff", "0"))
        budget = Budget(*((SMALL_POINTS, SMALL_VALUES, SMALL_NS) if small else (MAX_POINTS, MAX_VALUES, QUERY_NS)))
        with self._reader(small=small) as reader:
            live = reader.writer_pid() is not None
            found = reader.query(
                selector,
                span,
                tier=asked.get("tier", "auto"),
                fn=asked.get("fn"),
                now_ns=wall_ns() if live else None,
                xff=xff,
                budget=budget,
            )
            pieces = ["["]
            for each in found:
                budget.check()
                pieces += [json.dumps(render.plain(each)), ", "]
        pieces[-1] = "]\n"
        return pieces, _JSON

    def metrics(self, request: Request, *, small: bool) -> tuple[list[str], str]:
        """Say where the series of every live store stand, for a scraper; a store that has ended has none."""
        content_type = choose(request.headers.get("accept", "")[:1000])
        with self._reader(small=small) as reader:
            n_series = sum(_of_each(reader, lambda _, store: len(store.registry) * _is_live(store)))
            _check_small(n_series, small=small)
            if n_series > MAX_SERIES_SCRAPED:
                what = f"{n_series} series; at most {MAX_SERIES_SCRAPED} are told at once"
                raise QueryLimitError(f"{what}; let rondo export send them")

            def newest(name: str, store: StoreReader) -> list[tuple[Series, Value]]:
                return list(_labelled(newest_of(store), name)) if _is_live(store) else []

            found = [each for many in _of_each(reader, newest) for each in many]
        return [expose(found, content_type).text], content_type

    @contextmanager
    def _reader(self, *, small: bool) -> Iterator[Reader]:
        """Give the reader, with what was declared since; a directory is opened anew by who takes his time."""
        later = small and self._served.is_many()
        if later and self._served.is_due():
            self._follow()
        with self._served.reader(follow=not later) as reader:
            if isinstance(reader, StoreReader):
                reader.refresh()
            yield reader

    def _bounded(self, call: Callable[..., tuple[list[str], str]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return _Answer(self._desk, partial(call, request))

        return endpoint


class _Answer(Response):
    """An answer that is made when it is sent, beside the loop, and goes in pieces as the client takes them."""

    def __init__(self, desk: Desk, make: Callable[..., tuple[list[str], str]]) -> None:
        super().__init__()
        self._desk, self._make, self._large = desk, make, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        if desk.n_answers >= MAX_ANSWERS:
            await _failure(BusyError())(scope, receive, send)
            return
        desk.n_answers += 1
        try:
            try:
                body, media_type = await self._made(scope.get(GONE, bool))
            except _FAILURES as error:
                await _failure(error)(scope, receive, send)
                return
            headers = Response(headers=_HEADERS, media_type=media_type).raw_headers
            headers = [each for each in headers if each[0] != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for at in range(0, len(body), _PIECE):
                await send({"type": "http.response.body", "body": body[at : at + _PIECE], "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            desk.n_answers -= 1
            desk.n_large -= self._large

    async def _made(self, gone: Callable[[], bool]) -> tuple[bytes, str]:
        desk = self._desk
        with suppress(QueryLimitError):
            return await desk.small.run(partial(self._encoded, gone, small=True))
        if desk.n_large >= MAX_LARGE:
            raise BusyError
        self._large = 1
        desk.n_large += 1
        return await desk.large.run(partial(self._encoded, gone, small=False))

    def _encoded(self, gone: Callable[[], bool], *, small: bool) -> tuple[bytes, str]:
        if gone():
            raise BusyError
        pieces, media_type = self._make(small=small)
        return "".join(pieces).encode(), media_type


def _check_small(n_series: int, *, small: bool) -> None:
    if small and n_series > SMALL_SERIES:
        raise QueryLimitError(f"{n_series} series")


def by_port(apps: Mapping[int, ASGIApp]) -> ASGIApp:
    """Give an application that hands each request to the one of the port that it came to."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    return dispatch


def _failure(error: BaseException) -> Response:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    headers = {**_HEADERS, "retry-after": "1"} if isinstance(error, BusyError) else _HEADERS
    said = one_line(error) if isinstance(error, RondoError) else f"the store cannot be read now: {one_line(error)}"
    return Response(error_body(said), status, headers, _JSON)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is called for
    said = {404: f"no such page; there are {', '.join(PAGES)}", 405: "only GET and HEAD are answered"}
    body = error_body(said.get(error.status_code, error.detail))
    return Response(body, error.status_code, {**_HEADERS, **(error.headers or {})}, _JSON)


def _of_each(reader: Reader, read: Callable[[str, StoreReader], T]) -> list[T]:
    return [read("", reader)] if isinstance(reader, StoreReader) else reader.of_each(read)


def _is_live(store: StoreReader) -> bool:
    return store.writer_pid() is not None


def _labelled(found: list[Found], store: str) -> Iterator[tuple[Series, Value]]:
    """Tell the series of several stores apart, as queries do."""
    for series, _, value in found:
        yield _named(store, series), value


def _named(store: str, series: Series) -> Series:
    return series._replace(labels=overridden(series.labels, {LABEL: store})) if store else series


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
