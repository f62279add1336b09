"""The files of one folder, a day of one exporter: read, found by what they span, written whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from rondo_core.errors import ExportError
from rondo_core.storage import UNFINISHED, replace_file, sync_directory
from rondo_exporter_parquet.rows import INSTANCE, digest, schema_of, spans, times_ns, widened

VERSION = 3
# Rows of a group within a file: what an engine reads, or passes over, at a time.
ROWS_PER_GROUP = 16_384
# What a footer says beside the columns: the version of this layout, the times and instances that are in the file, and
# the files whose rows were joined into it.
_VERSION, _FIRST, _LAST, _SPANS, _JOINED = (
    f"rondo.{key}".encode() for key in ("version", "first_ns", "last_ns", "spans", "joined")
)
# A file of more instances than that says only which times it spans: a footer is read by every reader.
_MAX_SPANS = 256


@attrs.frozen
class File:
    """A file that is there.

    Attributes: `n_rows`; `spans`: the first and last time of each instance, ns, None where there are too many to name;
        `span`: those of all; `joined`: names of files whose rows it has taken.
    """

    path: Path
    n_rows: int
    span: tuple[int, int]
    spans: Mapping[str, Sequence[int]] | None
    joined: frozenset[str]

    def may_hold(self, wanted: Mapping[str, Sequence[int]]) -> bool:
        """Whether a sample of these instances and times may be in it."""
        if self.spans is None:
            return any(self.span[0] <= last and self.span[1] >= first for first, last in wanted.values())
        known = ((self.spans[name], span) for name, span in wanted.items() if name in self.spans)
        return any(held[0] <= last and held[1] >= first for held, (first, last) in known)


class LakeFolder:
    """A folder that one process writes; every reader may look at any time."""

    def __init__(self, path: Path, unit: str, compression: str) -> None:
        """Make it where it is missing, and remove what a process that was killed has left.

        Raises: OSError: it cannot be made; ExportError: see `files`.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path, self._unit, self._compression = path, unit, compression
        for left in path.glob(f".*{UNFINISHED}"):
            left.unlink()  # the lock says that none writes here
        self._files = {file.path.name: file for file in (_seen(each, unit) for each in path.glob("[!.]*.parquet"))}
        for name in self._taken() & self._files.keys():
            self._files.pop(name).path.unlink()  # joined into another, and the process killed before it was removed

    def files(self) -> list[File]:
        """Give the files that are there."""
        return list(self._files.values())

    def _taken(self) -> frozenset[str]:
        return frozenset[str]().union(*(file.joined for file in self._files.values()))

    def read(self, file: File) -> pa.Table:
        """Read a file whole. Raises: ExportError: it cannot be."""
        with _readable(file.path):
            # One file as it is: what its folders are called is no column of it.
            table = pq.ParquetFile(file.path).read().replace_schema_metadata()
        return table if table.schema.equals(schema_of(self._unit)) else widened(table, self._unit)

    def add(self, table: pa.Table, joined: Sequence[File] = ()) -> None:
        """Write a new file; those whose rows it has taken go once it is on the disk."""
        taken, name, number = self._taken() | self._files.keys(), file_name(table), 1
        while name in taken:  # also one that a file says is joined: it would be taken for what is left of a kill
            number += 1
            name = file_name(table, number)
        self._write(self._path / name, table, joined)
        for file in joined:
            file.path.unlink()
            del self._files[file.path.name]

    def replace(self, file: File, table: pa.Table) -> None:
        """Write a file anew, in one step."""
        self._write(file.path, table, (), file.joined)

    def _write(self, path: Path, table: pa.Table, joined: Sequence[File], kept: frozenset[str] = frozenset()) -> None:
        """Put a file in place; it is on the disk, whole, before it has its name."""
        names = kept | {file.path.name for file in joined}
        told = metadata_of(table, names)

        def write(file: IO[bytes]) -> None:
            write_rows(table, file, self._compression, told)

        replace_file("parquet", path, write, mode=0o666)
        for folder in (path.parent.parent, path.parent.parent.parent):  # which may be new
            sync_directory(folder)
        self._files[path.name] = _seen(path, self._unit)


def read_version_1(path: Path) -> pa.Table:
    """Read a file of layout version 1 whole. Raises: ExportError: it is none, or not whole."""
    with _readable(path):
        held = pq.ParquetFile(path)
        told = held.metadata.metadata or {}
        if {_FIRST, _LAST} <= told.keys() and _VERSION not in told:
            return held.read().replace_schema_metadata()
    raise ExportError(f"{path}: not written by this exporter; move it away")


def file_name(table: pa.Table, number: int = 1) -> str:
    """Name a file by its first time and by which samples are in it: of the same samples it has the same name."""
    first = int(times_ns(table).min())
    return f"{first}-{digest(table)}{f'-{number}' if number > 1 else ''}.parquet"


def write_rows(table: pa.Table, file: Any, compression: str, told: Mapping[bytes, str]) -> None:
    """Write rows as a Parquet file, with what its footer says beside the columns."""
    table = table.replace_schema_metadata(dict(told))
    pq.write_table(table, file, compression=compression, row_group_size=ROWS_PER_GROUP)


def metadata_of(table: pa.Table, joined: Iterable[str]) -> dict[bytes, str]:
    """Give what a footer says of rows, and of the files that were joined into them."""
    stamps, each = times_ns(table), spans(table)
    told = {_VERSION: str(VERSION), _FIRST: str(stamps.min()), _LAST: str(stamps.max())}
    if len(each) <= _MAX_SPANS:
        told[_SPANS] = json.dumps(each, ensure_ascii=False, separators=(",", ":"))
    if joined:
        told[_JOINED] = json.dumps(sorted(joined))
    return told


def _seen(path: Path, unit: str) -> File:
    """Read a footer, or remember it from before. Raises: as `_look`."""
    status = path.stat()
    return _look(path, unit, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _look(path: Path, unit: str, *_status: int) -> File:
    """Read a footer. Raises: ExportError: it is no Parquet file of this exporter, or one that it cannot go on in."""
    with _readable(path):
        held = pq.read_metadata(path)
        told, columns = held.metadata or {}, held.schema.to_arrow_schema()
    version = version_of(told, path)
    if not {_FIRST, _LAST} <= told.keys() or INSTANCE not in columns.names:
        raise ExportError(f"{path}: not written by this exporter; choose another directory")
    if not columns.equals(schema_of(unit, version)):
        there = columns.field("time").type.unit
        raise ExportError(f'{path}: its times are in {there}; set timestamps = "{there}", or choose another directory')
    each = json.loads(told[_SPANS]) if _SPANS in told else None
    return File(path, held.num_rows, (int(told[_FIRST]), int(told[_LAST])), each, joined_of(told))


def version_of(told: Mapping[bytes, bytes], name: object) -> int:
    """Give the version of a file's layout, 2 or 3, of what its footer says. Raises: ExportError: it is another."""
    version = int(told.get(_VERSION, b"0"))
    if version > VERSION:
        raise ExportError(f"{name}: layout {version}, and {VERSION} is known; upgrade rondo-exporter-parquet")
    if version < 2:
        raise ExportError(f"{name}: not written by this exporter; choose another directory")
    return version


def joined_of(told: Mapping[bytes, bytes]) -> frozenset[str]:
    """Give the names of the files whose rows were joined into one, of what its footer says."""
    return frozenset(json.loads(told.get(_JOINED, b"[]")))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in words that what is read within is no whole Parquet file."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        what = " ".join(str(error).split())[:120]
        raise ExportError(f"{path}: not a whole Parquet file ({what}); move it away") from None
