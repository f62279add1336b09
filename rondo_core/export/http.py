"""What every exporter that speaks HTTP needs, whichever library it speaks it with: addresses, credentials, answers.

What these say of a config or of an answer holds no credential, and is one line. The standard library is enough for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus, urljoin, urlsplit, urlunsplit

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.errors import (
    BatchTooLargeError,
    ExportError,
    PermanentExportError,
    ReceiverAwayError,
    RetryableExportError,
    UsageError,
)
from rondo_core.model.paths import read_named, read_secret, warn_where_others_read

if TYPE_CHECKING:
    from urllib.parse import SplitResult

# What HTTP itself needs, or has the library set. Source: RFC 9110.
RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "www-authenticate",
    }
)
# A receiver that asks for more patience than this is asked again all the same.
MAX_RETRY_AFTER_S = 3600.0
MAX_TOKEN_FILE_BYTES, MAX_PEM_BYTES = 64 << 10, 16 << 20
MAX_SAID_CHARACTERS = 200
_KEY_CHARACTERS = 6
# What statuses mean for the samples of a request; any other than these, 2xx and 5xx says nothing of them.
REFUSED, NOT_NOW, TOO_LARGE = frozenset({400, 409, 422}), frozenset({408, 425, 429}), 413
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


# A receiver that reads a request more slowly than this hangs.
LEAST_BYTES_PER_S = 64 << 10


# -- what is configured


@attrs.frozen
class Endpoint:
    """How a receiver is reached.

    Attributes:
        url: without credentials; `shown_url` is without the query too, for messages.
        timeout_s: for the connection, and for the whole answer; for sending besides what LEAST_BYTES_PER_S takes.
        ca_file, client_certificate, client_key: paths of PEM files; empty: none. They are read for each connection.
        insecure: trust any certificate.
        proxy: an http proxy, credentials in it; None: none.
    """

    url: SplitResult = attrs.field(repr=False)
    shown_url: str
    timeout_s: float
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure: bool = False
    proxy: SplitResult | None = attrs.field(default=None, repr=False)


def check_url(option: str, given: str, example: str) -> SplitResult:
    """Take a URL apart, without its fragment. Raises: UsageError: it is none of http or https with a host."""
    try:
        parts = urlsplit(given if given.isprintable() and " " not in given else "")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts._replace(fragment="")
    except ValueError:
        pass
    # The input is not repeated: it may hold a password.
    raise UsageError(f"{option}: not an http or https URL with a host, such as {example}")


def check_proxy(given: str) -> SplitResult | None:
    """Take a proxy's URL apart; None where there is none. Raises: UsageError: not http, or with more than a host."""
    if not given:
        return None
    parts = check_url("proxy", given, "http://proxy.example:3128")
    if parts.scheme != "http" or parts.path.strip("/") or parts.query:
        raise UsageError("proxy: only http proxies, and no path; such as http://proxy.example:3128")
    return parts


def check_header_value(option: str, value: str) -> str:
    """Give a header's value, stripped. Raises: UsageError: no header can carry it."""
    if not _HEADER_VALUE.fullmatch(value):
        raise UsageError(f"{option}: holds what no header can carry; use printable ASCII")
    return value.strip()


def check_headers(given: Mapping[str, str], reserved: Mapping[str, str]) -> dict[str, str]:
    """Check the further headers of a config.

    Args: `reserved`: lower-case name -> why it may not be given, beside those that HTTP itself needs.
    Raises: UsageError: names the header and what is wrong, and no value.
    """
    headers: dict[str, str] = {}
    for name, value in given.items():
        known = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise UsageError("headers: a name is not one of HTTP's; letters, digits and - only")
        if known in reserved:
            raise UsageError(f"headers: {name} {reserved[known]}")
        if known in RESERVED_HEADERS:
            raise UsageError(f"headers: {name} is the protocol's own; leave it out")
        if known in map(str.lower, headers):
            raise UsageError(f"headers: {name} given twice; keep one")
        headers[name] = check_header_value(f"headers: the value of {name}", value)
    return headers


