"""What plugins are installed, and which options each declares: for people and for checks, not for recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from rondo_core.errors import HookError, PluginError, one_line
from rondo_core.plugins import entrypoints
from rondo_core.plugins.manager import GROUPS, Plugins
from rondo_core.plugins.options import Option


@attrs.frozen
class PluginInfo:
    """One installed plugin: its family, name, where it comes from, and what is wrong with it, if anything."""

    group: str
    name: str
    distribution: str
    version: str
    module: str
    error: str = ""
    options: Sequence[Option] | None = None


def list_plugins(groups: Iterable[str] = GROUPS) -> list[PluginInfo]:
    """List what is installed, each loaded in a manager of its own to see whether it can be used."""
    from importlib.metadata import entry_points

    infos = []
    specs = [entrypoints.load(value) for value in entrypoints.find("rondo.hookspecs").values()]
    for group in groups:
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            error, options = "", None
            try:
                plugins = Plugins(*specs)
                plugins.load_one(group, point.name, point.value)
                options = plugins.options(point.name)
            except PluginError as failure:
                error = failure.what
            except Exception as failure:  # noqa: BLE001 - isolation is this module's job
                error = f"rondo_options_define: {one_line(failure)}"
            distribution = point.dist
            name, version = (distribution.name, distribution.version) if distribution else ("", "")
            infos.append(PluginInfo(group, point.name, name, version, point.value, error, options))
    return infos


def declared_options(group: str, name: str) -> list[Option] | None:
    """Give the options that an installed plugin declares; None where it declares none.

    Raises: PluginError: it is not installed, does not load, or its hook raises.
    """
    plugins = Plugins(*(entrypoints.load(value) for value in entrypoints.find("rondo.hookspecs").values()))
    plugins.load(group, [name])
    try:
        return plugins.options(name)
    except PluginError:
        raise
    except Exception as error:
        raise HookError(name, f"rondo_options_define: {one_line(error)}") from error


def check_table(group: str, name: str, table: Mapping[str, Any], where: str) -> None:
    """Check a config table of an installed plugin as far as can be told without opening it.

    Args: `where` names the table in errors.
    Raises: PluginError: as `declared_options`; RondoError: what is wrong with the table.
    """
    specs = [entrypoints.load(value) for value in entrypoints.find("rondo.hookspecs").values()]
    plugins = Plugins(*specs, config={name: table}, where={name: where})
    plugins.load(group, [name])
    plugins.check(name)
