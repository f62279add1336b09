"""Listening: what can be refused before anything runs, a missing package, a busy port, an address that others reach."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
from pathlib import Path

from rondo_core.errors import UsageError

HOST, PORT = "127.0.0.1", 9464
END_S = 5  # how long a server that is to end goes on with the requests that it has
_BACKLOG = 128


def check_installed() -> None:
    """Refuse where a package that serving needs is missing. Raises: UsageError."""
    for name, distribution in (("starlette", "starlette"), ("uvicorn", "uvicorn"), ("re2", "google-re2")):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{distribution} is not installed; pip install {distribution}")


def listen(host: str, port: int, token_file: Path | None = None) -> socket.socket:
    """Take the port.

    Args: `port`: 0 for any that is free; `token_file`: see `read_token`; None: whoever reaches the address is answered.
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
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} on {host}: {os.strerror(error.errno or 0)}; choose another") from None
    return listening


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def url_of(listening: socket.socket) -> str:
    """Give the URL of a socket that listens, without a path."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
