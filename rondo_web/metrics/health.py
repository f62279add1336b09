"""/metrics/health: whether a process writes the store, and how old its newest sample is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_web.errors import FAILURES
from rondo_web.http.responses import failure_response, json_response
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def health(store: ServedStore, request: Request) -> Response:
    """Say so at once, whoever else asks for what."""
    try:
        newest_ns, pid = await store.health()
    except FAILURES as error:
        return failure_response(error, request.url.path)
    age_s = max(0.0, (wall_ns() - newest_ns) / NS_PER_S) if newest_ns else None
    told = {"status": "ended" if pid is None else "live", "writer_pid": pid, "newest_ns": newest_ns, "age_s": age_s}
    return json_response(json.dumps(told).encode() + b"\n")
