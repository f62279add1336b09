"""What can still be read of a store whose files may be damaged: what it is, and which series lie where.

Nothing is written, and nothing is mapped: a file that shrinks meanwhile ends a read, not the process.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import attrs

from rondo_core.errors import CorruptStoreError, LabelError, RondoError, SchemaError, StoreError, StoreNotFoundError
from rondo_core.model import layout
from rondo_core.model.labels import KINDS, Series, canonical_labels, check_metric_name
from rondo_core.model.paths import is_directory, is_there
from rondo_core.model.schema import MAX_RESERVE, SELF_SCHEMA, SELF_SCHEMAS, Schema, Tier, reserve_for
from rondo_core.model.sketch import CELLS_OF, LAYOUT
from rondo_core.model.statistics import PEAK_CELLS, SKETCH_CELLS
from rondo_core.storage.directory import MAX_META_BYTES, Meta, decode_meta
from rondo_core.storage.files import open_file, read_at, read_bytes, read_used, used_from
from rondo_core.storage.journal import check_header, find_whole, parse
from rondo_core.storage.registry import decode_series, registry_bytes
from rondo_core.units import format_size

LOST_NAME = "rondo_repaired_lost"
SLAB_NAME = re.compile(r"([a-z][a-z0-9_-]{0,31})\.(0|[1-9]\d{0,3})\.slab")
_FIRST = layout.JOURNAL_HEADER.size


@attrs.frozen
class Finding:
    """One thing that is wrong (`damage`) or worth knowing (`note`): in which file, where in it, and what."""

    file: str
    where: str
    what: str
    severity: Literal["damage", "note"] = "damage"


@attrs.frozen
class Recovered:
    """What was read: `series` by schema, then column; what is missing there was lost."""

    meta: Meta
    series: dict[str, dict[int, Series]]
    order: list[Series]
    findings: list[Finding]


def recover(path: Path) -> Recovered:
    """Read what the store at `path` is, from its metadata or else from its slabs, and its series.

    Raises: StoreNotFoundError: there is no store; StoreError: it is a file; FormatVersionError: made by a newer
    rondo; CorruptStoreError: neither its metadata nor any slab says what it is.
    """
    if not is_there(path):
        raise StoreNotFoundError(f"{path}: no such store; check the path")
    if not is_directory(path):
        raise StoreError(f"{path}: a file, not a store; a store is a directory")
    findings: list[Finding] = []
    meta = _read_meta(path / layout.META_FILE, findings)
    from_slabs = meta is None
    if meta is None:
        schemas = schemas_of_slabs(path, findings)
        if not schemas:
            if not is_there(path / layout.META_FILE):
                raise StoreNotFoundError(f"{path}: a directory, but not a store: it has no meta; check the path")
            raise CorruptStoreError(str(path), "neither meta nor a slab's header says what the store is")
        meta = Meta("", 0, schemas)
    order = _read_series(path / layout.REGISTRY_FILE, meta.schemas, findings)
    if from_slabs:
        meta = meta._replace(created_ns=min((each.created_ns for each in order), default=0))
    series: dict[str, dict[int, Series]] = {schema.name: {} for schema in meta.schemas}
    for each in order:
        series[each.schema][each.column] = each
    for name, columns in series.items():
        lost = sorted(set(range(max(columns, default=-1) + 1)) - set(columns))
        if lost:
            findings.append(
                Finding(layout.REGISTRY_FILE, f"schema {name}", f"no series for columns {listed(lost)}, before others")
            )
    return Recovered(meta, series, order, findings)


def listed(numbers: Iterable[int], most: int = 8) -> str:
    """Write numbers as "3, 4, 5", and how many more there are."""
    known = list(numbers)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(map(str, known[:most])) + more


def plain(error: RondoError, path: Path) -> str:
    """Give an error's text without the path in front, which the finding names already."""
    return str(error.what) if isinstance(error, CorruptStoreError) else str(error).removeprefix(f"{path}: ")


