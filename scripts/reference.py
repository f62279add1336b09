"""Write docs/reference/ from the code: every command, every key of a rondo.toml, every self-metric, the Python API.

`python scripts/reference.py` writes the pages; with `--check` it says which are not what the code says, as a test does.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attrs
import click

from rondo_cli.main import cli
from rondo_core import Option
from rondo_core.plugins.inventory import declared_options
from rondo_core.plugins.options import AGENT_OPTIONS, RECORDER_OPTIONS, RUNNER_OPTIONS, STORE_OPTIONS
from rondo_core.record import selfmetrics

HOME = Path(__file__).resolve().parents[1] / "docs" / "reference"
WIDTH = 110
# What other programs may build on, beside the names of `rondo_core` itself: folders of the core, and the HTTP API.
MODULES = ("model", "storage", "record", "plugins", "read", "export", "maintain")
OTHERS = ("rondo_promql", "rondo_web")


def commands() -> str:
    """Write the page of commands: what each prints for --help."""
    lines = ["# Commands", "", "What `rondo COMMAND --help` says of each.", ""]
    for context in _walk(click.Context(cli, info_name="rondo", terminal_width=WIDTH, **cli.context_settings)):
        lines += [f"## `{context.command_path}`", "", "```text", context.command.get_help(context), "```", ""]
    return "\n".join(lines)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            if below is not None:
                yield from _walk(click.Context(below, info_name=name, parent=context, **below.context_settings))


def config() -> str:
    """Write the page of a rondo.toml: each table with its keys."""
    lines = [
        "# rondo.toml",
        "",
        "The keys of each table; `rondo config check` reads a file and says what will be used.",
        "",
    ]
    fixed = (
        ("[store]", "Where a program's store is, and how it is kept.", STORE_OPTIONS),
        ("[agent]", "`rondo agent DIRECTORY`.", AGENT_OPTIONS),
        ("[exporters.NAME]", "What every exporter's table may hold, beside the plugin's own keys.", RUNNER_OPTIONS),
        ("[recorders.NAME]", "What every recorder's table may hold, beside the plugin's own keys.", RECORDER_OPTIONS),
    )
    for table, what, options in fixed:
        lines += [f"## `{table}`", "", what, "", *_keys(options)]
    for group in ("exporters", "recorders"):
        for point in sorted(entry_points(group=f"rondo.{group}"), key=lambda each: each.name):
            known = point.dist is not None and point.dist.name.startswith(("rondo-tsdb", "rondo-exporter-"))
            options = declared_options(f"rondo.{group}", point.name) if known else None
            if options:
                lines += [f"## `[{group}.{point.name}]`", "", f"Of `{point.dist.name}`.", "", *_keys(options)]  # type: ignore[union-attr]
    return "\n".join(lines)


def _keys(options: Iterable[Option]) -> list[str]:
    rows = ["| key | type | default | what |", "|---|---|---|---|"]
    for option in options:
        default = "required" if option.required else "" if option.default is None else f"`{option.default}`"
        what = option.help + (f"; one of {', '.join(option.choices)}" if option.choices else "")
        rows.append(
            f"| `{option.name}` | {option.type}{', secret' * option.secret} | {default} | {what} |".replace(
                "|  |", "| |"
            )
        )
    return [*rows, ""]


def metrics() -> str:
    """Write the page of what rondo says of itself in a store."""
    rows = [f"| `{name}` | {text} |" for name, text in sorted(selfmetrics.HELP.items())]
    return "\n".join(
        [
            "# Self-metrics",
            "",
            "What rondo says of itself, in the same store, in the schema `rondo`; each comes with what it counts.",
            "",
            "| series | what |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def python() -> str:
    """Write the page of the public Python API: names, signatures, docstrings."""
    lines = ["# Python API", "", "What may be imported; everything else may change without a word.", ""]
    for module in ("rondo_core", *(f"rondo_core.{name}" for name in MODULES), *OTHERS):
        package = importlib.import_module(module)
        lines += [f"## `{module}`", "", inspect.getdoc(package) or "", ""]
        for name in sorted(package.__all__):
            lines += _entry(name, getattr(package, name), whole=module == "rondo_core")
    return "\n".join(lines)


def _entry(name: str, thing: Any, *, whole: bool) -> list[str]:
    if inspect.ismodule(thing):
        return [f"### `{name}`", "", f"A module: {(inspect.getdoc(thing) or '').splitlines()[0]}", ""]
    if not inspect.isclass(thing) and not inspect.isroutine(thing):
        said = f"`{thing!r}`" if isinstance(thing, str | int) else f"A {type(thing).__name__}."
        return [f"### `{name}`", "", said, ""]
    lines = [f"### `{name}{_signature(thing)}`", "", "```text", inspect.getdoc(thing) or "", "```", ""]
    if whole and inspect.isclass(thing):
        ours = [vars(each) for each in reversed(thing.__mro__) if each.__module__.startswith("rondo")]
        for attribute, member in sorted({key: value for each in ours for key, value in each.items()}.items()):
            function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            if attribute.startswith("_") or not inspect.isroutine(function):
                continue
            lines += [
                f"#### `{name}.{attribute}{_signature(function)}`",
                "",
                "```text",
                inspect.getdoc(function) or "",
                "```",
                "",
            ]
    return lines


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    if inspect.isclass(thing) and issubclass(thing, tuple) and hasattr(thing, "_fields"):
        return f"({', '.join(thing._fields)})"
    if attrs.has(thing) if inspect.isclass(thing) else False:
        return f"({', '.join(field.name for field in attrs.fields(thing) if field.init)})"
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(inspect.Signature(plain)))


PAGES = {"commands.md": commands, "config.md": config, "self-metrics.md": metrics, "python.md": python}


def main(check: bool) -> int:
    """Write the pages that differ, or say which do."""
    HOME.mkdir(exist_ok=True)
    differing = 0
    for name, page in PAGES.items():
        text, path = page(), HOME / name
        if not path.exists() or path.read_text().split() != text.split():
            print(f"reference: {name}: {'is not what the code says; make reference' if check else 'written'}")
            differing += 1
            if not check:
                path.write_text(text)
    return differing if check else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
