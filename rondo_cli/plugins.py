"""`rondo plugins`: what is installed, from where, what it can be told, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from rondo_cli import render
from rondo_cli.params import CONFIG, PATH
from rondo_cli.printing import say, show
from rondo_core.errors import PluginNotFoundError, StoreNotFoundError
from rondo_core.model import is_directory
from rondo_core.plugins import PluginInfo, list_plugins


@click.command("plugins")
@click.argument("name", default="")
@click.option(
    "--store",
    type=PATH,
    default=None,
    help="A store, or a directory of stores, whose exporters' failures are shown; default: the config's.",
)
@CONFIG
def command(name: str, store: Path | None, config: Path | None) -> int:
    """List the installed recorders, consolidators and exporters; or show what can be told to the plugin NAME.

    A plugin that cannot be used is listed with the reason; the others work all the same. An exporter that fails only
    when it is opened, or when it sends, has left word of that in the store.

    \b
    rondo plugins
    rondo plugins prometheus
    """
    infos = list_plugins()
    if name:
        found = [info for info in infos if info.name == name]
        if not found:
            raise PluginNotFoundError(
                name, f"not installed; there is {', '.join(sorted({each.name for each in infos}))}"
            )
        for info in found:
            _show_options(info)
        return 0
    rows = [
        [info.group.removeprefix("rondo."), info.name, info.distribution, info.version, info.error or "ok"]
        for info in infos
    ]
    show(render.table(["family", "name", "distribution", "version", "state"], rows) if rows else "none installed")
    for line in _failures(store, config):
        say(line)
    return 0


def _failures(given: Path | None, config: Path | None) -> Iterator[str]:
    """Say of each exporter that has failed in these stores what was wrong the last time."""
    from rondo_core.export import cursor_names, load_cursor
    from rondo_core.plugins import read_config
    from rondo_core.read import find_stores
    from rondo_core.units import format_instant

    place = given or read_config(config).store.get("path")
    if place is None:
        return
    if given is not None and not is_directory(given):
        raise StoreNotFoundError(f"{given}: no such store, or directory of stores; check the path")
    for path in (Path(place), *find_stores(Path(place))):
        for name in cursor_names(path):
            cursor = load_cursor(path, name)
            if cursor.error:
                yield f"exporters.{name}, {path}: last failure {format_instant(cursor.error_ns)}: {cursor.error}"


def _show_options(info: PluginInfo) -> None:
    say(f"{info.name} ({info.group.removeprefix('rondo.')}), {info.distribution} {info.version}")
    if info.error:
        say(info.error)
    elif info.options is None:
        say("declares no options; what it can be told is in its own documents")
    elif not info.options:
        say("takes no options")
    else:
        rows = [
            [
                each.name,
                each.type,
                "required" if each.required else "" if each.default is None or each.secret else str(each.default),
                "|".join(each.choices),
                f"{each.help} (secret)" if each.secret else each.help,
            ]
            for each in info.options
        ]
        show(render.table(["option", "type", "default", "choices", "what"], rows))
