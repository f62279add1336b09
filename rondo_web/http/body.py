"""Bodies of requests: read within bounds of size and time, also when they are packed."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from rondo_core.errors import RondoError
from rondo_web.http.access import MAX_BODY_BYTES

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_S = 5.0  # for a body as a whole, however it drips
# Source: zlib's manual, inflateInit2: 15 bits of window, and 16 for gzip's header.
_GZIP = 15 + 16


class BodyError(RondoError):
    """A body that is not read, and the status that says so; the connection ends with it."""

    def __init__(self, status: int, said: str) -> None:
        """Take HTTP's status, and what is wrong."""
        super().__init__(status, said)
        self.status, self.said = status, said

    def __str__(self) -> str:
        """Say what is wrong."""
        return self.said


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read the body of a request, gzip's unpacked.

    Raises: BodyError: it is larger, as it comes or unpacked, does not come in time, or is packed otherwise.
    """
    parts, n_bytes = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                n_bytes += len(part)
                if n_bytes > max_bytes:
                    raise BodyError(413, f"a body of more than {max_bytes} bytes")
                parts.append(part)
    except TimeoutError:
        raise BodyError(408, f"the body did not come within {BODY_S:g} s") from None
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    if packing == "gzip":
        return _unpacked(b"".join(parts), max_bytes)
    if packing not in {"identity", "snappy"}:  # the latter is of messages that say so themselves
        raise BodyError(400, f"Content-Encoding {packing!r}: gzip is read, and none")
    return b"".join(parts)


def _unpacked(packed: bytes, max_bytes: int) -> bytes:
    """Unpack no more than may be; a bomb is not unpacked any further."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error:
        raise BodyError(400, "the body is not gzip") from None
    if len(data) > max_bytes:
        raise BodyError(413, f"a body of more than {max_bytes} bytes, unpacked")
    if not unpacker.eof:
        raise BodyError(400, "the body is not gzip, or not all of it")
    return data
