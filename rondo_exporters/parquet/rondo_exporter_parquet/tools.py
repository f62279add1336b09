"""What `rondo lake` asks of a lake: SQL, PromQL's source, compaction, expiry, and whether it is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow.dataset as ds

from rondo_core.errors import RondoError, UsageError, one_line
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
    """A lake, opened by its location. Attributes: `place`."""

    def __init__(self, location: str) -> None:
        """Find where it lies. Raises: as `open_place`."""
        self.place = open_place(location, must_exist=True)

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
            lives = self.place.names(LIVES, recursive=False)
            if self.place.directory is not None and (samples := self.place.folders()):
                if not any(name.startswith("day=") for name in samples):
                    raise LakeError(f"{self.place.location}: no samples there; an exporter `parquet` brings them")
                made = sql.views("duckdb", str(self.place.directory), has_lives=bool(lives))
            else:
                connection.register("samples", self._samples())
                made = sql.views("duckdb", has_lives=False)
            if not lives:
                connection.register("lives", LIVES_SCHEMA.empty_table())
            elif self.place.directory is None:
                known = listing.lives(self.place, lives).fragments.values()
                connection.register("lives", listing.dataset(self.place, known, LIVES_SCHEMA))
        try:
            for statement in made:
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

    def _samples(self) -> Any:
        by_day, _ = listing.by_day(self.place.names())
        there = listing.samples(self.place, [name for names in by_day.values() for name in names])
        if not there.fragments:
            raise LakeError(f"{self.place.location}: no samples there; an exporter `parquet` brings them")
        import pyarrow as pa

        schema = schema_of(listing.unit_of(there)).append(pa.field("day", pa.string()))
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
            raise UsageError(f"lake query: {one_line(error)}") from None
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
            what = one_line(error)
            raise LakeError(what if location in what else f"{location}: {what}") from None

    return reached()
