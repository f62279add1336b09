"""Schemas as people write them, in TOML: read a file of `[[schema]]` tables, and write one.

    [[schema]]
    name = "gauges"
    kind = "gauge"
    max_series = 16                          # 32 where it is left out
    match = '{__name__=~"vmm_.*"}'           # every series of the kind where it is left out
    sketch = false                           # true: summaries keep what quantiles are read from
    peaks = false                            # true: gauges keep each bucket's least and greatest value
    reserve = 2                              # overflow series beside those; 2 to 8, or 1, where it is left out
    tiers = [["1s", "10m"], {interval = "10s", retention = "6h", statistics = ["min", "max", "sum"]}]

A table of the name "rondo" takes the place of rondo's own schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rondo_core.errors import RangeError, SchemaError, instead
from rondo_core.model.paths import read_toml
from rondo_core.model.schema import DEFAULT_TIERS, Schema, Tier, check_schemas, reserve_for
from rondo_core.units import format_duration

_SCHEMA_KEYS = ("name", "kind", "max_series", "tiers", "match", "sketch", "peaks", "reserve")
_TIER_KEYS = ("interval", "retention", "statistics")


def read_schemas(path: str | Path) -> tuple[Schema, ...]:
    """Read the schemas that a TOML file describes, as `Store` takes them.

    Raises: SchemaError: a key or a value is wrong, the message naming file, table and mend; StoreError: no such file.
    """
    file = Path(path)
    plain = read_toml(file, SchemaError)
    _check_keys(str(file), plain, ("schema",))
    tables = plain.get("schema")
    if not isinstance(tables, list) or not tables:
        raise SchemaError(f"{file}: no schema in it; write one [[schema]] table for each")
    schemas = tuple(_schema(f"{file}: [[schema]] {number}", table) for number, table in enumerate(tables, 1))
    try:
        check_schemas(schemas)
    except SchemaError as error:
        raise SchemaError(f"{file}: {error}") from None
    return schemas


def write_schemas(schemas: Iterable[Schema]) -> str:
    """Write schemas as the text of a file that `read_schemas` reads as the same ones."""
    return "\n".join(_text(schema) for schema in schemas)


def _text(schema: Schema) -> str:
    lines = ["[[schema]]", f"name = {_quoted(schema.name)}", f"kind = {_quoted(schema.kind)}"]
    lines.append(f"max_series = {schema.max_series}")
    if schema.match:
        lines.append(f"match = {_quoted(schema.match)}")
    lines += [f"{key} = true" for key in ("sketch", "peaks") if getattr(schema, key)]
    if schema.reserve != reserve_for(schema):
        lines.append(f"reserve = {schema.reserve}")
    lines.append("tiers = [")
    for tier in schema.tiers:
        pair = f"interval = {_exact(tier.interval_ns)}, retention = {_exact(tier.retention_ns)}"
        kept = ", ".join(map(_quoted, tier.statistics))
        lines.append(f"  {{{pair}, statistics = [{kept}]}}," if kept else f"  {{{pair}}},")
    return "\n".join([*lines, "]", ""])


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)


def _exact(duration_ns: int) -> str:
    text = format_duration(duration_ns)
    return _quoted(text if Tier(text, text).interval_ns == duration_ns else f"{duration_ns}ns")


def _schema(where: str, table: Any) -> Schema:
    if not isinstance(table, dict):
        raise SchemaError(f"{where}: {table!r} is not a table; write [[schema]] above its keys")
    if isinstance(table.get("name"), str):
        where += f" ({table['name']})"
    _check_keys(where, table, _SCHEMA_KEYS)
    for key in ("name", "kind"):
        if key not in table:
            raise SchemaError(f'{where}: {key} is missing; write {key} = "..."')
    for key in ("name", "kind", "match"):
        _check_type(where, table, key, str, "a text in quotes")
    for key in ("max_series", "reserve"):
        _check_type(where, table, key, int, "a whole number")
    _check_type(where, table, "tiers", list, 'a list such as [["1s", "10m"], ["10s", "6h"]]')
    for key in ("sketch", "peaks"):
        if not isinstance(table.get(key, False), bool):
            raise SchemaError(f"{where}: {key} = {table[key]!r}; write true or false, without quotes")
    tiers = [_tier(f"{where}: tier {index}", tier) for index, tier in enumerate(table.get("tiers", DEFAULT_TIERS))]
    rest = {key: table[key] for key in ("max_series", "match", "sketch", "peaks", "reserve") if key in table}
    try:
        return Schema(table["name"], table["kind"], tiers=tuple(tiers), **rest)
    except SchemaError as error:
        said = str(error).removeprefix(f"schema {table['name']!r}: ")
        raise SchemaError(f"{where}: {said}") from None


def _tier(where: str, plain: Any) -> Tier:
    if isinstance(plain, Tier):
        return plain
    if isinstance(plain, list):
        if len(plain) != 2:
            raise SchemaError(f'{where}: {len(plain)} values; write ["interval", "retention"]')
        plain = dict(zip(_TIER_KEYS, plain, strict=False))
    if not isinstance(plain, dict):
        raise SchemaError(f'{where}: {plain!r}; write ["1s", "10m"] or {{interval = "1s", retention = "10m"}}')
    _check_keys(where, plain, _TIER_KEYS)
    for key in ("interval", "retention"):
        if key not in plain:
            raise SchemaError(f'{where}: {key} is missing; write {key} = "10s"')
        _check_type(where, plain, key, str, 'a duration in quotes, such as "10s"')
    statistics = plain.get("statistics", [])
    if not isinstance(statistics, list) or not all(isinstance(name, str) for name in statistics):
        raise SchemaError(f'{where}: statistics {statistics!r}; write a list such as ["min", "max", "sum"]')
    try:
        return Tier(plain["interval"], plain["retention"], statistics)
    except (SchemaError, RangeError) as error:
        raise SchemaError(f"{where}: {error}") from None


def _check_keys(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise SchemaError(f"{where}: no key {key!r}; {instead(key, known)}")


def _check_type(where: str, table: Mapping[str, Any], key: str, kind: type, mend: str) -> None:
    value = table.get(key)
    if key in table and (not isinstance(value, kind) or isinstance(value, bool)):
        raise SchemaError(f"{where}: {key} = {value!r}; write {mend}")
