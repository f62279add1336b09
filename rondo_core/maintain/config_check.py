"""Check a config whole, without opening anything, and show what will be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from rondo_core.errors import RondoError, one_line
from rondo_core.export.options import check_runner_table
from rondo_core.plugins.config_file import Config
from rondo_core.plugins.options import (
    AGENT_OPTIONS,
    RECORDER_OPTIONS,
    RUNNER_OPTIONS,
    STORE_OPTIONS,
    Option,
    divided,
    read_options,
    wrong_keys,
)
from rondo_core.storage.write_check import check_directory


@attrs.frozen
class Setting:
    """One key that will be used: its table, name, and value as people may see it."""

    table: str
    key: str
    shown: str


def check_config(config: Config) -> tuple[list[Setting], list[str]]:
    """Check every table against what its plugin declares, without opening anything.

    Returns: what will be used, secrets masked; and what is wrong, a line each.
    """
    settings: list[Setting] = []
    problems: list[str] = []
    for section, options in (("store", STORE_OPTIONS), ("agent", AGENT_OPTIONS)):
        settings += _shown(section, options, getattr(config, section))
    if config.agent.get("after") == "archive" and not config.agent.get("archive"):
        problems.append('agent.archive: missing; after = "archive" needs a directory')
    for key, place in (("store.path", config.store.get("path")), ("agent.archive", config.agent.get("archive"))):
        if place:
            problems += _problem(check_directory, key, place)
    if schemas := config.store.get("schemas"):
        from rondo_core.model.schema_file import read_schemas

        problems += [f"store.schemas: {problem}" for problem in _problem(read_schemas, schemas)]
    from rondo_core.plugins.manager import EXPORTERS, RECORDERS

    for name, table in config.exporters.items():
        where = f"exporters.{name}"
        own, rest = divided(table, RUNNER_OPTIONS)
        for key in own:
            problems += _problem(check_runner_table, where, {key: own[key]})
        settings += _shown(where, RUNNER_OPTIONS, own)
        _check_plugin(where, EXPORTERS, str(table.get("plugin", name)), rest, settings, problems)
    for name, table in config.recorders.items():
        where = f"recorders.{name}"
        own, rest = divided(table, RECORDER_OPTIONS)
        problems += _problem(read_options, where, RECORDER_OPTIONS, own)
        settings += _shown(where, RECORDER_OPTIONS, own)
        _check_plugin(where, RECORDERS, name, rest, settings, problems)
    return settings, problems


def _check_plugin(
    where: str,
    group: str,
    plugin: str,
    table: Mapping[str, Any],
    settings: list[Setting],
    problems: list[str],
) -> None:
    from rondo_core.plugins.inventory import check_table, declared_options

    try:
        options = declared_options(group, plugin)
        if options is None:  # a plugin that checks its table when it is opened; what is secret in it, only it knows
            settings += [Setting(where, key, "(given)") for key in table]
        else:
            settings += _shown(where, options, table)
            wrong = wrong_keys(where, options, table)
            problems += wrong
            if wrong:
                return
        check_table(group, plugin, table, where)
    except RondoError as error:
        problems.append(f"{where}: {one_line(error)}" if where not in str(error) else one_line(error))


def _problem(check: Any, *arguments: Any) -> list[str]:
    try:
        check(*arguments)
    except RondoError as error:
        return [one_line(error)]
    return []


def _shown(where: str, options: Sequence[Option], table: Mapping[str, Any]) -> list[Setting]:
    settings = []
    for option in options:
        value = table.get(option.name, option.default)
        if value is not None:
            shown = "(secret)" if option.secret else " ".join(value) if isinstance(value, list) else str(value)
            settings.append(Setting(where, option.name, shown))
    return settings