def _read_meta(file: Path, findings: list[Finding]) -> Meta | None:
    try:
        data = read_bytes(file, MAX_META_BYTES)
        check_header(file, data)
        payloads, end, crc = parse(data)
        if payloads:
            meta = decode_meta(payloads[0], str(file))
            if end < len(data) and (data[end:].strip(b"\0") or find_whole(data, end, crc)):
                findings.append(Finding(file.name, f"byte {end}", "bytes after the record that mean nothing"))
            if len(data) % layout.PAGE_BYTES:
                findings.append(Finding(file.name, f"byte {len(data)}", f"{len(data)} bytes: not whole pages"))
            return meta
        findings.append(Finding(file.name, f"byte {_FIRST}", "no whole record of what the store is"))
    except (CorruptStoreError, StoreNotFoundError) as error:
        findings.append(Finding(file.name, f"byte {getattr(error, 'offset', 0)}", plain(error, file)))
    except ValueError as error:
        findings.append(Finding(file.name, f"byte {_FIRST}", f"does not read: {error}"))
    return None


def schemas_of_slabs(path: Path, findings: list[Finding]) -> tuple[Schema, ...]:
    """Rebuild the schemas from the headers of the slabs; what their selectors matched is lost.

    rondo's own comes first; the order of the others, which decides where two selectors match, is that of their names.
    """
    headers: dict[str, dict[int, layout.SlabSpec]] = {}
    for file in sorted(path.iterdir()):
        named = SLAB_NAME.fullmatch(file.name)
        if named:
            try:
                headers.setdefault(named[1], {})[int(named[2])] = read_spec(file)
            except (RondoError, ValueError) as error:
                findings.append(Finding(file.name, "header", f"does not say what the slab is: {error}"))
    schemas = []
    for name, tiers in headers.items():
        try:
            schemas.append(_rebuilt(name, tiers))
        except (SchemaError, KeyError) as error:
            findings.append(Finding(f"{name}.*.slab", "headers", f"make no schema: {error}"))
    return tuple(sorted(schemas, key=lambda schema: (schema.name != SELF_SCHEMA, schema.name)))


def _rebuilt(name: str, specs: Mapping[int, layout.SlabSpec]) -> Schema:
    whole = [specs[tier] for tier in range(max(specs) + 1)]
    tiers = tuple(
        Tier(spec.interval_ns, spec.interval_ns * spec.slot_count, [cell.name for cell in spec.cells if tier])
        for tier, spec in enumerate(whole)
    )
    own = {schema.name: schema.match for schema in SELF_SCHEMAS}
    kind = next((known for known in KINDS if known == whole[0].kind), None)
    if kind is None:
        raise SchemaError(f"kind {whole[0].kind!r}")
    peaks = kind == "gauge" and any(cell.name in PEAK_CELLS for cell in whole[0].cells)
    n_cells = next((cell.each - 1 for cell in whole[0].cells if cell.name == SKETCH_CELLS[1]), 0)
    sketch_layout = next((known for known, cells in CELLS_OF.items() if cells == n_cells), LAYOUT)

    def divided(reserve: int) -> Schema:
        facts = name, kind, whole[0].max_series - reserve, tiers, own.get(name, ""), n_cells > 0, peaks
        return Schema(*facts, sketch_layout=sketch_layout, reserve=reserve)

    # How many of the columns are the reserve went with the metadata: as many as a schema has unless it says otherwise.
    splits = [divided(reserve) for reserve in range(min(MAX_RESERVE + 1, whole[0].max_series))]
    schema = next((each for each in splits if each.reserve == reserve_for(each)), splits[0])
    for tier, spec in enumerate(whole):
        if schema.slab_spec(tier) != spec:
            raise SchemaError(f"tier {tier} is of another schema than tier 0")
    return schema