def check_tls(ca_file: str, client_certificate: str, client_key: str) -> None:
    """Load what TLS is given once, so that what is wrong with it is said at once; empty: not given.

    Raises: UsageError: a file cannot be read, is not PEM, or holds a key that is another's or under a passphrase.
    """
    if client_key and not client_certificate:
        raise UsageError("client_key: given without a client_certificate; add it")
    if not (ca_file or client_certificate):
        return
    import ssl

    context = ssl.create_default_context()
    try:
        for key, path in (("ca_file", ca_file), ("client_key", client_key), ("client_certificate", client_certificate)):
            if path:
                read_named(path, MAX_PEM_BYTES)  # what has no end, or no writer, OpenSSL would wait for
            if path and key == "client_key":
                warn_where_others_read(key, path)
            if path and key == "ca_file":
                context.load_verify_locations(path)
        if client_certificate:
            # A key under a passphrase would be asked for on the terminal; an empty one is refused instead.
            context.load_cert_chain(client_certificate, client_key or None, password=lambda: "")
    except ssl.SSLError:
        raise UsageError(f"{key}: {path}: not PEM, or its key is another's or under a passphrase") from None
    except OSError as error:
        raise UsageError(f"{key}: {path}: {error.strerror or 'cannot be read'}") from None


def read_token(path: str, option: str = "bearer_token_file") -> str:
    """Read a bearer token's file, for each request anew, as tokens are rotated; `option`: what the config calls it.

    Raises: RetryableExportError: it cannot be read now, or holds no token.
    """
    try:
        token = read_secret(option, path, MAX_TOKEN_FILE_BYTES).decode("ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII text"
        raise ReceiverAwayError(f"{option}: {path}: {reason}") from None
    if not token.isprintable() or not token:
        raise ReceiverAwayError(f"{option}: {path}: not one token on one line")
    return token


# -- what is answered


def presentable(text: str, secrets: Iterable[str], headers: Mapping[str, str], url: str) -> str:
    """Put what a receiver said on one line, credentials that it repeated blotted out, and cut it.

    Args: `headers`, `url`: those of the config: headers' values, and those of the URL's query, may be keys; what is
        shorter than one, such as a tenant's number, may stand in any sentence.
    """
    parts = urlsplit(url)
    asked = [pair.partition("=")[2] for pair in parts.query.split("&")]
    keys = (*headers.values(), *asked, *map(unquote_plus, asked))
    own = (parts.username or "", parts.password or "")
    hidden = {*secrets, *own, *map(unquote, own), *(value for value in keys if len(value) >= _KEY_CHARACTERS)}
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "***")
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:MAX_SAID_CHARACTERS]


def lost_reason(error: BaseException, what: str = "the connection was lost") -> str:
    """Say why there is no connection, or no more, in words that hold no URL."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{what}: {reason}" if reason else what


def redirected(location: str, url: str) -> str:
    """Say where a redirect leads to, without credentials or query, and what to do; nothing where it does not say."""
    try:
        to = urlsplit(urljoin(url, location.strip()))
        shown = urlunsplit(to._replace(netloc=to.netloc.rpartition("@")[2], query="", fragment=""))
    except ValueError:
        return ""
    if not (location and shown.isprintable()):
        return ""
    return f"; it redirects to {shown[:MAX_SAID_CHARACTERS]}: write that URL, redirects are not followed"


def error_of(status: int, said: str, wait_s: float | None) -> ExportError | None:
    """Turn a status into the error that it is, or into none. Args: `said`: one line, `wait_s`: of Retry-After."""
    if 200 <= status < 300:
        return None
    if status in NOT_NOW or status >= 500:
        return RetryableExportError(said, wait_s)
    if status in REFUSED:
        return PermanentExportError(said)
    return BatchTooLargeError(said) if status == TOO_LARGE else ExportError(said)


def retry_after_s(value: str, now_ns: int) -> float | None:
    """Read Retry-After, seconds or an HTTP-date, as seconds from now; None where it is neither."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        when = parsedate_to_datetime(value)
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_ns / NS_PER_S
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
