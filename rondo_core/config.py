"""rondo.toml: which exporters and recorders, how a store is kept, what an agent does; read, checked, and shown.

    [store]
    path = "service.rondo"
    schemas = "schemas.toml"

    [recorders.process]

    [recorders.block_io]
    enabled = false

    [exporters.prometheus]
    url = "http://127.0.0.1:9090/api/v1/write"
    bearer_token = "${METRICS_TOKEN}"

    [exporters.rollups]
    plugin = "prometheus"
    url = "http://127.0.0.1:9091/api/v1/write"
    tier = 1
    fn = ["avg", "max"]

    [agent]
    after = "archive"
    archive = "done"

A table of `exporters` names a plugin, or has the key `plugin`; its name is that of the cursor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.errors import RondoError, StoreError, UsageError, one_line
from rondo_core.options import RECORDER_OPTIONS, RUNNER_OPTIONS, Option, divided, read_options

if TYPE_CHECKING:
    from rondo_core.schema import Schema

FILE_NAME = "rondo.toml"
STORE_OPTIONS = (
    Option("path", help="where to record"),
    Option("schemas", help="a file of [[schema]] tables; see rondo plan"),
    Option("tick_interval", "duration", "how often the store is ticked; 1s"),
    Option("sync_interval", "duration", "how often everything is written to the disk; when the kernel does"),
)
AGENT_OPTIONS = (
    Option("interval", "duration", "how often the directory is looked through", 30.0),
    Option(
        "after",
        help="what becomes of a store that is exported whole",
        default="keep",
        choices=("keep", "archive", "delete"),
    ),
    Option("archive", help="where archived stores go; a directory on the same file system"),
    Option("deadline", "duration", "how long one store's export may take in one pass", 60.0),
    Option("instance_label", help="the label that tells stores apart; empty: none", default="instance"),
)
_SECTIONS = ("agent", "exporters", "recorders", "store")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@attrs.frozen
class Config:
    """What a file says. Tables of plugins stand as they were written; `store` and `agent` are checked.

    Attributes: `path`, the file; None where there is none and everything is as it is by default.
    """

    path: Path | None = None
    exporters: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False)
    recorders: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False)
    store: Mapping[str, Any] = attrs.field(factory=dict)
    agent: Mapping[str, Any] = attrs.field(factory=dict)

    def schemas(self) -> tuple[Schema, ...] | None:
        """Read the file that `store.schemas` names; None where it names none. Raises: as `read_schemas`."""
        if "schemas" not in self.store:
            return None
        from rondo_core.schema_file import read_schemas

        return read_schemas(self.store["schemas"])


@attrs.frozen
class Setting:
    """One key that will be used: its table, name, and value as people may see it."""

    table: str
    key: str
    shown: str


def read_config(path: str | Path | None = None) -> Config:
    """Read the file at `path`; None: rondo.toml in the working directory, where there is one.

    Raises: UsageError: it is no TOML, or a table, or a key of `store` or `agent`, is wrong; StoreError: no such file.
    """
    file = Path(FILE_NAME) if path is None else Path(path)
    if path is None and not file.exists():
        return Config(agent=read_options("agent", AGENT_OPTIONS, {}))
    import tomllib

    try:
        plain = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise StoreError(f"{file}: {os.strerror(error.errno or 0)}; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}") from None
    for key, table in plain.items():
        if key not in _SECTIONS:
            import difflib

            near = difflib.get_close_matches(key, _SECTIONS, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"{file}: {key}: no such table; {meant}it has {', '.join(_SECTIONS)}")
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {key}: not a table; write [{key}]")
    return Config(
        file,
        _tables(file, "exporters", plain.get("exporters", {})),
        _tables(file, "recorders", plain.get("recorders", {})),
        _beside(file, read_options(f"{file}: store", STORE_OPTIONS, plain.get("store", {})), ("path", "schemas")),
        _beside(file, read_options(f"{file}: agent", AGENT_OPTIONS, plain.get("agent", {})), ("archive",)),
    )


def _tables(file: Path, section: str, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {section}.{name}: not a table; write [{section}.{name}]")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{file}: {section}.{name}: letters, digits, _ and - only, 64 at most")
    return dict(tables)


def _beside(file: Path, values: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Read paths as they are meant: from the file's own directory on."""
    return {key: str(file.parent / value) if key in paths else value for key, value in values.items()}


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
    if schemas := config.store.get("schemas"):
        from rondo_core.schema_file import read_schemas

        problems += _problem(read_schemas, schemas)
    from rondo_core.plugins import EXPORTERS, RECORDERS

    for name, table in config.exporters.items():
        where = f"exporters.{name}"
        own, rest = divided(table, RUNNER_OPTIONS)
        problems += _problem(check_runner_table, where, own)
        settings += _shown(where, RUNNER_OPTIONS, own)
        _check_plugin(where, EXPORTERS, str(table.get("plugin", name)), rest, settings, problems)
    for name, table in config.recorders.items():
        where = f"recorders.{name}"
        own, rest = divided(table, RECORDER_OPTIONS)
        problems += _problem(read_options, where, RECORDER_OPTIONS, own)
        settings += _shown(where, RECORDER_OPTIONS, own)
        _check_plugin(where, RECORDERS, name, rest, settings, problems)
    return settings, problems


def check_runner_table(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Read the runner's share of an exporter's table.

    Raises: UsageError: names the key and what is allowed.
    """
    values = read_options(where, RUNNER_OPTIONS, table)
    for key, least in (("tier", 0), ("max_samples", 1)):
        if values.get(key, least) < least:
            raise UsageError(f"{where}.{key}: {values[key]}: at least {least}")
    if "match" in values:
        from rondo_core.selector import parse_selector

        try:
            parse_selector(values["match"])
        except UsageError as error:
            raise UsageError(f"{where}.match: {error}") from None
    if values.get("fn"):
        from rondo_core.plugins import load_consolidators

        known = sorted({name for name, _ in load_consolidators()})
        for fn in values["fn"]:
            if fn not in known:
                raise UsageError(f"{where}.fn: {fn!r}: choose from {', '.join(known)}")
    return values


def _check_plugin(
    where: str,
    group: str,
    plugin: str,
    table: Mapping[str, Any],
    settings: list[Setting],
    problems: list[str],
) -> None:
    from rondo_core.plugins import declared_options

    try:
        options = declared_options(group, plugin)
        if options is None:  # a plugin that checks its table when it is opened; what is secret in it, only it knows
            settings += [Setting(where, key, "(given)") for key in table]
        else:
            read_options(where, options, table)
            settings += _shown(where, options, table)
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
