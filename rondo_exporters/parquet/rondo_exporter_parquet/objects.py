"""Batches to an object store, which has no lock, no rename, and may carry out a request that it did not answer.

A file's name is made of which samples are in it, so that what is sent again, by whichever agent, takes the place of the
same. What no answer came to is sent again as it was before anything else: were its samples written in other files
meanwhile, it could still appear beside them.
"""

from __future__ import annotations

import threading
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from rondo_core import Batch
from rondo_core.errors import AnswerLostError, ExportError, one_line
from rondo_exporter_parquet import listing
from rondo_exporter_parquet.files import file_name, metadata_of, write_rows
from rondo_exporter_parquet.lives import put_life
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import INSTANCE, KEYS, days, schema_of, without

ARRIVED = "arrived"  # the folder of a day in which agents put files, for compaction to join


class ObjectLake:
    """Takes batches to a lake in an object store; any number of processes may, under one name or several."""

    def __init__(self, place: Place, instance: str, rows_per_file: int, compression: str, timestamps: str) -> None:
        """Bind to the place; nothing is asked of it yet."""
        self._place, self._instance, self._rows_per_file = place, instance, rows_per_file
        self._compression, self._unit = compression, timestamps
        self._unanswered: dict[str, pa.Table] = {}
        self._sending, self._is_open = threading.RLock(), True

    def __repr__(self) -> str:
        """Say where the files go."""
        return f"ObjectLake({self._place.location!r})"

    def send(self, batch: Batch) -> None:
        """Write the batch's samples; they are there when it returns.

        Raises: AnswerLostError: the store did not say that it has all of them; ExportError: a file that is there cannot
        be read, or the exporter was closed.
        """
        with self._sending:
            if not self._is_open:
                raise ExportError(f"{self._place.location}: this exporter was closed; open another")
            try:
                again = batch.resent or bool(self._unanswered)
                for name, table in list(self._unanswered.items()):
                    self._put(name, table)
                for day, table in days(batch, self._unit, self._instance):
                    self._add(day, self._not_there(day, table) if again else table)
                if batch.run is not None:
                    put_life(self._place, batch, self._instance)
            except OSError as error:
                raise AnswerLostError(f"{one_line(error)}; what was not written stays in the store") from None

    def close(self) -> None:
        """Take no more batches."""
        with self._sending:
            self._is_open = False

    def _add(self, day: str, table: pa.Table) -> None:
        for first in range(0, table.num_rows, self._rows_per_file):
            share = table.slice(first, self._rows_per_file)
            self._put(f"day={day}/{ARRIVED}/{file_name(share)}", share)

    def _put(self, name: str, table: pa.Table) -> None:
        self._unanswered[name] = table
        told = metadata_of(table, ())
        self._place.put(name, lambda file: write_rows(table, file, self._compression, told))
        del self._unanswered[name]

    def _not_there(self, day: str, table: pa.Table) -> pa.Table:
        return without(table, keys_there(self._place, day, table, self._unit))


def keys_there(place: Place, day: str, table: pa.Table, unit: str, but: str = "") -> pa.Table:
    """Give the keys of the samples that a day's files have, of the instances and times of a table.

    What is damaged, newer or a stranger's has none. Args: `but`: a folder of the day that is left out.
    """
    return listing.again(lambda: _keys_there(place, day, table, unit, but), place)


def _keys_there(place: Place, day: str, table: pa.Table, unit: str, but: str) -> pa.Table:
    names = [name for name in listing.day_of(place, day) if not but or PurePosixPath(name).parent.name != but]
    bounds = pc.min_max(table["time"]).as_py()
    wanted = pc.field(INSTANCE).isin(pc.unique(table[INSTANCE]))
    wanted &= (pc.field("time") >= bounds["min"]) & (pc.field("time") <= bounds["max"])
    there = listing.samples(place, names).fragments.values()
    return listing.dataset(place, there, schema_of(unit)).to_table(columns=KEYS, filter=wanted)
