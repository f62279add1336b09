"""Access: which requests are heard at all, by the Host that they name, their token and their size."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.errors import UsageError
from rondo_core.model import read_secret
from rondo_web.errors import PROMETHEUS_API, error_body, prometheus_kind
from rondo_web.listening import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PAGE_FILES = "/page/"  # and / itself: the page's own files, which say nothing of a store, so anyone may have them
MAX_URL_BYTES = 8 << 10  # path and query
MAX_BODY_BYTES = 128 << 10  # as it comes, and unpacked
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 1024
# Source: RFC 3986, 3.2.2 and 3.2.3: an address in brackets, or anything without a colon; then a port.
_ABSOLUTE = re.compile(r"https?://([^/?#]+)(/.*)?", re.IGNORECASE | re.DOTALL)  # RFC 9112, 3.2.2
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([^\[\]:/?#@\s]{1,253}))(?::[0-9]{1,5})?")


@attrs.frozen
class AccessControl:
    """An application before another one: only requests that may be heard, and that ask for something, reach that one.

    A web page can have a browser ask any address by a name of the page's own; what it cannot do is to have it send
    another Host: so a name that nobody has allowed is refused. A request with a body is refused unread, but for the
    forms and messages that are posted to Prometheus's API, and those when they are large.

    Attributes:
        app: the one behind.
        names: hosts that may be asked for besides this machine's loopback names and the address that was reached.
        token: what must stand in `Authorization: Bearer`, but where the page's own files are asked for; empty: nothing
            has to.
        open_paths: what else is told without it.
    """

    app: ASGIApp
    names: frozenset[str] = frozenset()
    token: bytes = attrs.field(default=b"", repr=False)
    open_paths: frozenset[str] = frozenset({"/"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand over."""
        if scope["type"] != "http":
            return
        if absolute := _ABSOLUTE.fullmatch(scope["path"]):  # as to a proxy: the host in it is the one that is asked
            path, host = absolute[2] or "/", absolute[1].encode("latin-1", "replace")
            headers = [(b"host", host), *(each for each in scope["headers"] if each[0] != b"host")]
            scope = {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        status, said, headers = refusal
        body = error_body(said, prometheus_kind(status, scope["path"]))
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        given: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, value)
        host = given.get(b"host", b"").decode("latin-1")
        if not self._knows(host, scope.get("server")):
            return 421, f"host {host!r}: not known here; --allow-host NAME lets it be asked for", []
        is_open = scope["path"] in self.open_paths or scope["path"].startswith(PAGE_FILES)
        needs_token = self.token and not is_open
        if needs_token and not hmac.compare_digest(given.get(b"authorization", b""), b"Bearer " + self.token):
            return 401, "a token is needed: Authorization: Bearer TOKEN", [(b"www-authenticate", b"Bearer")]
        refusal = _size_refusal(scope, given)
        return (*refusal, []) if refusal is not None else None

    def _knows(self, host: str, server: Any) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match[1] or match[2]).lower().removesuffix(".")
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
            return is_loopback(name) or bool(server and address == ipaddress.ip_address(server[0].partition("%")[0]))
        except ValueError:
            return False


def _size_refusal(scope: Scope, given: Mapping[bytes, bytes]) -> tuple[int, str] | None:
    """Say why a request of that size, or of no sure one, is not heard; None: it is."""
    if b"transfer-encoding" in given and b"content-length" in given:
        # Where it ends a proxy may see otherwise, and take what follows for another client's. Source: RFC 9112, 6.1
        return 400, "Content-Length beside Transfer-Encoding; send one of them"
    has_body = b"transfer-encoding" in given or given.get(b"content-length", b"0").strip(b"0")
    if has_body and not (scope["method"] == "POST" and scope["path"].startswith(PROMETHEUS_API)):
        return 413, "a body: no request here has one"
    length = given.get(b"content-length", b"0").strip(b" 0")  # digits: h11 lets nothing else through
    if len(length) > 9 or int(length or b"0") > MAX_BODY_BYTES:
        return 413, f"a body of more than {MAX_BODY_BYTES} bytes"
    if len(scope["query_string"]) + len(scope["path"]) > MAX_URL_BYTES:
        return 414, f"a URL of more than {MAX_URL_BYTES} bytes"
    return None


def allowed(names: Sequence[str]) -> frozenset[str]:
    """Give the names of --allow-host as they are compared."""
    return frozenset(each.lower().removesuffix(".") for each in names)


def read_token(path: Path | None) -> bytes:
    """Read the text that clients must send; empty without a file.

    Raises: UsageError: the file cannot be read, or holds no such text.
    """
    if path is None:
        return b""
    try:
        token = read_secret("--token-file", path, 2 * _LONGEST_TOKEN).strip()
    except OSError as error:
        raise UsageError(f"--token-file {path}: {error.strerror}; give a file that can be read") from None
    if not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN or not all(0x21 <= each <= 0x7E for each in token):
        what = f"no token; one line of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} letters, digits and signs is one"
        raise UsageError(f"--token-file {path}: {what}: openssl rand -hex 32 makes one")
    return token
