"""`rondo serve`: an HTTP API over a store, live or finished, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import click

from rondo_cli import run_long
from rondo_cli.params import STORE
from rondo_core.errors import UsageError

HOST, PORT = "127.0.0.1", 9464
END_S = 5.0


@click.command("serve")
@STORE
@click.option("--host", default=HOST, show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--listening-fd", type=int, default=None, hidden=True, help="A socket that listens already.")
@click.option("--and", "more", type=(click.Path(path_type=Path), int), multiple=True, hidden=True, help="Another such.")
def command(store: Path, host: str, port: int, listening_fd: int | None, more: Sequence[tuple[Path, int]]) -> None:
    """Answer HTTP requests for what STORE holds; where STORE is a directory of stores, for all of them.

    /metrics for a scraper; /metrics/health, /metrics/info and /metrics/query?series=SELECTOR&range=15m&fn=max as JSON.
    It only reads: the process that writes the store is not slowed.

    \b
    rondo serve demo.rondo
    curl 'http://127.0.0.1:9464/metrics/query?series=vcpu_exits_total{reason=io}&fn=rate'
    """
    inherited = listening_fd is not None
    if inherited:
        _end_with_parent()
    with ExitStack() as stack:
        listening = socket.socket(fileno=listening_fd) if inherited else listen(host, port)
        places = [(store, listening), *((path, socket.socket(fileno=each)) for path, each in more)]
        for _, each in places:
            stack.enter_context(each)
        serve(places, quiet=inherited)


def check_installed() -> None:
    """Refuse where the API's packages are missing, before anything is started. Raises: UsageError."""
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed; pip install 'rondo[api]'")


def serve(places: Sequence[tuple[Path, socket.socket]], *, quiet: bool) -> None:
    """Serve each store on its socket until SIGINT or SIGTERM.

    Raises: UsageError: starlette or uvicorn is not installed; StoreError: there is nothing to read.
    """
    check_installed()
    import uvicorn

    from rondo_cli.api import Api, by_port

    with ExitStack() as stack:
        apps = {}
        for store, listening in places:
            api = Api(store)
            stack.callback(api.close)
            host, port = listening.getsockname()[:2]
            apps[port] = api.app()
            if not quiet:
                click.echo(f"rondo: serving {store} on http://{host}:{port}/metrics/info", err=True)
        config = uvicorn.Config(by_port(apps), log_level="warning", access_log=False, lifespan="off", ws="none")
        run_long()
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening for _, listening in places])


def listen(host: str, port: int) -> socket.socket:
    """Take the port.

    Raises: UsageError: it is busy, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror}; give an address of this machine") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} on {host}: {os.strerror(error.errno or 0)}; choose another") from None
    return listening


class Sidecar:
    """`rondo serve` for stores of this process, as a child that ends with it, however it ends."""

    def __init__(self, store: Path, listening: socket.socket, more: Sequence[tuple[Path, socket.socket]] = ()) -> None:
        """Start it on a socket that listens already: requests that come before it is up wait.

        Args: `more`: other stores, each on a socket of its own. All sockets are closed here.
        """
        arguments = [sys.executable, "-m", "rondo_cli", "serve", str(store), "--listening-fd", str(listening.fileno())]
        for path, each in more:
            arguments += ["--and", str(path), str(each.fileno())]
        sockets = (listening, *(each for _, each in more))
        # The child ends when its standard input does: this process holds the other end.
        self._child = subprocess.Popen(  # noqa: S603 - this program
            arguments, stdin=subprocess.PIPE, pass_fds=[each.fileno() for each in sockets]
        )
        self.url = "http://{}:{}/metrics".format(*listening.getsockname()[:2])
        for each in sockets:
            each.close()

    def close(self) -> None:
        """End it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Self:
        """Give the sidecar itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


def _end_with_parent() -> None:
    """End this process when its standard input ends; interrupts of the terminal are the parent's to handle."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock an interpreter that ends would wait for
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
