"""The plugin `openmetrics`: its hooks and its config; the server is imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rondo_core import Option, hookimpl
from rondo_core.errors import UsageError

if TYPE_CHECKING:
    from rondo_exporter_openmetrics.server import MetricsServer

OPTIONS = [
    Option("host", help="the address to listen on", default="127.0.0.1"),
    Option("port", "integer", "the port to listen on; 0: any that is free", default=9464),
    Option("timestamps", "flag", "give each value the time of its bucket, not of the scrape", default=False),
]


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name every key of the config."""
    return OPTIONS


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at the port. Raises: UsageError: it is none."""
    if not 0 <= config["port"] < 1 << 16:
        raise UsageError(f"port: {config['port']} is no port; 1 to 65535, or 0 for any that is free")


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> MetricsServer:
    """Listen for scrapers.

    Raises: UsageError: the address cannot be listened on.
    """
    rondo_options_check(config)
    from rondo_exporter_openmetrics.server import MetricsServer

    return MetricsServer(config["host"], config["port"], timestamps=config["timestamps"])
