"""rondo.toml: which exporters and recorders, how a store is kept, what an agent does.

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

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core.errors import UsageError, instead
from rondo_core.model.paths import is_there, read_toml, warn_where_others_read

if TYPE_CHECKING:
    from rondo_core.model.schema import Schema

FILE_NAME = "rondo.toml"
_SECTIONS = ("agent", "exporters", "recorders", "store")
_CREDENTIAL = re.compile(r"(?i)(?:password|token|secret|authorization|api_?key)$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Config(NamedTuple):
    """What a file says. Tables of plugins stand as they were written; `store` and `agent` are checked.

    Attributes: `path`, the file; None where there is none, and tables are empty.
    """

    path: Path | None = None
    exporters: Mapping[str, Mapping[str, Any]] = _EMPTY
    recorders: Mapping[str, Mapping[str, Any]] = _EMPTY
    store: Mapping[str, Any] = _EMPTY
    agent: Mapping[str, Any] = _EMPTY

    def __repr__(self) -> str:
        """Show no table of a plugin: credentials may be in them."""
        return f"Config(path={self.path!r}, store={self.store!r}, agent={self.agent!r})"

    def schemas(self) -> tuple[Schema, ...] | None:
        """Read the file that `store.schemas` names; None where it names none. Raises: as `read_schemas`."""
        if "schemas" not in self.store:
            return None
        from rondo_core.model.schema_file import read_schemas

        return read_schemas(self.store["schemas"])


def read_config(path: str | Path | None = None) -> Config:
    """Read the file at `path`; None: rondo.toml in the working directory, where there is one.

    Raises: UsageError: it is no TOML, or a table, or a key of `store` or `agent`, is wrong; StoreError: no such file.
    """
    file = Path(FILE_NAME) if path is None else Path(path)
    if path is None and not is_there(file):
        return Config()
    from rondo_core.plugins.options import AGENT_OPTIONS, STORE_OPTIONS, read_options

    plain = read_toml(file)
    if any(_holds_credential(table) for table in _dicts(plain.get("exporters"))):
        warn_where_others_read("config", file)
    for key, table in plain.items():
        if key not in _SECTIONS:
            raise UsageError(f"{file}: {key}: no such table; {instead(key, _SECTIONS)}")
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {key}: not a table; write [{key}]")
    return Config(
        file,
        _tables(file, "exporters", plain.get("exporters", {})),
        _tables(file, "recorders", plain.get("recorders", {})),
        _resolve_paths(
            file, read_options(f"{file}: store", STORE_OPTIONS, plain.get("store", {})), ("path", "schemas")
        ),
        _resolve_paths(file, read_options(f"{file}: agent", AGENT_OPTIONS, plain.get("agent", {})), ("archive",)),
    )


def _dicts(tables: Any) -> list[dict[str, Any]]:
    return [each for each in tables.values() if isinstance(each, dict)] if isinstance(tables, dict) else []


def _holds_credential(table: Mapping[str, Any]) -> bool:
    """Say whether a table holds a password or a token itself, not the name of a file or of an environment variable."""
    named = {**table, **{key: value for inner in _dicts(table) for key, value in inner.items()}}
    return any(
        _CREDENTIAL.search(key) and isinstance(value, str) and value and not value.startswith("${")
        for key, value in named.items()
    )


def _tables(file: Path, section: str, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {section}.{name}: not a table; write [{section}.{name}]")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{file}: {section}.{name}: letters, digits, _ and - only, 64 at most")
    return dict(tables)


def _resolve_paths(file: Path, values: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Read paths as they are meant: from the file's own directory on."""
    return {key: str(file.parent / value) if key in paths else value for key, value in values.items()}
