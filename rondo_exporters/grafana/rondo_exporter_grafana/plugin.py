"""The plugin `grafana`: its hooks and its config; network libraries are imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Option, hookimpl
from rondo_core.export import ReceiverSettings, check_one_credential, read_endpoint, read_external_labels
from rondo_core.export.http import check_header_value, check_headers, check_tls
from rondo_core.model import Labels

if TYPE_CHECKING:
    from rondo_exporter_grafana.annotations import GrafanaAnnotations
    from rondo_exporter_grafana.dry_run import GrafanaDryRun

URL = "http://127.0.0.1:3000"
# Source: Grafana, "Annotations HTTP API".
PATH = "/api/annotations"
OPTIONS = [
    Option("url", help="Grafana's, as a browser has it", default=URL, secret=True),
    Option("token", help="of a service account, sent as Authorization: Bearer ...", default="", secret=True),
    Option("token_file", help="the same, read from the file for each request", default=""),
    Option("tags", "list", "tags of every annotation", default=["rondo"]),
    Option("dashboard_uid", help="the dashboard that they belong to; none: they are the organisation's", default=""),
    Option("external_labels", "table", "labels that become tags of every annotation", default={}),
    Option("tags_bytes", "integer", "what annotations.tags_length is in Grafana's configuration", default=500, least=1),
    Option("timeout", "duration", "for the connection, and for the whole answer", default=10.0),
    Option("headers", "table", "further headers, such as X-Grafana-Org-Id", default={}, secret=True),
    Option("ca_file", help="certificates of the authorities to trust, PEM", default=""),
    Option("client_certificate", help="PEM file", default=""),
    Option("client_key", help="PEM file", default=""),
    Option("proxy", help="an http proxy to go through, such as http://proxy.example:3128", default="", secret=True),
]


@attrs.frozen(kw_only=True)
class Settings(ReceiverSettings):
    """Where to send and how.

    Attributes: `tags`, `external_labels`: of every annotation; `dashboard_uid`: whose they are, empty: no dashboard's;
        `tags_bytes`: what tags Grafana takes of one annotation, as JSON.
    """

    tags: Sequence[str]
    external_labels: Labels
    dashboard_uid: str
    tags_bytes: int


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name every key of the config."""
    return OPTIONS


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at URL, certificates, credentials and the token's file. Raises: UsageError."""
    read_settings(config).check_authorization()


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> GrafanaAnnotations:
    """Open a session with the Grafana that `config` names; nothing is sent yet.

    Raises: UsageError: a value cannot be used, or two contradict each other.
    """
    settings = read_settings(config)
    from rondo_exporter_grafana.annotations import GrafanaAnnotations

    return GrafanaAnnotations(settings)


@hookimpl
def rondo_dry_run_open(config: Mapping[str, Any]) -> GrafanaDryRun:
    """Open what looks at marks and notes as they would be sent; Grafana is not asked.

    Raises: UsageError: a value cannot be used, or two contradict each other.
    """
    settings = read_settings(config)
    from rondo_exporter_grafana.dry_run import GrafanaDryRun

    return GrafanaDryRun(settings)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Take the settings out of a config that holds every key's value in its type.

    Raises: UsageError: names the key, what is wrong and the mend, and no credential.
    """
    endpoint, user, secret = read_endpoint("url", config, URL)
    path = endpoint.url.path.rstrip("/")
    at = path if path.endswith(PATH) else path + PATH
    shown = endpoint.url._replace(path=at, query="").geturl()
    endpoint = attrs.evolve(endpoint, url=endpoint.url._replace(path=at), shown_url=shown)
    check_header_value("token", config["token"])
    check_tls(config["ca_file"], config["client_certificate"], config["client_key"])
    headers = check_headers(config["headers"], {})
    check_one_credential("url", user or secret, config, "token", headers)
    return Settings(
        endpoint=endpoint,
        tags=config["tags"],
        external_labels=read_external_labels(config["external_labels"]),
        dashboard_uid=config["dashboard_uid"],
        tags_bytes=config["tags_bytes"],
        headers=headers,
        bearer_token=config["token"],
        bearer_token_file=config["token_file"],
        named_in="token_file",
        username=user,
        password=secret,
    )
