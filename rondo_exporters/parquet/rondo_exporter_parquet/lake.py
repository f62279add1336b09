"""Files of one instance below a directory: written whole, replaced atomically, no sample in them twice.

A file is named by the first sample that it was made with. What comes is merged into the newest file of its day while
that has room, and into every file whose span it touches: of a sample that is there already the new one stands, so that
a batch that is sent again after a crash leaves what it left before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from rondo_core import Batch
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_exporter_parquet.rows import ORDER, SCHEMA, days

_UNFINISHED = ".unfinished"
# Where a file says which times it spans, ns since the epoch.
_SPAN = (b"rondo.first_ns", b"rondo.last_ns")


class Lake:
    """Takes batches to the files of one instance."""

    def __init__(self, directory: Path, instance: str, rows_per_file: int, compression: str) -> None:
        """Make the directory where it is missing, and keep other processes from this instance's files.

        Raises: UsageError: it cannot be made or written, or another process has the instance.
        """
        self._directory, self._rows_per_file, self._compression = directory, rows_per_file, compression
        self._part = f"instance={quote(instance, safe='')}"
        self._sending = threading.RLock()
        # Hidden, so that what reads the directory passes over it.
        self._descriptor = _lock(directory, f".{self._part}.lock")

    def __repr__(self) -> str:
        """Say where the files go."""
        return f"Lake({str(self._directory)!r}, {self._part!r})"

    def send(self, batch: Batch) -> None:
        """Write the batch's samples; they are on the disk when it returns.

        Raises: RetryableExportError: the disk does not take them now; ExportError: a file that is there cannot be read,
        or the exporter was closed.
        """
        with self._sending:
            if self._descriptor < 0:
                raise ExportError(f"{self._directory}: this exporter was closed; open another")
            for day, table in days(batch):
                folder = self._directory / f"day={day}" / self._part
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    self._merge(folder, table)
                except OSError as error:
                    what = os.strerror(error.errno) if error.errno else str(error)
                    raise RetryableExportError(f"{folder}: {what}; what was not written stays in the store") from None

    def close(self) -> None:
        """Let go of the instance, once a batch that is being written is on the disk."""
        with self._sending:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _merge(self, folder: Path, table: pa.Table) -> None:
        """Put a day's rows into its files."""
        for left in folder.glob(f".*{_UNFINISHED}"):
            left.unlink()  # of a process that was killed: the lock says that none writes here
        first, last = _span(table)
        old = _touched(folder, first, last, self._rows_per_file)
        kept = [_without(_read(file.path), table) for file in old]
        whole = pa.concat_tables([*kept, table]).sort_by(ORDER) if old else table
        self._write(old[0].path if old else folder / f"{first}.parquet", whole)
        for file in old[1:]:
            file.path.unlink()

    def _write(self, path: Path, table: pa.Table) -> None:
        """Replace a file; it is on the disk, whole, before it has its name."""
        told = dict(zip(_SPAN, map(str, _span(table)), strict=True))
        unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
        try:
            with unfinished.open("wb") as file:
                pq.write_table(table.replace_schema_metadata(told), file, compression=self._compression)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        for folder in (path.parent, path.parent.parent, self._directory):
            _sync(folder)


def _lock(directory: Path, name: str) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise UsageError(f"directory: {directory}: {error.strerror}; choose another") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        what = f"instance: another process writes {name[1:-5]} in {directory}; give each store its own"
        raise UsageError(what) from None
    return descriptor


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _span(table: pa.Table) -> tuple[int, int]:
    """Give the first and the last sample's time, ns since the epoch; the table is in time order."""
    times = table["time"].cast(pa.int64())
    return times[0].as_py(), times[-1].as_py()


@attrs.frozen
class _File:
    """A file that is there: how many rows, and the span of their times."""

    path: Path
    n_rows: int
    first: int
    last: int


def _touched(folder: Path, first: int, last: int, rows_per_file: int) -> list[_File]:
    """Find the files whose spans a span of time touches, and the newest while that has room, oldest first."""
    files = sorted(map(_look, folder.glob("[!.]*.parquet")), key=lambda file: file.last)
    return [
        file
        for file in files
        if (file.first <= last and file.last >= first) or (file is files[-1] and file.n_rows < rows_per_file)
    ]


def _look(path: Path) -> _File:
    """Read a file's footer. Raises: ExportError: it is no Parquet file of this exporter."""
    with _readable(path):
        held = pq.read_metadata(path)
        told = held.metadata or {}
        if held.schema.to_arrow_schema().equals(SCHEMA) and all(key in told for key in _SPAN):
            return _File(path, held.num_rows, *(int(told[key]) for key in _SPAN))
    raise ExportError(f"{path}: not written by this exporter; choose another directory")


def _read(path: Path) -> pa.Table:
    with _readable(path):
        # One file as it is: what its folders are called is no column of it.
        return pq.ParquetFile(path).read().replace_schema_metadata()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        what = " ".join(str(error).split())[:120]
        raise ExportError(f"{path}: not a whole Parquet file ({what}); move it away") from None


def _without(old: pa.Table, new: pa.Table) -> pa.Table:
    """Give the rows of `old` whose sample is not in `new`."""
    if _span(old)[1] < _span(new)[0]:
        return old
    keys = ["time", "series"]
    marked = old.append_column("row", pa.array(range(old.num_rows)))
    left = marked.select([*keys, "row"]).join(new.select(keys), keys, join_type="left anti")
    return old.take(left["row"].combine_chunks().sort())
