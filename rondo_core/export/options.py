"""An exporter's table of a config: which part is the runner's, and the exporter that the rest of it opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo_core.errors import PluginNotFoundError, UsageError
from rondo_core.hookspecs import Exporter
from rondo_core.plugins.options import RUNNER_OPTIONS, divided, read_options

# What whoever wrote the config is told before anything starts; an exporter that fails in any other way is left out.
MISTAKES = (UsageError, PluginNotFoundError)


def runner_options(name: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take out of an exporter's table what is the runner's.

    Returns: the runner's own, as `Runner` takes it, and `plugin`; and the rest, which is the plugin's.
    Raises: UsageError: names the key and what is allowed.
    """
    own, rest = divided(config, RUNNER_OPTIONS)
    given = check_runner_table(f"exporters.{name}", own)
    named = {"interval": "interval_s", "deadline": "deadline_s"}
    options = {named.get(key, key): value for key, value in given.items()}
    return {"plugin": name, **options}, rest


def check_runner_table(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Read the runner's share of an exporter's table.

    Raises: UsageError: names the key and what is allowed.
    """
    values = read_options(where, RUNNER_OPTIONS, table)
    if "match" in values:
        from rondo_core.model.selector import parse_selector

        try:
            parse_selector(values["match"])
        except UsageError as error:
            raise UsageError(f"{where}.match: {error}") from None
    if values.get("fn"):
        from rondo_core.plugins.manager import load_consolidators

        known = sorted({name for name, _ in load_consolidators()})
        for fn in values["fn"]:
            if fn not in known:
                raise UsageError(f"{where}.fn: {fn!r}: choose from {', '.join(known)}")
    return values


def open_exporter(name: str, plugin: str, config: dict[str, Any]) -> Exporter:
    """Open the exporter plugin for the table `name` of a config.

    Raises: PluginNotFoundError, PluginLoadError: it is not installed or does not load; RondoError: what it says of
    its config.
    """
    from rondo_core.plugins.manager import EXPORTERS, Plugins

    plugins = Plugins(config={plugin: config}, where={plugin: f"exporters.{name}"})
    plugins.load(EXPORTERS, [plugin])
    exporter: Exporter = plugins.open("rondo_exporter_open", plugin)
    return exporter
