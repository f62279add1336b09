"""The page's files: plain HTML, CSS and modules of JavaScript, as they lie in `static/`, and no other file."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
# Source: CSP Level 3. Scripts, styles, images and requests of this server's own, and nothing inline.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class PageFile(NamedTuple):
    """A file as it is sent: its bytes, its content type, and the tag that a browser knows it by."""

    body: bytes
    content_type: str
    tag: str


@cache
def names() -> frozenset[str]:
    """Give the names of all files below `static/`: what a client names is looked up here, never on the disk."""
    return frozenset(str(each.relative_to(STATIC)) for each in STATIC.rglob("*") if each.is_file())


@cache
def read_file(name: str) -> PageFile:
    """Read one of the files, once. Args: `name`: one of `names`."""
    body = (STATIC / name).read_bytes()
    return PageFile(body, TYPES[Path(name).suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def file_of(name: str | None = None) -> Callable[[Request], Awaitable[Response]]:
    """Give the endpoint of a file; without a name, of the one that the path names."""

    async def endpoint(request: Request) -> Response:
        asked = name or request.path_params["name"]
        if asked not in names():
            raise HTTPException(404)
        file = read_file(asked)
        headers = _HEADERS | {"etag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.content_type)

    return endpoint
