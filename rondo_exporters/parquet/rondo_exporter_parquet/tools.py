"""What `rondo lake` asks of a lake: SQL, PromQL's source, compaction, expiry, and whether it is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow.dataset as ds

from rondo_core.errors import RondoError, UsageError, one_line, printable
from rondo_exporter_parquet import listing, sql
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.place import open_place
from rondo_exporter_parquet.rows import schema_of
from rondo_exporter_parquet.source import LakeSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_STATEMENTS = "select|with|from|describe|summarize|explain|show|pivot"
_QUESTION = re.compile(rf"\s*(?:--[^\n]*\n\s*)*({_STATEMENTS})\s", re.IGNORECASE)


class LakeError(RondoError):
    """A question that a lake cannot answer, or a lake that cannot be reached."""


class LakeTools:
    """A lake, opened by its location.

    Attributes: `place`; `errors`: files that the last question in SQL left out, damaged or a stranger's, a line each.
    """

    def __init__(self, location: str) -> None:
        """Find where it lies. Raises: as `open_place`."""
        self.place = open_place(location, must_exist=True)
        self.errors: list[str] = []

    def is_sql(self, question: str) -> bool:
        """Say whether a question is SQL: whether it begins as a statement of it does."""
        return bool(_QUESTION.match(question))

    def source(self) -> LakeSource:
        """Give what PromQL is evaluated over. Raises: LakeError."""
        with _reached(self.place.location):
            return LakeSource(self.place)

    def connection(self) -> Any:
        """Give a connection of DuckDB that has the lake's views, times in UTC.

        Raises: UsageError: DuckDB is not installed; LakeError: as `query`.
        """
        try:
            import duckdb
        except ImportError:
            raise UsageError("lake query: SQL needs DuckDB, which is not installed; pip install duckdb") from None
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        with _reached(self.place.location):
            by_day, strange = listing.by_day(self.place.names())
            samples = listing.samples(self.place, [name for names in by_day.values() for name in names])
            lives = listing.lives(self.place, self.place.names(LIVES, recursive=False))
            self.errors = [*strange, *samples.faults, *lives.faults]
            if not samples.fragments and not lives.fragments:
                what = self.errors[0] if self.errors else "no samples there; an exporter `parquet` brings them"
                raise LakeError(f"{self.place.location}: {what}")
        try:
            if self.place.directory is not None and samples.fragments:
                connection.execute(sql.view_of("samples", map(self.place.full, samples.fragments)))
            else:
                connection.register("samples", self._samples(samples))
            if self.place.directory is not None and lives.fragments:
                connection.execute(sql.view_of("lives", map(self.place.full, lives.fragments)))
            else:
                connection.register("lives", listing.dataset(self.place, lives.fragments.values(), LIVES_SCHEMA))
            for statement in sql.views("duckdb"):
                connection.execute(statement)
        except duckdb.Error as error:
            connection.close()
            raise self._unread(error) from None
        return connection

    def _unread(self, error: Exception) -> Exception:
        """Give what is raised where files cannot be read: one may be gone, as another process compacts, or damaged."""
        text = one_line(error)
        if "No such file" in text:
            return FileNotFoundError(text)
        return LakeError(f"{self.place.location}: {text[:300]}; rondo lake check names files that do not read")

    def _samples(self, there: listing.Listing) -> Any:
        import pyarrow as pa

        schema = schema_of(listing.unit_of(there)).append(pa.field("day", pa.string()))
        if not there.fragments:  # all of its days have expired
            return schema.empty_table()
        hive = ds.partitioning(pa.schema([pa.field("day", pa.string())]), flavor="hive")
        paths = [self.place.full(name) for name in there.fragments]
        return ds.dataset(
            paths, schema=schema, format="parquet", filesystem=self.place.fs, partitioning=hive,
            partition_base_dir=self.place.root,
        )  # fmt: skip

    def query(self, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Answer a question in SQL over `samples`, `lives`, `increases` and `sketch_cells`: column names, and rows.

        Raises: UsageError: DuckDB does not take it; LakeError: the lake does not answer.
        """
        with _reached(self.place.location):
            return listing.again(lambda: self._answer(question), self.place)

    def _answer(self, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        connection = self.connection()
        import duckdb

        try:
            answer = connection.execute(question)
            return [each[0] for each in answer.description], answer.fetchall()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise UsageError(f"lake query: {printable(' '.join(str(error).split()))}") from None
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise self._unread(error) from None
        except duckdb.Error as error:
            raise LakeError(f"{self.place.location}: {one_line(error)}") from None
        finally:
            connection.close()

    def compact(
        self, days: Sequence[str] = (), *, rows_per_file: int | None = None, whole: bool = False
    ) -> dict[str, Any]:
        """Join small files; give what was done. Raises: ExportError; LakeError."""
        from rondo_exporter_parquet.compaction import ROWS_PER_FILE, compact

        with _reached(self.place.location):
            done = compact(self.place, days or None, rows_per_file=rows_per_file or ROWS_PER_FILE, whole=whole)
        return attrs.asdict(done)

    def expire(self, keep_for_ns: int, keep_lives_for_ns: int | None = None) -> dict[str, Any]:
        """Remove days that are older, and lives that are; give what was done. Raises: LakeError."""
        from rondo_exporter_parquet.compaction import cutoff_day, expire

        lives_day = None if keep_lives_for_ns is None else cutoff_day(keep_lives_for_ns)
        with _reached(self.place.location):
            days, lives = expire(self.place, cutoff_day(keep_for_ns), lives_day)
        return {"before": cutoff_day(keep_for_ns), "days": days, "lives": lives}

    def check(self, stores: Path | None = None, exporter: str = "parquet") -> dict[str, Any]:
        """Say whether all that was acknowledged is there, once; see `LakeCheck`. Raises: LakeError."""
        from rondo_exporter_parquet.checking import check

        with _reached(self.place.location):
            return attrs.asdict(check(self.place, stores, exporter))


def _reached(location: str) -> AbstractContextManager[None]:
    from contextlib import contextmanager

    @contextmanager
    def reached() -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            what = printable(" ".join(str(error).split()))
            raise LakeError(what if location in what else f"{location}: {what}") from None

    return reached()
