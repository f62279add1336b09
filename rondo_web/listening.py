"""Listening: what can be refused before anything runs, a missing package, a busy port, an address that others reach."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core.errors import UsageError

if TYPE_CHECKING:
    import ssl

HOST, PORT = "127.0.0.1", 9464
END_S = 5  # how long a server that is to end goes on with the requests that it has
_BACKLOG = 128
# Each package by its import, and what it is called where it is installed from: the extra `web`.
_NEEDED = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "re2": "google-re2",
    "orjson": "orjson",
    "promql_parser": "promql-parser",
}


def check_installed() -> None:
    """Refuse where a package that serving needs is missing. Raises: UsageError."""
    missing = [distribution for name, distribution in _NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)}: not installed; install the extra web of rondo-tsdb")


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


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Give the URL of a socket that listens, without a path."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Give what speaks TLS by a certificate and its key, PEM; None where there is none.

    Args: `key`: None: it stands in the file of the certificate.
    Raises: UsageError: one cannot be read, is none, or is not the other's.
    """
    if certificate is None:
        if key is not None:
            raise UsageError("--tls-key: given without --tls-cert; give both")
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        what = f"--tls-cert {certificate}" + (f", --tls-key {key}" if key is not None else "")
        said = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
        raise UsageError(
            f"{what}: {said or 'not a certificate in PEM and the key of it'}; give files that can be read, "
            "the key without a password"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("a key with a password")
