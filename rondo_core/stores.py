"""Many stores below one directory, read together: one per process, those included whose process is gone.

Every series gets the label `rondo_store`, the path of its store below the directory, which tells equal series of
different processes apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from rondo_core import layout
from rondo_core.errors import RondoError, StoreNotFoundError, one_line
from rondo_core.labels import Series
from rondo_core.query import AUTO, Range, SeriesData, parse_range
from rondo_core.selector import Selector, parse_selector
from rondo_core.store_reader import StoreReader

LABEL = "rondo_store"
MAX_DEPTH = 4


def find_stores(directory: Path) -> Iterator[Path]:
    """Give every store below the directory, at most four levels down, in order; links are not followed."""
    level = [directory]
    for _ in range(MAX_DEPTH):
        below: list[Path] = []
        for each in level:
            try:
                entries = sorted(entry.path for entry in os.scandir(each) if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            for path in map(Path, entries):
                if path.name.endswith(".unfinished"):
                    continue
                if (path / layout.META_FILE).is_file():
                    yield path
                else:
                    below.append(path)
        level = below


class StoresReader:
    """Every store below a directory, opened for reading. What cannot be opened is left out and stands in `errors`."""

    def __init__(self, directory: str | Path) -> None:
        """Open them.

        Raises: StoreNotFoundError: there is none below the directory, or no such directory.
        """
        self.path = Path(directory)
        self.errors: list[str] = []
        self.readers: dict[str, StoreReader] = {}
        for path in find_stores(self.path):
            try:
                self.readers[str(path.relative_to(self.path))] = StoreReader(path)
            except RondoError as error:
                self.errors.append(one_line(error))
        if not self.readers:
            hint = f"; {self.errors[0]}" if self.errors else "; check the path"
            raise StoreNotFoundError(f"{self.path}: no store here or below{hint}")

    def series(self, selector: str | Selector = "") -> list[Series]:
        """Give the series of every store that the selector, which may name `rondo_store`, matches."""
        return [series for _, found in self._select(selector) for series, _ in found]

    def writer_pid(self) -> int | None:
        """Give the pid of a process that writes one of the stores; None where none does."""
        pids = (reader.writer_pid() for reader in self.readers.values())
        return next((pid for pid in pids if pid is not None), None)

    def newest_ns(self) -> int:
        """Give the start of the newest bucket of any of them, ns since the epoch; 0 where there is none."""
        return max(reader.newest_ns() for reader in self.readers.values())

    def end_ns(self) -> int:
        """Give the end of the newest bucket of any of them, ns since the epoch; 0 where there is none."""
        return max(reader.end_ns() for reader in self.readers.values())

    def query(
        self,
        selector: str | Selector,
        span: str | Range = "all",
        *,
        tier: int | str = AUTO,
        fn: str | None = None,
        now_ns: int | None = None,
        xff: float = 0.0,
    ) -> list[SeriesData]:
        """Read the points of every series that the selector matches; see `View.query`.

        A relative range has one end for all: `now_ns`, or where that is not given the newest bucket of any of them.
        """
        asked = parse_range(span) if isinstance(span, str) else span
        asked = asked.anchored(self.end_ns() - 1 if now_ns is None else now_ns)
        results: list[SeriesData] = []
        for reader, found in self._select(selector):
            own: Sequence[Series] = [series for _, series in found]
            if own:
                data = reader.query(own, asked, tier=tier, fn=fn, xff=xff)
                results += [attrs.evolve(each, series=named) for each, (named, _) in zip(data, found, strict=True)]
        if not results:
            from rondo_core.unmatched import no_such_series

            parsed = parse_selector(selector) if isinstance(selector, str) else selector
            raise no_such_series(parsed, self.series())
        return results

    def _select(self, selector: str | Selector) -> Iterator[tuple[StoreReader, list[tuple[Series, Series]]]]:
        """Give each store's matching series, as they are called here and as they are called there."""
        parsed = parse_selector(selector) if isinstance(selector, str) else selector
        for name, reader in self.readers.items():
            found = []
            for series in reader.registry:
                labels = tuple(sorted((*((k, v) for k, v in series.labels if k != LABEL), (LABEL, name))))
                named = series._replace(labels=labels)
                if parsed.matches(named):
                    found.append((named, series))
            yield reader, found

    def close(self) -> None:
        """Let go of all of them."""
        for reader in self.readers.values():
            reader.close()

    def __enter__(self) -> Self:
        """Give the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Say where it is and how many stores there are."""
        return f"<StoresReader {self.path}: {len(self.readers)} stores>"


def open_reader(path: str | Path) -> StoreReader | StoresReader:
    """Open the store at `path`, or, where it is a directory of stores, all of them.

    Raises: as StoreReader and StoresReader.
    """
    root = Path(path)
    if root.is_dir() and not (root / layout.META_FILE).exists():
        if next(find_stores(root), None) is None:
            return StoreReader(root)
        return StoresReader(root)
    return StoreReader(root)
