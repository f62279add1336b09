"""The plugin `otlp`: its hooks and its config; network libraries are imported when it is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import attrs

from rondo_core import Option, hookimpl
from rondo_core.errors import UsageError

if TYPE_CHECKING:
    from rondo_exporter_otlp.http import OtlpHttp

ENDPOINT = "http://localhost:4318/v1/metrics"
TEMPORALITIES = ("cumulative", "delta")
OPTIONS = [
    Option("endpoint", help="the receiver's URL, path included", default=ENDPOINT),
    Option("service_name", help="the resource attribute service.name", default="rondo"),
    Option("service_instance_id", help="service.instance.id: one for each store", default=""),
    Option("resource", "table", help="further resource attributes", default={}),
    Option("histograms", help="temporality of histograms", default="cumulative", choices=TEMPORALITIES),
    Option("compression", help="of requests", default="gzip", choices=("gzip", "none")),
    Option("timeout", "duration", help="for the connection, and for the answer", default=10.0),
    Option("headers", "table", help="further headers, such as an API key's", default={}, secret=True),
    Option("bearer_token", help="sent as Authorization: Bearer ...", default="", secret=True),
    Option("bearer_token_file", help="the same, read from the file for each request", default=""),
    Option("ca_file", help="certificates of the authorities to trust, PEM", default=""),
    Option("client_certificate", help="PEM file", default=""),
    Option("client_key", help="PEM file", default=""),
]
RESERVED_HEADERS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


@attrs.frozen
class Settings:
    """Where to send and how.

    Attributes:
        url: as it is asked for; `shown_url` holds neither credentials nor query, for messages.
        resource: attributes of what the metrics are about.
        histograms: cumulative or delta.
        timeout_s: for the connection, and for the whole answer.
        verify, certificate: what TLS trusts and shows; True and None: the system's, nothing.
    """

    url: str = attrs.field(repr=False)
    shown_url: str
    resource: Mapping[str, str]
    histograms: str
    gzip: bool
    timeout_s: float
    headers: Mapping[str, str] = attrs.field(repr=False)
    bearer_token: str = attrs.field(repr=False)
    bearer_token_file: str
    verify: str | bool
    certificate: tuple[str, str] | str | None


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name every key of the config."""
    return OPTIONS


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> OtlpHttp:
    """Open a session with the receiver that `config` names; nothing is sent yet.

    Raises: UsageError: a value cannot be used, or two contradict each other.
    """
    settings = read_settings(config)
    from rondo_exporter_otlp.http import OtlpHttp

    return OtlpHttp(settings)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Take the settings out of a config that holds every key's value in its type.

    Raises: UsageError: names the key, what is wrong and the mend, and no credential.
    """
    parts = _url(config["endpoint"])
    if config["bearer_token"] and config["bearer_token_file"]:
        raise UsageError("bearer_token, bearer_token_file: each is the token; keep one")
    if not _HEADER_VALUE.fullmatch(config["bearer_token"]):
        raise UsageError("bearer_token: holds what no header can carry; use printable ASCII")
    if config["client_key"] and not config["client_certificate"]:
        raise UsageError("client_key: given without a certificate; add client_certificate")
    names = {"service.name": config["service_name"], "service.instance.id": config["service_instance_id"]}
    certificate = config["client_certificate"]
    return Settings(
        url=urlunsplit(parts),
        shown_url=urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="")),
        resource={name: text for name, text in {**names, **config["resource"]}.items() if name and text},
        histograms=config["histograms"],
        gzip=config["compression"] == "gzip",
        timeout_s=config["timeout"],
        headers=_headers(config["headers"], authorized=bool(config["bearer_token"] or config["bearer_token_file"])),
        bearer_token=config["bearer_token"],
        bearer_token_file=config["bearer_token_file"],
        verify=_readable(config, "ca_file") or True,
        certificate=(certificate, _readable(config, "client_key"))
        if config["client_key"]
        else _readable(config, "client_certificate") or None,
    )


def _url(given: str) -> SplitResult:
    try:
        parts = urlsplit(given if given.isprintable() and " " not in given else "")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts._replace(fragment="")
    except ValueError:
        pass
    # The input is not repeated: it may hold a password.
    raise UsageError(f"endpoint: not an http or https URL with a host, such as {ENDPOINT}")


def _headers(given: Mapping[str, str], *, authorized: bool) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise UsageError("headers: a name is not one of HTTP's; letters, digits and - only")
        if name.lower() in RESERVED_HEADERS:
            raise UsageError(f"headers: {name} is the protocol's own; leave it out")
        if name.lower() == "authorization" and authorized:
            raise UsageError("headers: Authorization is set by bearer_token too; keep one")
        if name.lower() in map(str.lower, headers):
            raise UsageError(f"headers: {name} given twice; keep one")
        if not _HEADER_VALUE.fullmatch(value):
            raise UsageError(f"headers: the value of {name} is not what a header can carry; use printable ASCII")
        headers[name] = value.strip()
    return headers


def _readable(config: Mapping[str, Any], key: str) -> str:
    """Give the path that a key names. Raises: UsageError: it cannot be read."""
    path: str = config[key]
    if path:
        try:
            with open(path, "rb"):  # noqa: PTH123 - to see whether it can be
                pass
        except OSError as error:
            raise UsageError(f"{key}: {path}: {error.strerror}; check the path and its mode") from None
    return path
