"""A directory of stores as one source of PromQL: each series with the label of its store, living and dead together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rondo_core.clock import wall_ns
from rondo_core.errors import OpenFilesError, QueryLimitError, StoreError, one_line
from rondo_core.model import layout
from rondo_core.model.prometheus import NS_PER_MS, sorted_labels
from rondo_core.read.folded import still_counted
from rondo_core.read.newest_stores import ALL_STORES, NewestStores, StoreChoice
from rondo_core.read.source import OpenRows, ReadHint, Selected, lives_of, metadata_of, read_chosen, sampled_ms
from rondo_core.read.source_dead import DeadRows, DeadStore, KeptRows, version_of
from rondo_core.read.source_histograms import SketchHistograms, joined
from rondo_core.read.source_names import Choice, SourceMatcher, SourceNames
from rondo_core.read.source_notes import ReadNotes
from rondo_core.read.source_sketches import BucketTotals, buckets_of
from rondo_core.read.source_values import Lives
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.files import Closeable
from rondo_core.storage.lock import writer_pid
from rondo_core.storage.runs import read_runs

if TYPE_CHECKING:
    from rondo_core.read.budget import Budget

# Stores that are written, or have several runs, stay open; each takes a descriptor for every tier.
_MOST_OPEN = 16
_PLAIN = 3  # items of a series without weights


class FoundStores(Protocol):
    """What was found below a directory; see `stores.DirectoryScan`."""

    @property
    def stores(self) -> list[Path]:
        """Paths of the stores."""

    @property
    def errors(self) -> list[str]:
        """What cannot be looked at."""

    @property
    def passed(self) -> list[str]:
        """What is not looked at."""


class StoresSource(Closeable):
    """The series of every store below a directory. Threads may share it; they read one after the other.

    What cannot be read is left out and stands in `errors`.
    """

    def __init__(
        self,
        directory: str | Path,
        scan_directory: Callable[[Path], FoundStores],
        label: str,
        *,
        clock: Callable[[], int] = wall_ns,
        budget: Budget | None = None,
        choice: StoreChoice = ALL_STORES,
    ) -> None:
        """Look at no store yet; `open_source` and `StoresReader.source` make one.

        Args: `scan_directory` finds the stores; `label` is that which tells them apart; `choice`: which of them are
            asked; others: as `StoreSource`.
        """
        self.path, self._scan_directory, self._label = Path(directory), scan_directory, label
        self.errors: list[str] = []
        self.unread: list[str] = []
        self._clock, self._budget = clock, budget
        self._choices = [choice] if choice else []
        self._newest = NewestStores()
        self._kept = KeptRows()
        self._dead: dict[Path, DeadStore] = {}
        self._open: dict[Path, StoreReader] = {}
        self._lock = threading.RLock()

    def with_budget(self, budget: Budget | None, choice: StoreChoice = ALL_STORES) -> StoresSource:
        """Give the same source for one query that may read so much; what is known of the stores is shared.

        Args: `choice`: which stores it asks, of those that this one does.
        """
        other = StoresSource.__new__(StoresSource)
        other.__dict__.update(self.__dict__)
        other._budget = budget  # noqa: SLF001 - of the same class
        other._choices = [*self._choices, choice] if choice else self._choices  # noqa: SLF001
        return other

    def select(
        self, matchers: Sequence[SourceMatcher], start_ms: int, end_ms: int, hint: ReadHint | None = None
    ) -> list[Selected]:
        """Give the samples, from start to end, both included, of the series of all stores that all matchers take.

        Series of several stores that are told apart by no label are one. Raises: as `StoreSource.select`.
        """
        span, found = (start_ms, end_ms), list[Selected]()
        choice = Choice(matchers, getattr(hint, "func", "") or "")
        notes = ReadNotes.of(hint, choice.func, span)
        now_ns = self._clock()
        buckets = list[BucketTotals]()
        apart, shared = set[tuple[tuple[str, str], ...]](), False

        def read(_: str, store: DeadStore | StoreReader, labels: dict[str, str]) -> None:
            nonlocal shared
            if isinstance(store, DeadStore) and not store.lives.reach(start_ms):
                return
            chosen = store.names.choose(choice, labels)
            if not chosen:
                return
            told = sorted_labels(labels)
            shared = shared or told in apart
            apart.add(told)
            if isinstance(store, DeadStore):
                rows: DeadRows | OpenRows = DeadRows(store, self._budget)
            else:
                rows = OpenRows(store, lives_of(store, now_ns, span, chosen[0].series.schema), self._budget)
            found.extend(read_chosen(rows, chosen, choice, notes, buckets))

        self._each(read)
        if hint is not None:
            for text in notes.texts():
                hint.note(text)
        found += buckets_of(buckets, choice) if buckets else ()
        return _merged(found) if shared else found

    def series(self, matchers: Sequence[SourceMatcher] = ()) -> list[dict[str, str]]:
        """Give the labels of the series that all matchers take; see `StoreSource.series`."""
        choice, found = Choice(matchers), list[dict[str, str]]()
        self._each(lambda _, store, labels: found.extend(each.labels for each in store.names.choose(choice, labels)))
        return found

    def metadata(self) -> dict[str, tuple[str, str, str]]:
        """Give the type, the help and the unit of each metric, by its name."""
        names = list[SourceNames]()
        self._each(lambda _, store, __: names.append(store.names))
        return metadata_of(names)

    def sampled_ms(self, matchers: Sequence[SourceMatcher]) -> tuple[int, int] | None:
        """Give between which instants series of any store may have samples; see `StoreSource.sampled_ms`."""
        choice, found = Choice(matchers), list[tuple[int, int]]()

        def look(_: str, store: DeadStore | StoreReader, labels: dict[str, str]) -> None:
            chosen = store.names.choose(choice, labels)
            if isinstance(store, DeadStore):
                rows: DeadRows | OpenRows = DeadRows(store, None)
            else:
                rows = OpenRows(store, Lives.unknown(), None)
            if chosen and (bounds := sampled_ms(rows, chosen)) is not None:
                found.append(bounds)

        self._each(look)
        return (min(first for first, _ in found), max(last for _, last in found)) if found else None

    def oldest_ms(self) -> int | None:
        """Give when the oldest series of any store was declared, in milliseconds since the epoch; None: there is none.

        Of series that are kept for longer than the tiers, the oldest samples are younger.
        """
        born = list[int]()
        self._each(lambda _, store, __: born.extend(store.names.declared_ns()))
        return min(born) // NS_PER_MS if born else None

    def newest_ms(self) -> int | None:
        """Give the newest instant that has a sample in any store, in milliseconds since the epoch; None: none has."""
        found = [0]

        def look(_: str, store: DeadStore | StoreReader, __: dict[str, str]) -> None:
            if isinstance(store, DeadStore):
                found.extend(int(each) - 1 for each in store.lives.stale_ms)
            else:
                found.append(store.newest_ns() // NS_PER_MS)

        self._each(look)
        return max(found) or None

    def is_live(self) -> bool:
        """Say whether a process writes one of the stores."""
        chosen = self._chosen(self._scan_directory(self.path).stores)
        return any(writer_pid(path / layout.LOCK_FILE) is not None for path in chosen)

    def is_outdated(self) -> bool:
        """Say that it is not: each question is asked of the stores that are there."""
        return False

    def _each(self, read: Callable[[str, DeadStore | StoreReader, dict[str, str]], None]) -> None:
        """Call with each store that is there by now, its name and the labels that tell it from the others."""
        with self._lock:
            below = self._scan_directory(self.path)
            self.errors, self.unread = below.errors + below.passed, list(below.errors)
            paths = still_counted(below.stores, self.errors)
            there = set(paths)
            for path in [each for each in self._dead if each not in there]:
                del self._dead[path]
            self._newest.forget_others(there)
            for path in self._chosen(paths):
                name = layout.store_name(path, self.path, self._label)
                try:
                    store = self._store(path)
                    own = store.labels if isinstance(store, DeadStore) else store.meta.labels
                    read(name, store, {self._label: name, **dict(own)})
                except (OpenFilesError, QueryLimitError):  # of whoever asks, and no fault of a store
                    raise
                except (StoreError, OSError, ValueError) as error:
                    self.errors.append(one_line(error))
                    self.unread.append(self.errors[-1])

    def _chosen(self, paths: Sequence[Path]) -> Sequence[Path]:
        for choice in self._choices:
            paths = self._newest.choose(choice, paths)
        return paths

    def _store(self, path: Path) -> DeadStore | StoreReader:
        version = version_of(path)
        known = self._dead.get(path)
        if known is not None and known.version == version:
            return known
        reader = self._open.pop(path, None)
        is_dead = writer_pid(path / layout.LOCK_FILE) is None and len(read_runs(path / layout.RUNS_FILE)) < 2
        if is_dead:
            if reader is not None:
                reader.close()
            dead = self._dead[path] = DeadStore(path, self._kept)
            return dead
        self._dead.pop(path, None)
        if reader is None or reader.is_outdated():
            if reader is not None:
                reader.close()
            reader = StoreReader(path)
        self._open[path] = reader
        reader.refresh()
        while len(self._open) > _MOST_OPEN:
            self._open.pop(next(iter(self._open))).close()
        return reader

    def close(self) -> None:
        """Close the stores that are open."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __repr__(self) -> str:
        """Say where it is."""
        return f"<StoresSource {self.path}>"


def _merged(found: list[Selected]) -> list[Selected]:
    """Make one of series with the same labels: what several stores that one label tells from others recorded."""
    groups: dict[object, list[Selected]] = {}
    for each in found:
        groups.setdefault((sorted_labels(each[0]), isinstance(each[2], SketchHistograms)), []).append(each)
    if len(groups) == len(found):
        return found
    return [several[0] if len(several) == 1 else _joined(several) for several in groups.values()]


def _joined(several: list[Selected]) -> Selected:
    """Put the samples of stores that share a label set in the order of time; of one instant the last store's stands."""
    stamps = np.concatenate([each[1] for each in several])
    order = np.argsort(stamps, kind="stable")
    order = order[np.append(np.diff(stamps[order]) > 0, True)]
    labels, stamps = several[0][0], stamps[order]
    if isinstance(several[0][2], SketchHistograms):
        return labels, stamps, joined([each[2] for each in several], order)
    values = np.concatenate([each[2] for each in several])[order]
    if not any(len(each) > _PLAIN for each in several):
        return labels, stamps, values
    weights = [each[_PLAIN] if len(each) > _PLAIN else np.ones(len(each[1])) for each in several]
    return labels, stamps, values, np.concatenate(weights)[order]
