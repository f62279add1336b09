"""The plugin `otlp`: its hooks and its config; network libraries are imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Option, hookimpl
from rondo_core.export import ReceiverSettings, check_one_credential, read_endpoint
from rondo_core.export.http import check_header_value, check_headers, check_tls

if TYPE_CHECKING:
    from rondo_exporter_otlp.http import OtlpHttp

ENDPOINT = "http://localhost:4318/v1/metrics"
TEMPORALITIES = ("cumulative", "delta")
OPTIONS = [
    Option("endpoint", help="the receiver's URL, path included", default=ENDPOINT, secret=True),
    Option("service_name", help="the resource attribute service.name", default="rondo"),
    Option("service_instance_id", help="service.instance.id: one for each store", default=""),
    Option("resource", "table", help="further resource attributes", default={}),
    Option("histograms", help="temporality of histograms", default="cumulative", choices=TEMPORALITIES),
    Option("compression", help="of requests", default="gzip", choices=("gzip", "none")),
    Option("timeout", "duration", help="for the connection, and for the whole answer", default=10.0),
    Option("headers", "table", help="further headers, such as an API key's", default={}, secret=True),
    Option("bearer_token", help="sent as Authorization: Bearer ...", default="", secret=True),
    Option("bearer_token_file", help="the same, read from the file for each request", default=""),
    Option("ca_file", help="certificates of the authorities to trust, PEM", default=""),
    Option("client_certificate", help="PEM file", default=""),
    Option("client_key", help="PEM file", default=""),
    Option("proxy", help="an http proxy to go through, such as http://proxy.example:3128", default="", secret=True),
]


@attrs.frozen(kw_only=True)
class Settings(ReceiverSettings):
    """Where to send and how.

    Attributes: `resource`, attributes of what the metrics are about; `histograms`, cumulative or delta; `gzip`, whether
    requests are compressed.
    """

    resource: Mapping[str, str]
    histograms: str
    gzip: bool


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name every key of the config."""
    return OPTIONS


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at URL, certificates, credentials and the token's file. Raises: UsageError."""
    read_settings(config).check_authorization()


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
    endpoint, user, secret = read_endpoint("endpoint", config, ENDPOINT)
    check_header_value("bearer_token", config["bearer_token"])
    check_tls(config["ca_file"], config["client_certificate"], config["client_key"])
    names = {"service.name": config["service_name"], "service.instance.id": config["service_instance_id"]}
    headers = check_headers(config["headers"], {})
    check_one_credential("endpoint", user or secret, config, "bearer_token", headers)
    return Settings(
        endpoint=endpoint,
        resource={name: text for name, text in {**names, **config["resource"]}.items() if name and text},
        histograms=config["histograms"],
        gzip=config["compression"] == "gzip",
        headers=headers,
        bearer_token=config["bearer_token"],
        bearer_token_file=config["bearer_token_file"],
        username=user,
        password=secret,
    )
