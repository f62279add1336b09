"""`rondo serve`: an HTTP API over a store, live or finished, in a process of its own."""

from __future__ import annotations

import importlib.util
import ipaddress
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
from rondo_cli.printing import say, tame_logs
from rondo_core.errors import UsageError

HOST, PORT = "127.0.0.1", 9464
END_S = 5
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 1024
_SWITCH_S = 0.001  # from one thread to the next: those that read do not keep the one that answers waiting


@click.command("serve")
@STORE
@click.option("--host", default=HOST, show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    default=None,
    help="Answer only who sends the text in this file, as Authorization: Bearer TEXT.",
)
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME", help="A name by which clients ask; may be given again."
)
@click.option("--listening-fd", type=int, default=None, hidden=True, help="A socket that listens already.")
@click.option("--and", "more", type=(click.Path(path_type=Path), int), multiple=True, hidden=True, help="Another such.")
def command(
    store: Path,
    host: str,
    port: int,
    token_file: Path | None,
    names: tuple[str, ...],
    listening_fd: int | None,
    more: Sequence[tuple[Path, int]],
) -> None:
    """Answer HTTP requests for what STORE holds; where STORE is a directory of stores, for all of them.

    /metrics for a scraper; /metrics/health, /metrics/info and /metrics/query?series=SELECTOR&range=15m&fn=max as JSON.
    It only reads: the process that writes the store is not slowed. What a request may take is bounded, and a name that
    is not this machine's own is asked for in vain unless --allow-host has it. Where others than this machine reach the
    address there must be a token.

    \b
    rondo serve demo.rondo
    curl 'http://127.0.0.1:9464/metrics/query?series=vcpu_exits_total{reason=io}&fn=rate'
    """
    check_installed()
    inherited = listening_fd is not None
    if inherited:
        _end_with_parent()
    with ExitStack() as stack:
        listening = socket.socket(fileno=listening_fd) if inherited else listen(host, port, token_file)
        places = [(store, listening), *((path, socket.socket(fileno=each)) for path, each in more)]
        for _, each in places:
            stack.enter_context(each)
        serve(places, token=read_token(token_file), names=names, quiet=inherited)


def check_installed() -> None:
    """Refuse where the API's packages are missing, before anything is started. Raises: UsageError."""
    for name, distribution in (("starlette", "starlette"), ("uvicorn", "uvicorn"), ("re2", "google-re2")):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{distribution} is not installed; pip install {distribution}")


def read_token(path: Path | None) -> bytes:
    """Read the text that clients must send; empty without a file.

    Raises: UsageError: the file cannot be read, or holds no such text.
    """
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            token = file.read(_LONGEST_TOKEN + 1).strip()
    except OSError as error:
        raise UsageError(f"--token-file {path}: {error.strerror}; give a file that can be read") from None
    if not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN or not all(0x21 <= each <= 0x7E for each in token):
        what = f"no token; one line of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} letters, digits and signs is one"
        raise UsageError(f"--token-file {path}: {what}: openssl rand -hex 32 makes one")
    return token


def serve(
    places: Sequence[tuple[Path, socket.socket]], *, token: bytes = b"", names: Sequence[str] = (), quiet: bool
) -> None:
    """Serve each store on its socket until SIGINT or SIGTERM.

    Args: `token`: what each request must carry; `names`: hosts that may be asked for, besides this machine's own.
    Raises: StoreError: there is nothing to read.
    """
    import uvicorn

    from rondo_cli import guard
    from rondo_cli.api import Api, Desk, by_port

    with ExitStack() as stack:
        apps = {}
        desk = Desk()
        guard.make_room()
        for store, listening in places:
            api = Api(store, desk)
            stack.callback(api.close)
            apps[listening.getsockname()[1]] = api.app()
            if not quiet:
                say(f"rondo: serving {store} on {_url(listening)}/metrics/info", err=True)
        guard.BoundedProtocol.max_connections, backlog = guard.make_room()
        config = uvicorn.Config(
            guard.Guard(by_port(apps), guard.allowed(names), token),
            http=guard.BoundedProtocol,
            h11_max_incomplete_event_size=guard.MAX_HEAD_BYTES,
            backlog=backlog,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=END_S,
        )
        run_long()
        tame_logs()
        guard.say_once()
        sys.setswitchinterval(_SWITCH_S)
        with suppress(KeyboardInterrupt):
            guard.BoundedServer(config).run(sockets=[listening for _, listening in places])


def listen(host: str, port: int, token_file: Path | None = None) -> socket.socket:
    """Take the port.

    Raises: UsageError: it is busy, the address is not this machine's, or others reach it and there is no token.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # a name that is none in DNS is the latter
        what = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise UsageError(f"--host {host}: {what}; give an address of this machine") from None
    if token_file is None and not is_loopback(str(address[0])):
        listening.close()
        raise UsageError(
            f"--host {host}: whoever reaches this address may read all of it; give --token-file, or --host {HOST}"
        )
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

    def __init__(
        self,
        store: Path,
        listening: socket.socket,
        more: Sequence[tuple[Path, socket.socket]] = (),
        token_file: Path | None = None,
    ) -> None:
        """Start it on a socket that listens already: requests that come before it is up wait.

        Args: `more`: other stores, each on a socket of its own. All sockets are closed here.
        """
        arguments = [sys.executable, "-m", "rondo_cli", "serve", str(store), "--listening-fd", str(listening.fileno())]
        for path, each in more:
            arguments += ["--and", str(path), str(each.fileno())]
        if token_file is not None:
            arguments += ["--token-file", str(token_file)]
        sockets = (listening, *(each for _, each in more))
        # The child ends when its standard input does: this process holds the other end.
        self._child = subprocess.Popen(  # noqa: S603 - this program
            arguments, stdin=subprocess.PIPE, pass_fds=[each.fileno() for each in sockets]
        )
        self.url = f"{_url(listening)}/metrics"
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


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _end_with_parent() -> None:
    """End this process when its standard input ends; interrupts of the terminal are the parent's to handle."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock an interpreter that ends would wait for
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
