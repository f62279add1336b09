"""An exporter's table of a config: which part is the runner's, and the exporter that the rest of it opens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rondo_core.errors import PluginNotFoundError, RondoError, UsageError
from rondo_core.hookspecs import Exporter
from rondo_core.model.consolidator import is_known
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

        known = load_consolidators()
        for fn in values["fn"]:
            if not is_known(fn, known):
                raise UsageError(f"{where}.fn: {fn!r}: choose from {', '.join(sorted({name for name, _ in known}))}")
    return values


def check_exporters(tables: Mapping[str, Mapping[str, Any]], labels: Collection[str] = ()) -> None:
    """Check exporters' tables before any is opened, or anything made; one that is broken in another way is passed over.

    Args: `labels`: the names of those that every series gets beside what a table's `external_labels` says.
    Raises: UsageError: names the key and what is wrong, or the label that is given twice; PluginNotFoundError: a plugin
        is not installed.
    """
    from rondo_core.plugins.inventory import check_table
    from rondo_core.plugins.manager import EXPORTERS

    for name, table in tables.items():
        mine, rest = runner_options(name, dict(table))
        given = rest.get("external_labels", {})
        names = [pair.partition("=")[0].strip() for pair in given.split(",")] if isinstance(given, str) else given
        for label in sorted({*labels} & {*names} if isinstance(names, Collection) else ()):
            what = "is given to every series already; leave it out of one of the two"
            raise UsageError(f"exporters.{name}.external_labels: {label}: {what}")
        try:
            check_table(EXPORTERS, mine["plugin"], rest, f"exporters.{name}")
        except MISTAKES:
            raise
        except RondoError:
            pass  # said when it is opened: one that is broken holds up no other


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
