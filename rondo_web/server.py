"""The server: uvicorn over stores and the sockets that they are served on, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from rondo_core.read import ALL_STORES, StoreChoice
from rondo_web.application import application, by_port
from rondo_web.http.access import AccessControl, allowed
from rondo_web.http.connection import HEAD_S, MAX_CONNECTIONS, MAX_HEAD_BYTES, BoundedProtocol
from rondo_web.listening import END_S, url_of
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.workers import Workers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_QUEUE, BACKLOG = 512, 128
_KEPT_DESCRIPTORS = 16  # for the loop's own, and for what a request opens
_SWITCH_S = 0.001  # from one thread to the next: those that read do not keep the one that answers waiting


def serve(
    places: Sequence[tuple[Path, socket.socket]],
    *,
    token: bytes = b"",
    names: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    store_label: str = "",
    choice: StoreChoice = ALL_STORES,
    on_open: Callable[[Path, str], object] | None = None,
) -> None:
    """Serve each store on its socket until SIGINT or SIGTERM.

    Args: `token`: what each request must carry; `names`: hosts that may be asked for, besides this machine's own;
        `tls`: see `tls_context`; None: plain HTTP; `store_label`, `choice`: see `ServedStore`; `on_open` is called with
            each store and its URL when it is open.
    Raises: StoreError: there is nothing to read.
    """
    with ExitStack() as stack:
        apps = {}
        workers = Workers()
        max_descriptors = _raise_descriptor_limit()
        for path, listening in places:
            store = ServedStore(path, workers, store_label, choice)
            stack.callback(store.close)
            apps[listening.getsockname()[1]] = application(store)
            if on_open is not None:
                on_open(path, url_of(listening, "http" if tls is None else "https"))
        BoundedProtocol.max_connections, backlog = _connections_for(max_descriptors)
        config = server_config(AccessControl(by_port(apps), allowed(names), token), backlog)
        _log_full_once()
        sys.setswitchinterval(_SWITCH_S)
        with suppress(KeyboardInterrupt):
            BoundedServer(config, tls).run(sockets=[listening for _, listening in places])


def server_config(app: ASGIApp, backlog: int = BACKLOG) -> uvicorn.Config:
    """Give what uvicorn is told: bounded connections, and no word of its own but errors."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        backlog=backlog,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=END_S,
    )


class BoundedServer(uvicorn.Server):
    """uvicorn's server; what it does not accept in one go waits in the kernel, where it costs no descriptor."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        """Serve nothing yet. Args: `tls`: None: plain HTTP."""
        super().__init__(config)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; who begins TLS and does not go on is given up as soon as who does not ask."""
        await super().startup([])
        patience_s = None if self._tls is None else HEAD_S
        for each in sockets or ():
            server = await asyncio.get_running_loop().create_server(
                self._protocol,
                sock=each,
                ssl=self._tls,
                backlog=self.config.backlog,
                ssl_handshake_timeout=patience_s,
                ssl_shutdown_timeout=patience_s,
            )
            self.servers.append(server)
            each.listen(_QUEUE)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)


def _raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may, and give that number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _connections_for(max_descriptors: int) -> tuple[int, int]:
    """Say how many connections the descriptors that are left are enough for, and how many to accept in one go."""
    free = max_descriptors - sum(1 for _ in Path("/proc/self/fd").iterdir()) - _KEPT_DESCRIPTORS
    return max(4, min(MAX_CONNECTIONS, free // 3)), max(2, min(BACKLOG, free // 8))


def _log_full_once() -> None:
    """Let the loop say once that there are no descriptors left, and not for each connection that waits."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        first = record.getMessage().partition("\n")[0]
        if not first.startswith("socket.accept()"):
            return True
        new = first not in said
        said.add(first)
        return new

    logging.getLogger("asyncio").addFilter(is_new)
