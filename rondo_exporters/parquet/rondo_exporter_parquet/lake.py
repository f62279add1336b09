"""The files of one exporter below a directory: appended, small ones joined, no sample in them twice.

What comes is a new file, together with the smaller ones that are there: files whose rows are of at most the new file's
power of two. So a row is written once, and again only when its file doubles: 1 + log2(rows_per_file / rows of a batch)
times at most, whatever comes; and of each power of two one small file stays. A batch that is sent again after a crash
finds its samples, in the files whose times and instances it touches: those that are the same are left as they are, of
others the new ones take their place.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from rondo_core import Batch
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_core.storage import UNFINISHED
from rondo_exporter_parquet.compaction import join_lives
from rondo_exporter_parquet.files import File, LakeFolder, read_version_1
from rondo_exporter_parquet.lives import put_life
from rondo_exporter_parquet.objects import keys_there
from rondo_exporter_parquet.place import open_place
from rondo_exporter_parquet.rows import VALUES, days, in_order, of_version_1, shared, spans, without

# So many files of a life each, which this exporter has written, become one, and so many of those one again.
LIVES_AT_ONCE = 8


class Lake:
    """Takes batches to the files of one exporter."""

    def __init__(
        self, directory: Path, instance: str, rows_per_file: int, compression: str, timestamps: str = "us"
    ) -> None:
        """Make the directory where it is missing, and keep other processes from this exporter's files.

        Raises: UsageError: it cannot be made or written, or another process has the instance.
        """
        self._directory, self._rows_per_file = directory, rows_per_file
        self._compression, self._unit, self._instance = compression, timestamps, instance
        quoted = quote(instance, safe="")
        # No key=value, which readers would take for a column, and for a number where it looks like one.
        self._part, self._part_of_version_1 = f"from-{quoted}", f"instance={quoted}"
        self._sending = threading.RLock()
        self._up_to_date = False
        self._place = open_place(directory)
        self._lives = list[str](), list[str]()  # names of files, of one life each and of several
        # Hidden, so that what reads the directory passes over it.
        self._descriptor = _lock(directory, f".{self._part_of_version_1}.lock")

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
            self.upgrade_layout()
            with self._disk():
                for day, table in days(batch, self._unit, self._instance):
                    if batch.resent:  # another agent may have sent it before, or it has been compacted
                        there = keys_there(self._place, day, table, self._unit, self._part)
                        table = without(table, there)  # noqa: PLW2901 - what is left of it
                    self._put(day, table)
                if batch.run is not None:
                    self._end_life(batch)

    def close(self) -> None:
        """Release the files, once a batch that is being written is on the disk."""
        with self._sending:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def upgrade_layout(self) -> int:
        """Write the files of layout version 1 that the instance has anew, and remove them; once.

        Returns: how many. Killed meanwhile, it goes on where it was. Raises: as `send`.
        """
        if self._up_to_date:
            return 0
        old = sorted(self._directory.glob(f"day=*/{self._part_of_version_1}/[!.]*.parquet"))
        with self._disk():
            for path in old:
                table = read_version_1(path)
                day = path.parent.parent.name.removeprefix("day=")
                self._put(day, of_version_1(table, self._unit, self._instance))
                path.unlink()
            for folder in {path.parent for path in old}:
                for left in folder.glob(f".*{UNFINISHED}"):
                    left.unlink()
                with contextlib.suppress(OSError):  # another's file lies in it
                    folder.rmdir()
        self._up_to_date = True
        return len(old)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Say of what the disk does not take that it may be tried again."""
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else f"{self._directory}: "
            what = os.strerror(error.errno) if error.errno else str(error)
            raise RetryableExportError(f"{where}{what}; what was not written stays in the store") from None

    def _end_life(self, batch: Batch) -> None:
        name = put_life(self._place, batch, self._instance)
        for alike in self._lives:
            alike.append(name)
            if len(alike) < LIVES_AT_ONCE:
                return
            _, name = join_lives(self._place, alike)
            alike.clear()

    def _put(self, day: str, table: pa.Table) -> None:
        """Write a day's rows. Raises: as `send`."""
        if not table.num_rows:
            return
        folder = LakeFolder(self._directory / f"day={day}" / self._part, self._unit, self._compression)
        fresh = _replace_known(folder, table)
        if fresh.num_rows:
            self._append(folder, fresh)

    def _append(self, folder: LakeFolder, table: pa.Table) -> None:
        """Write rows that no file has, joined with the small files that are not larger."""
        taken, n_rows = self._small(folder, table.num_rows)
        if taken:
            table = in_order(pa.concat_tables([*map(folder.read, taken), table]))
        n_files = math.ceil(n_rows / self._rows_per_file)
        cuts = [n_rows * number // n_files for number in range(n_files + 1)]
        for first, end in itertools.pairwise(cuts):  # where files were taken in, all of it is one
            folder.add(table.slice(first, end - first), taken)

    def _small(self, folder: LakeFolder, n_rows: int) -> tuple[list[File], int]:
        """Give the files that rows are joined with, smallest first, and how many rows that makes."""
        small = sorted((file for file in folder.files() if 2 * file.n_rows <= self._rows_per_file), key=_size)
        taken: list[File] = []
        for file in small:
            if 2 * n_rows > self._rows_per_file or file.n_rows.bit_length() > n_rows.bit_length():
                break
            taken.append(file)
            n_rows += file.n_rows
        return taken, n_rows


def _size(file: File) -> int:
    return file.n_rows


def _replace_known(folder: LakeFolder, table: pa.Table) -> pa.Table:
    """Let rows take the place of those of the same samples that are there; give the others."""
    wanted = spans(table)
    for file in folder.files():
        if table.num_rows and file.may_hold(wanted):
            old = folder.read(file)
            there, again = shared(old, table)
            if not there.select(VALUES).equals(again.select(VALUES)):
                folder.replace(file, in_order(pa.concat_tables([without(old, again), again])))
            table = without(table, there)
    return table


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
