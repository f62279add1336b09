"""The endpoint of a page of Prometheus's API: its parameters are read on the loop, the page is made beside it."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from rondo_core.errors import UsageError
from rondo_web.errors import error_body, prometheus_kind
from rondo_web.http.body import BodyError, read_body
from rondo_web.http.connection import GONE
from rondo_web.http.responses import JSON, BoundedResponse, PageResponse, failure_response, json_response
from rondo_web.prometheus.parameters import Parameters
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

_PACKED_BYTES = 1400  # what is shorter goes in one packet anyway
_MAX_TOLD = 10  # warnings, and infos, of one answer
# Source: zlib's manual, deflateInit2: 15 bits of window, and 16 for gzip's header; level 1 is the quickest.
_GZIP, _LEVEL = 15 + 16, 1
_FORM = "application/x-www-form-urlencoded"


@attrs.frozen
class ApiRequest:
    """A request as a page sees it.

    Attributes:
        store, parameters: of what it asks, and for what.
        body: what was posted, where it is a message and no form.
        limits: how much may be read for it now; more is asked again, see `page_of`.
        gone: says whether nobody waits for the answer any more.
    """

    store: ServedStore
    parameters: Parameters
    body: bytes
    limits: ReadLimits
    gone: Callable[[], bool]


ApiPage = Callable[[ApiRequest], PageResponse]


def page_of(store: ServedStore, page: ApiPage) -> Callable[[Request], Awaitable[Response]]:
    """Give the endpoint of a page; one that raises QueryLimitError for a small read is called once more."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await read_body(request) if request.method == "POST" else b""
            is_form = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower() == _FORM
            parameters = Parameters(request.scope["query_string"], body if is_form else b"")
        except BodyError as error:
            kind = prometheus_kind(error.status)
            return json_response(error_body(error.said, kind), error.status, {"connection": "close"})
        except UsageError as error:
            return failure_response(error, request.url.path)
        except ClientDisconnect:
            return Response()
        gone, packs = request.scope.get(GONE, bool), _takes_gzip(request.headers.get("accept-encoding", ""))

        def make(limits: ReadLimits) -> PageResponse:
            answer = page(ApiRequest(store, parameters, body, limits, gone))
            return _packed(answer) if packs else answer

        return BoundedResponse(store.workers, make)

    return endpoint


def success(data: bytes, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> PageResponse:
    """Give the answer that something went well. Args: `data`: JSON."""
    told = [(name, _first(texts)) for name, texts in (("warnings", warnings), ("infos", infos)) if texts]
    notes = b"".join(b',"%b":%b' % (name.encode(), orjson.dumps(texts)) for name, texts in told)
    return PageResponse(b'{"status":"success","data":%b%b}' % (data, notes), JSON)


def _first(texts: Sequence[str]) -> list[str]:
    """Give the first of many lines, and how many more there are."""
    more = len(texts) - _MAX_TOLD
    return [*texts[:_MAX_TOLD], f"and {more} more"] if more > 0 else list(texts)


def success_of(data: Any, warnings: Sequence[str] = ()) -> PageResponse:
    """Give the answer that something went well, its data still to be written."""
    return success(orjson.dumps(data), warnings)


def fixed(data: Any) -> ApiPage:
    """Give a page that says the same to everyone."""
    return partial(_same, success_of(data))


def _same(answer: PageResponse, _asked: ApiRequest) -> PageResponse:
    return answer


def _takes_gzip(accepted: str) -> bool:
    """Say whether a client unpacks gzip; one that says `q=0` of it does not."""
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _packed(answer: PageResponse) -> PageResponse:
    pieces = answer.pieces
    if not isinstance(pieces, bytes) or len(pieces) < _PACKED_BYTES or answer.encoding or answer.content_type != JSON:
        return answer
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return answer._replace(pieces=packer.compress(pieces) + packer.flush(), encoding="gzip")
