"""Firecracker's API: a request and its answer, over its socket; every failure is an ApiError of one line.

Source: Firecracker's src/firecracker/swagger/firecracker.yaml. Each request has a connection of its own: the server
takes ten at a time, and those who drive the machine have a use for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rondo_vmm.errors import ApiError

REPLY_S = 0.8
MAX_REPLY_BYTES = 1 << 18
NO_CONTENT = 204
_UCRED = struct.Struct("iII")
_MEND = "give the path that Firecracker's --api-sock names"


class FirecrackerApi:
    """The API at one socket.

    Attributes: `path`; `pid`: the process that listens there, 0 before the first answer or where it is not known here;
    `reachable`: whether someone listened there the last time.
    """

    def __init__(self, path: Path) -> None:
        """Ask nothing yet."""
        self.path, self.pid, self.reachable = path, 0, True

    async def get(self, target: str) -> Mapping[str, Any]:
        """Give what a GET answers. Raises: ApiError: no answer in 0.8 s, or none of Firecracker's."""
        return await self._ask("GET", target)

    async def flush(self) -> None:
        """Have the metrics written now. Raises: ApiError: as `get`; before its machine is started it refuses."""
        await self._ask("PUT", "/actions", b'{"action_type": "FlushMetrics"}')

    async def _ask(self, method: str, target: str, body: bytes = b"") -> Mapping[str, Any]:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            async with asyncio.timeout(REPLY_S):
                status, answer = await self._exchange(head.encode() + b"\r\n" + body)
        except TimeoutError:
            raise ApiError(f"{self.path}: {target}: no answer in {REPLY_S:g} s; its Firecracker hangs") from None
        except OSError as error:
            self.reachable = False
            raise ApiError(f"{self.path}: {error.strerror or error}; {_MEND}") from None
        except (ValueError, LookupError, RecursionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ApiError(f"{self.path}: {target}: its answer is no HTTP or no JSON; {_MEND}") from None
        if not isinstance(answer, dict):
            raise ApiError(f"{self.path}: {target}: its answer is not Firecracker's; {_MEND}")
        if status // 100 != 2:
            raise ApiError(f"{self.path}: {target}: refused: {answer.get('fault_message') or status}")
        return answer

    async def _exchange(self, request: bytes) -> tuple[int, Any]:
        loop = asyncio.get_running_loop()
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connected.setblocking(False)
            await loop.sock_connect(connected, str(self.path))
            self.pid, self.reachable = peer_of(connected), True
            reader, writer = await asyncio.open_unix_connection(sock=connected, limit=MAX_REPLY_BYTES)
        except BaseException:
            connected.close()
            raise
        try:
            writer.write(request)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size_bytes = int(fields.get("content-length", "0"))
            if not 0 <= size_bytes <= MAX_REPLY_BYTES:
                raise ValueError
            body = b"" if status == NO_CONTENT else await reader.readexactly(size_bytes)
            return status, json.loads(body) if body else {}
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def peer_of(connected: socket.socket) -> int:
    """Give the process that listens at the other end. Source: unix(7), SO_PEERCRED, struct ucred."""
    pid, _, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(pid)
