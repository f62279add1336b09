"""Responses: an answer that is made beside the loop and sent as the client takes it, and the words of a failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from rondo_core.errors import QueryLimitError
from rondo_web.errors import FAILURES, BusyError, EvaluationError, error_body, failure_text, prometheus_kind, status_of
from rondo_web.http.connection import GONE
from rondo_web.reading.limits import LARGE, SMALL, ReadLimits
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.workers import MAX_ANSWERS, MAX_LARGE, Workers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

JSON = "application/json"
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_PIECE_BYTES = 1 << 16
SMALL_BYTES = 1 << 19  # of an answer; a longer one takes the place of a large one, so that few are in memory


class PageResponse(NamedTuple):
    """What a page answers: texts that are joined, or bytes, their content type, and how they are packed."""

    pieces: Iterable[str] | bytes
    content_type: str = JSON
    encoding: str = ""


Page = Callable[[ServedStore, "Request", ReadLimits], PageResponse]


def page_of(store: ServedStore, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Give the endpoint of a page that reads the store, within the limits that it is handed.

    A page that raises QueryLimitError for a small read is called once more, for a large one.
    """

    async def endpoint(request: Request) -> Response:
        return BoundedResponse(store.workers, partial(page, store, request))

    return endpoint


class BoundedResponse(Response):
    """An answer that is made when it is sent, beside the loop, and goes in pieces as the client takes them."""

    def __init__(self, workers: Workers, make: Callable[[ReadLimits], PageResponse]) -> None:
        """Make nothing yet. Args: `make`: called on a worker's thread, within the limits that it is handed."""
        super().__init__()
        self._workers, self._make, self._large = workers, make, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """PageResponse."""
        workers, path = self._workers, scope["path"]
        if workers.n_answers >= MAX_ANSWERS:
            await failure_response(BusyError(), path)(scope, receive, send)
            return
        workers.n_answers += 1
        try:
            try:
                body, content_type, encoding = await self._made(scope.get(GONE, bool))
            except FAILURES as error:
                await failure_response(error, path)(scope, receive, send)
                return
            packed = {"content-encoding": encoding} if encoding else {}
            headers = Response(headers={**_HEADERS, **packed}, media_type=content_type).raw_headers
            headers = [each for each in headers if each[0] != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for at in range(0, len(body) or 1, _PIECE_BYTES):
                piece, more = body[at : at + _PIECE_BYTES], at + _PIECE_BYTES < len(body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            workers.n_answers -= 1
            workers.n_large -= self._large

    async def _made(self, gone: Callable[[], bool]) -> tuple[bytes, str, str]:
        workers = self._workers
        with suppress(QueryLimitError):
            made = await workers.small.run(partial(self._encoded, gone, SMALL))
            if len(made[0]) > SMALL_BYTES:
                self._count_as_large()
            return made
        self._count_as_large()
        return await workers.large.run(partial(self._encoded, gone, LARGE))

    def _count_as_large(self) -> None:
        if self._workers.n_large >= MAX_LARGE:
            raise BusyError
        self._large = 1
        self._workers.n_large += 1

    def _encoded(self, gone: Callable[[], bool], limits: ReadLimits) -> tuple[bytes, str, str]:
        if gone():
            raise BusyError
        pieces, content_type, encoding = self._make(limits)
        return pieces if isinstance(pieces, bytes) else "".join(pieces).encode(), content_type, encoding


def json_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Give a response of JSON that is written already."""
    return Response(body, status, {**_HEADERS, **(headers or {})}, JSON)


def failure_response(error: BaseException, path: str) -> Response:
    """Give the response that says what went wrong, where `error` is one of FAILURES, to who asked for `path`."""
    headers = {"retry-after": "1"} if isinstance(error, BusyError) else None
    status = status_of(error)
    kind = error.kind if isinstance(error, EvaluationError) else prometheus_kind(status, path)
    return json_response(error_body(failure_text(error), kind), status, headers)
