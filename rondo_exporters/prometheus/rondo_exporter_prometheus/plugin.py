"""The plugin `prometheus`: its hook, and its config, read and checked; network libraries are imported when opened."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import attrs

from rondo_core import hookimpl
from rondo_core.errors import LabelError, UsageError
from rondo_core.labels import Labels, canonical_labels

if TYPE_CHECKING:
    from rondo_exporter_prometheus.http import RemoteWrite

KEYS = (
    "url",
    "external_labels",
    "timeout_s",
    "headers",
    "bearer_token",
    "bearer_token_file",
    "username",
    "password",
)
# Source: remote-write 1.0, "Protocol": reserved headers; and those that HTTP itself or the credentials need.
RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
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
        "x-prometheus-remote-write-version",
    }
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


@attrs.frozen
class Settings:
    """Where to send and how.

    Attributes:
        url: without credentials; `shown_url` is without the query too, for messages.
        external_labels: added to every series that does not have them itself.
        timeout_s: for the connection, and for each wait for an answer.
        headers: further ones; values are nobody's business.
        bearer_token, bearer_token_file, username, password: at most one way to prove who sends; empty: none.
    """

    url: str = attrs.field(repr=False)
    shown_url: str
    external_labels: Labels
    timeout_s: float
    headers: Mapping[str, str] = attrs.field(repr=False)
    bearer_token: str = attrs.field(repr=False)
    bearer_token_file: str
    username: str = attrs.field(repr=False)
    password: str = attrs.field(repr=False)


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> RemoteWrite:
    """Open a session with the receiver that `config` names; nothing is sent yet.

    Raises: UsageError: a key is unknown, missing or unreadable, or two contradict each other.
    """
    settings = read_settings(config)
    from rondo_exporter_prometheus.http import RemoteWrite

    return RemoteWrite(settings)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Check a config table, as it comes from code, a file or a command line.

    Raises: UsageError: names the key, what is wrong and the mend, and no credential.
    """
    for key in config:
        if key not in KEYS:
            raise UsageError(f"{key}: the exporter prometheus has no such key; it has {', '.join(KEYS)}")
    parts = _url(config.get("url"))
    user, colon, secret = parts.netloc.rpartition("@")[0].partition(":")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    settings = Settings(
        url=urlunsplit(bare),
        shown_url=urlunsplit(bare._replace(query="")),
        external_labels=_external_labels(config.get("external_labels")),
        timeout_s=_timeout_s(config.get("timeout_s", 10)),
        headers=_headers(config.get("headers")),
        bearer_token=_text(config, "bearer_token"),
        bearer_token_file=_text(config, "bearer_token_file"),
        username=_text(config, "username") or unquote(user),
        password=_text(config, "password") or unquote(secret),
    )
    if (user or colon) and (config.get("username") or config.get("password")):
        raise UsageError("url: it holds credentials, and username or password is given too; keep one of them")
    ways = [settings.bearer_token, settings.bearer_token_file, settings.username or settings.password]
    if sum(map(bool, ways)) > 1:
        raise UsageError("bearer_token, bearer_token_file, username: each is a way to prove who sends; keep one")
    if settings.password and not settings.username:
        raise UsageError("password: given without a username; add username")
    if ":" in settings.username:
        raise UsageError("username: holds a colon, which basic authentication cannot carry")
    if not _HEADER_VALUE.fullmatch(settings.bearer_token):
        raise UsageError("bearer_token: holds what no header can carry; use printable ASCII")
    return settings


def _url(given: object) -> SplitResult:
    if not given:
        raise UsageError("url: missing; give the receiver's, such as http://localhost:9090/api/v1/write")
    try:
        parts = urlsplit(given if isinstance(given, str) and given.isprintable() and " " not in given else "")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    # The input is not repeated: it may hold a password.
    raise UsageError("url: not an http or https URL with a host, such as http://localhost:9090/api/v1/write")


def _external_labels(given: object) -> Labels:
    try:
        return canonical_labels(_pairs(given, "external_labels", ",", "="))
    except LabelError as error:
        raise UsageError(f"external_labels: {error}") from None


def _headers(given: object) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in _pairs(given, "headers", "\n", ":"):
        if not _HEADER_NAME.fullmatch(name):
            raise UsageError("headers: a name is not one of HTTP's; letters, digits and - only")
        if name.lower() == "authorization":
            raise UsageError("headers: Authorization is set by bearer_token or username; use those")
        if name.lower() in RESERVED_HEADERS:
            raise UsageError(f"headers: {name} is the protocol's own; leave it out")
        if name.lower() in map(str.lower, headers):
            raise UsageError(f"headers: {name} given twice; keep one")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise UsageError(f"headers: the value of {name} is not text that a header can carry; use printable ASCII")
        headers[name] = value.strip()
    return headers


def _pairs(given: object, key: str, between: str, inside: str) -> Iterator[tuple[str, object]]:
    """Give the pairs of a mapping, or of a text such as "a=b,c=d"."""
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from given.items()
        return
    if not isinstance(given, str):
        raise UsageError(f"{key}: neither a mapping nor text; write it as a{inside}b")
    for item in filter(str.strip, given.split(between)):
        name, found, value = item.partition(inside)
        if not found:
            raise UsageError(f"{key}: an item without {inside!r}; write it as name{inside}value")
        yield name.strip(), value.strip()


def _timeout_s(given: object) -> float:
    try:
        seconds = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"timeout_s: {given!r} is not a number of seconds above 0")
    return seconds


def _text(config: Mapping[str, Any], key: str) -> str:
    given = config.get(key)
    if given is None:
        return ""
    if not isinstance(given, str):
        raise UsageError(f"{key}: not text; write it in quotes")
    return given