def read_spec(file: Path) -> layout.SlabSpec:
    """Read a slab's header. Raises: StoreError and below; ValueError: it does not check."""
    descriptor = open_file(file)
    try:
        page = read_at(descriptor, 0, layout.PAGE_BYTES)
    finally:
        os.close(descriptor)
    head, cell_bytes = layout.SLAB_HEADER.size, layout.SLAB_CELL.size
    if len(page) < layout.PAGE_BYTES or page[:8] != layout.SLAB_MAGIC:
        raise ValueError("no slab header")
    _, version, _, tier, count, interval_ns, slots, row_bytes, width, kind = layout.SLAB_HEADER.unpack_from(page)
    end = head + count * cell_bytes
    if version != layout.FORMAT_VERSION or end > layout.SLAB_NEXT_WINDOW - 4:
        raise ValueError(f"format version {version}, {count} cells")
    if layout.SLAB_CRC.unpack_from(page, end)[0] != zlib.crc32(page[:end]):
        raise ValueError("its checksum does not fit")
    cells = []
    for offset in range(head, end, cell_bytes):
        name, value_format, place = layout.SLAB_CELL.unpack_from(page, offset)
        cells.append(layout.Cell(name.rstrip(b"\0").decode(), value_format.rstrip(b"\0").decode(), place))
    return layout.SlabSpec(kind.rstrip(b"\0").decode(), tier, interval_ns, slots, row_bytes, width, tuple(cells))


def _read_series(file: Path, schemas: tuple[Schema, ...], findings: list[Finding]) -> list[Series]:
    data, size = b"", 0
    try:
        data, size = _journal_bytes(file)
        check_header(file, data)
    except (CorruptStoreError, StoreNotFoundError) as error:
        findings.append(Finding(file.name, f"byte {getattr(error, 'offset', 0)}", plain(error, file)))
        if not data:
            return []
    if size != registry_bytes(schemas):
        what = f"{size} bytes where the schemas make it {registry_bytes(schemas)}"
        findings.append(Finding(file.name, f"byte {size}", what))
    by_name = {schema.name: schema for schema in schemas}
    found: list[Series] = []
    places: set[object] = set()
    for offset, payload, finding in _records(data, file.name):
        if finding is not None:
            findings.append(finding)
        if payload is None:
            continue
        try:
            series = decode_series(payload, by_name)
            check_metric_name(series.name)
            if canonical_labels(series.labels) != series.labels:
                raise LabelError(f"{series}: labels out of order")  # noqa: TRY301 - told as those of canonical_labels
        except (ValueError, LabelError) as error:
            findings.append(Finding(file.name, f"byte {offset}", f"a record that is no series: {error}"))
            continue
        if {(series.name, series.labels), (series.schema, series.column)} & places:
            findings.append(Finding(file.name, f"byte {offset}", f"{series}: there already, or its column is"))
            continue
        places |= {(series.name, series.labels), (series.schema, series.column)}
        found.append(series)
    return found


def _journal_bytes(file: Path) -> tuple[bytes, int]:
    """Give what is used of a journal, with gaps of up to 64 MiB of zeroes, and the file's size."""
    descriptor = open_file(file)
    try:
        data = read_used(descriptor)
        while (more := used_from(descriptor, len(data))) is not None and more - len(data) <= 64 << 20:
            data += bytes(more - len(data)) + read_used(descriptor, more)
        return data, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _records(data: bytes, file: str) -> Iterator[tuple[int, bytes | None, Finding | None]]:
    """Walk over the whole records, damaged ones passed over: offset, payload, what is wrong there."""
    offset, crc = _FIRST, 0
    while True:
        payloads, end, crc = parse(data, offset, crc)
        for payload in payloads:
            yield offset, payload, None
            offset += layout.JOURNAL_RECORD.size + len(payload)
        found = find_whole(data, end, crc)
        if found is None:
            break
        what = "a record whose length or checksum is damaged; its text is whole"
        if found.payload is None:
            what = f"a damaged record; whole ones go on at byte {found.offset}"
        yield end, found.payload, Finding(file, f"byte {end}", what)
        if not parse(data, found.offset, found.crc)[0]:
            return
        offset, crc = found.offset, found.crc
    torn = len(data[end:].rstrip(b"\0"))
    if torn:
        what = f"a record that was cut short, {format_size(torn)}; the next writer cuts it off"
        yield end, None, Finding(file, f"byte {end}", what, "note")
