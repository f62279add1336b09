"""The plugin `prometheus`: its hooks, and its config, read and checked; network libraries are imported when opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Option, hookimpl
from rondo_core.errors import UsageError
from rondo_core.export import ReceiverSettings, read_endpoint, read_external_labels
from rondo_core.export.http import Endpoint, check_header_value, check_headers, check_tls
from rondo_core.model import Labels
from rondo_exporter_prometheus.limits import RECEIVERS, read_limits

if TYPE_CHECKING:
    from rondo_exporter_prometheus.dry_run import RemoteWriteDryRun
    from rondo_exporter_prometheus.remote_write import RemoteWrite

OPTIONS = (
    Option("url", help="the receiver's, such as http://localhost:9090/api/v1/write", required=True, secret=True),
    Option("protocol", help="the version of remote-write", default="auto", choices=("auto", "1.0", "2.0")),
    Option("external_labels", "table", "labels for every series; its own of such a name becomes exported_NAME"),
    Option("zeroes", "flag", "a sample of 0 before the first of a total, so that its growth is whole", default=True),
    Option("tenant", help="sent as X-Scope-OrgID"),
    Option("timeout", "duration", "for the connection, and for the whole answer", default=10.0),
    Option("max_bytes", "size", "the largest message, before it is compressed", default=16 << 20),
    Option("receiver", help="what the receiver is: whose limits a dry run checks", choices=tuple(RECEIVERS)),
    Option("limits", "table", "what it takes instead of its defaults, for a dry run: window, labels, value_bytes ..."),
    Option("headers", "table", "further headers; the protocol's own are refused", secret=True),
    Option("username", help="for basic authentication", secret=True),
    Option("password", help="for basic authentication", secret=True),
    Option("bearer_token", help="sent as Authorization: Bearer ...", secret=True),
    Option("bearer_token_file", help="the same, read from the file for each request"),
    Option("ca_file", help="PEM certificates to trust, instead of the system's"),
    Option("client_certificate", help="a PEM file that proves who sends"),
    Option("client_key", help="its key, unless the certificate's file holds it"),
    Option("insecure", "flag", "trust any certificate", default=False),
    Option("proxy", help="an http proxy to go through, such as http://proxy.example:3128", secret=True),
)
URL = "http://localhost:9090/api/v1/write"
TENANT_HEADER = "X-Scope-OrgID"
# Source: remote-write 1.0, "Protocol": reserved headers.
RESERVED_HEADERS = {
    "authorization": "is set by bearer_token or username; use those",
    "x-prometheus-remote-write-version": "is the protocol's own; leave it out",
}


@attrs.frozen(kw_only=True)
class Settings(ReceiverSettings):
    """Where to send and how.

    Attributes:
        protocol: auto, 1.0 or 2.0.
        external_labels: added to every series; they win over its own.
        zeroes: whether a sample of 0 goes before the first one of each running total.
        max_bytes: of a message, before it is compressed.
    """

    protocol: str
    external_labels: Labels
    max_bytes: int
    zeroes: bool


@hookimpl
def rondo_options_define() -> list[Option]:
    """Describe the keys of the config table."""
    return list(OPTIONS)


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at URL, certificates, credentials, the token's file and limits. Raises: UsageError."""
    read_settings(config).check_authorization()
    read_limits(config)


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> RemoteWrite:
    """Open a session with the receiver that `config` names; nothing is sent yet.

    Raises: UsageError: a value cannot be used, or two contradict each other.
    """
    settings = read_settings(config)
    from rondo_exporter_prometheus.remote_write import RemoteWrite

    return RemoteWrite(settings)


@hookimpl
def rondo_dry_run_open(config: Mapping[str, Any]) -> RemoteWriteDryRun:
    """Open what looks at batches as they would be sent to the receiver that `config` names; it is not asked.

    Raises: UsageError: a value cannot be used, or two contradict each other.
    """
    settings, limits = read_settings(config), read_limits(config)
    from rondo_exporter_prometheus.dry_run import RemoteWriteDryRun

    return RemoteWriteDryRun(settings, limits)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Take a config table whose keys and types were checked against OPTIONS, and check what each of them means.

    Raises: UsageError: names the key, what is wrong and the mend, and no credential.
    """
    endpoint, user, secret = read_endpoint("url", config, URL)
    if (user or secret) and (config.get("username") or config.get("password")):
        raise UsageError("url: it holds credentials, and username or password is given too; keep one of them")
    settings = Settings(
        endpoint=endpoint,
        protocol=config["protocol"],
        external_labels=read_external_labels(config.get("external_labels", {})),
        max_bytes=config["max_bytes"],
        zeroes=config["zeroes"],
        headers=_headers(config.get("headers", {}), config.get("tenant", "")),
        bearer_token=config.get("bearer_token", ""),
        bearer_token_file=config.get("bearer_token_file", ""),
        username=config.get("username", "") or user,
        password=config.get("password", "") or secret,
    )
    _check_credentials(settings)
    _check_tls(endpoint)
    return settings


def _check_credentials(settings: Settings) -> None:
    ways = [settings.bearer_token, settings.bearer_token_file, settings.username or settings.password]
    if sum(map(bool, ways)) > 1:
        raise UsageError("bearer_token, bearer_token_file, username: each is a way to prove who sends; keep one")
    if settings.password and not settings.username:
        raise UsageError("password: given without a username; add username")
    if ":" in settings.username:
        raise UsageError("username: holds a colon, which basic authentication cannot carry")
    check_header_value("bearer_token", settings.bearer_token)


def _check_tls(endpoint: Endpoint) -> None:
    if endpoint.client_key and not endpoint.client_certificate:
        raise UsageError("client_key: given without a client_certificate; add it")
    if endpoint.insecure and endpoint.ca_file:
        raise UsageError("insecure: it trusts any certificate, and ca_file says which; keep one of them")
    if (endpoint.ca_file or endpoint.client_certificate) and endpoint.url.scheme != "https":
        raise UsageError("url: http, and ca_file or client_certificate is given, which only https can use")
    check_tls(endpoint.ca_file, endpoint.client_certificate, endpoint.client_key)


def _headers(given: Mapping[str, str], tenant: str) -> dict[str, str]:
    reserved = {**RESERVED_HEADERS, TENANT_HEADER.lower(): "given twice; keep one"} if tenant else RESERVED_HEADERS
    headers = check_headers(given, reserved)
    return {**headers, TENANT_HEADER: check_header_value("tenant", tenant)} if tenant else headers
