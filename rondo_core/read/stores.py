"""Many stores below one directory, read together: one per process, those included whose process is gone.

Every series gets the label `rondo_store`, the path of its store below the directory, which tells equal series of
different processes apart, and the labels that the store was made with; what it itself says under such a name is kept as
`exported_rondo_store`.
"""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import OpenFilesError, RondoError, StoreError, StoreNotFoundError, one_line, printable
from rondo_core.model import layout
from rondo_core.model.labels import Series, overridden
from rondo_core.model.ranges import AUTO, Range, parse_range
from rondo_core.model.selector import Selector, parse_selector
from rondo_core.read.aggregate import Aggregate, over_series
from rondo_core.read.budget import Budget
from rondo_core.read.folded import ended_stores, marks_of, still_counted
from rondo_core.read.newest_stores import ALL_STORES, NewestStores, StoreChoice
from rondo_core.read.query import QueryResult
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.events import Event
from rondo_core.storage.files import NO_MORE_FILES, UNFINISHED, Closeable
from rondo_core.storage.lock import writer_pid

if TYPE_CHECKING:
    from rondo_core.read.source import StoreSource
    from rondo_core.read.source_stores import StoresSource

T = TypeVar("T")
LABEL = layout.STORE_LABEL
MAX_DEPTH = 4
SUFFIX = layout.SUFFIX
# Of the files that a process may open, the share that stays with stores between two looks at them, and the most of it:
# each is a map too, of which a process may have 65,530.
_SHARE, _MOST_OPEN = 4, 4096
_TRIES = 8
_NONE = QueryResult((), ())


@attrs.frozen
class DirectoryScan:
    """What lies below a directory, at most four levels down.

    Attributes:
        stores: their paths, in order.
        unfinished: directories that are being made or removed, or were when someone was killed.
        errors: what cannot be looked at, and why, a line each; passed: what is not looked at, likewise.
    """

    stores: list[Path] = attrs.field(factory=list)
    unfinished: list[Path] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    passed: list[str] = attrs.field(factory=list)


def scan_directory(directory: Path, leave_out: os.stat_result | None = None) -> DirectoryScan:
    """Look for stores below the directory; links are not followed, and no entry ends the search.

    Args: `leave_out`: a directory, as os.stat gives it, that is passed over with all that is below it.
    Raises: OpenFilesError: this process may open no more files.
    """
    scan, level = DirectoryScan(), [directory]
    for _ in range(MAX_DEPTH):
        level = [path for each in level for path in _scan_entries(each, scan, leave_out)]
    for each in level:
        deeper = DirectoryScan()
        if _scan_entries(each, deeper, None) or deeper.stores:
            what = f"it lies {MAX_DEPTH} levels down, and what is in it is not looked at"
            scan.passed.append(printable(f"{each}: {what}"))
    return scan


def find_stores(directory: Path) -> Iterator[Path]:
    """Give every store below the directory, as `scan_directory` does."""
    yield from scan_directory(directory).stores


def _scan_entries(directory: Path, scan: DirectoryScan, leave_out: os.stat_result | None) -> list[Path]:
    """Sort the entries of one directory; give those that may have stores below them."""
    inner = []
    for entry in _entries(directory, scan):
        path = directory / entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                if _may_hold_stores(entry, path, scan, leave_out):
                    inner.append(path)
            elif what := _passed_over(entry, path):
                scan.passed.append(printable(f"{path}: {what}"))
        except FileNotFoundError:
            continue
        except OSError as error:
            scan.errors.append(_forbidden(path, error))
        except StoreError as error:
            scan.errors.append(one_line(error))
    return inner


def _entries(directory: Path, scan: DirectoryScan) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(directory), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):  # it went meanwhile
        return []
    except OSError as error:
        if error.errno in NO_MORE_FILES:
            raise OpenFilesError(str(directory)) from None
        scan.errors.append(_forbidden(directory, error))
        return []


def _may_hold_stores(
    entry: os.DirEntry[str], path: Path, scan: DirectoryScan, leave_out: os.stat_result | None
) -> bool:
    """Note what a directory is; say whether it is none of all that, and is looked into."""
    if entry.name.endswith(UNFINISHED):
        scan.unfinished.append(path)
    elif leave_out is not None and entry.inode() == leave_out.st_ino and os.path.samestat(os.lstat(path), leave_out):
        return False
    elif not _is_utf8(entry.name):
        scan.errors.append(printable(f"{path}: its name is not UTF-8; rename it"))
    elif is_store(path):
        scan.stores.append(path)
    else:
        return True
    return False


def _passed_over(entry: os.DirEntry[str], path: Path) -> str:
    """Say what it is about an entry, no directory, that may have been meant as a store; empty where nothing is."""
    if not entry.is_symlink():
        return "not a directory, so no store" if entry.name.endswith(SUFFIX) else ""
    try:
        leads_to = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    return "a link; links are not followed" if stat.S_ISDIR(leads_to) or entry.name.endswith(SUFFIX) else ""


def is_store(path: Path) -> bool:
    """Say whether a directory is a store.

    Raises: StoreError: something else lies where its metadata should; OSError: it may not be looked into.
    """
    file = path / layout.META_FILE
    try:
        mode = os.lstat(file).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):  # a directory of that name, which may have stores in it
        return False
    if not stat.S_ISREG(mode):
        raise StoreError(f"{file}: not a regular file; put the store's own in its place")
    return True


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _forbidden(path: Path, error: OSError) -> str:
    return printable(f"{path}: {os.strerror(error.errno or 0)}; check its owner and mode")


class StoresReader(Closeable):
    """Every store below a directory, opened for reading, as many at a time as the process may well have open.

    What cannot be read is left out and stands in `errors`, as does what was passed over. Threads may share it.
    """

    def __init__(self, directory: str | Path, choice: StoreChoice = ALL_STORES) -> None:
        """Open each of them once. Args: `choice`: only these.

        Raises: StoreNotFoundError: there is none below the directory, or no such directory; OpenFilesError: not even
            one of them at a time can be opened, since other files are.
        """
        self.path, self._choice = Path(directory), choice
        self._odd, self._failed = list[str](), dict[str, str]()
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._room = _MOST_OPEN if limit == resource.RLIM_INFINITY else max(1, min(limit // _SHARE, _MOST_OPEN))
        self.paths: dict[str, Path] = {}
        try:
            for _ in range(_TRIES):  # a fold that ends meanwhile moves samples from one store into another
                self._open_all()
                if self._marks == marks_of(self._ended):
                    break
        except BaseException:
            self.close()
            raise
        if not self.paths:
            hint = f"; {self.errors[0]}" if self.errors else "; check the path"
            raise StoreNotFoundError(f"{self.path}: no store here or below{hint}")

    def _open_all(self) -> None:
        """Open each store that is there, but for those that a store of the ended has taken in."""
        self.close()
        scan = scan_directory(self.path)
        self._odd, self._failed = scan.errors + scan.passed, {}
        self._ended = ended_stores(scan.stores)
        self._marks = marks_of(self._ended)
        counts = NewestStores().choose(self._choice, still_counted(scan.stores, self._odd))
        self.paths = {str(path.relative_to(self.path)): path for path in counts}
        readable = {name for name, _ in self.opened()}
        self.paths = {name: path for name, path in self.paths.items() if name in readable}

    @property
    def errors(self) -> list[str]:
        """Say what was left out, and why, a line each."""
        return [*self._odd, *self._failed.values()]

    @property
    def readers(self) -> Mapping[str, StoreReader]:
        """The stores by name; one that is looked up stays open until all of them are closed."""
        return _OpenStores(self)

    def opened(self) -> Iterator[tuple[str, StoreReader]]:
        """Give each store by its name, open until the next is asked for; one that cannot be read is left out.

        Raises: OpenFilesError: this process may open no more files.
        """
        for name in list(self.paths):
            try:
                opened = self.take(name)
            except OpenFilesError:
                raise
            except (RondoError, OSError, ValueError) as error:
                self._failed[name] = one_line(error)
                continue
            self._failed.pop(name, None)
            try:
                yield name, opened.reader
            finally:
                self._give_back(opened)

    def take(self, name: str) -> _Opened:
        """Open a store, if it is not, and keep it so. Raises: KeyError: there is none; as StoreReader."""
        with self._lock:
            opened = self._open.get(name)
            if opened is None:
                opened = self._open[name] = _Opened(self._opened(self.paths[name]))
                self._make_room(self._room)
            self._open.move_to_end(name)
            opened.users += 1
            return opened

    def _opened(self, path: Path) -> StoreReader:
        try:
            return StoreReader(path)
        except OpenFilesError:
            if not self._make_room(0):
                raise
            return StoreReader(path)

    def _give_back(self, opened: _Opened) -> None:
        with self._lock:
            opened.users -= 1
            self._make_room(self._room)

    def _make_room(self, room: int) -> bool:
        """Release the longest unused beyond so many files, but for the newest and those in use; say if any were."""
        held = sum(each.files for each in self._open.values())
        newest = next(reversed(self._open), None) if room else None
        gone = []
        for name, each in self._open.items():
            if held <= room:
                break
            if not each.users and name != newest:
                gone.append(name)
                held -= each.files
        for name in gone:
            self._open.pop(name).reader.close()
        return bool(gone)

    def series(self, selector: str | Selector = "") -> list[Series]:
        """Give the series of every store that the selector, which may name `rondo_store`, matches."""
        parsed = parse_selector(selector) if isinstance(selector, str) else selector
        found = self.of_each(lambda name, reader: _matching(name, reader, parsed))
        return [named for pairs in found for named, _ in pairs]

    def writer_pid(self) -> int | None:
        """Give the pid of a process that writes one of the stores; None where none does."""
        pids = (writer_pid(path / layout.LOCK_FILE) for path in self.paths.values())
        return next((pid for pid in pids if pid is not None), None)

    def newest_ns(self) -> int:
        """Give the start of the newest bucket of any of them, ns since the epoch; 0 where there is none."""
        return max(self.of_each(lambda _, reader: reader.newest_ns()), default=0)

    def end_ns(self) -> int:
        """Give the end of the newest bucket of any of them, ns since the epoch; 0 where there is none."""
        return max(self.of_each(lambda _, reader: reader.end_ns()), default=0)

    def events(self, range: str | Range = "all", *, now_ns: int | None = None) -> list[Event]:
        """Give the marks and notes of every store in a range, oldest first, each with its `store`.

        Raises: as `View.events`.
        """
        asked = parse_range(range) if isinstance(range, str) else range
        if asked.is_relative and now_ns is None:
            now_ns = self.end_ns() - 1

        def read(name: str, reader: StoreReader) -> list[Event]:
            return [event._replace(store=name) for event in reader.events(asked, now_ns=now_ns)]

        return sorted((each for found in self.of_each(read) for each in found), key=lambda event: event.time_ns)

    def query(
        self,
        selector: str | Selector,
        range: str | Range = "all",
        *,
        tier: int | str = AUTO,
        fn: str | None = None,
        now_ns: int | None = None,
        xff: float = 0.0,
        agg: bool = False,
        open: bool = False,
        budget: Budget | None = None,
    ) -> QueryResult:
        """Read the points of every series that the selector matches; see `View.query`.

        A relative range has one end for all: `now_ns`, or where that is not given the newest bucket of any of them.
        With `agg`, series that differ in their store alone are merged into one, where a merge of them is that of all
        samples (avg, min, max, sum, count, p99, increase; not last or rate) and the selector names no `rondo_store`.
        Raises: as `View.query`; OpenFilesError: this process may open no more files.
        """
        asked = parse_range(range) if isinstance(range, str) else range
        if asked.is_relative:
            asked = asked.anchored(self.end_ns() - 1 if now_ns is None else now_ns)
        parsed = parse_selector(selector) if isinstance(selector, str) else selector

        def read(name: str, reader: StoreReader) -> QueryResult:
            found = _matching(name, reader, parsed, budget)
            own: Sequence[Series] = [series for _, series in found]
            data = reader.query(own, asked, tier=tier, fn=fn, xff=xff, open=open, budget=budget) if own else _NONE
            return data.named([named for named, _ in found])

        def merge(name: str, reader: StoreReader) -> list[tuple[Series, tuple[Aggregate, int]]]:
            found = _matching(name, reader, parsed, budget)
            own: Sequence[Series] = [series for _, series in found]
            merged = reader.prepare(own, tier=tier, fn=fn).aggregates(asked, budget=budget) if own else ()
            return [(named, each) for each, (named, _) in zip(merged, found, strict=True)]

        if agg:
            apart = any(matcher.key == LABEL for matcher in parsed.matchers)
            results = _over_stores([each for many in self.of_each(merge) for each in many], apart=apart, xff=xff)
        else:
            results = QueryResult.joined(self.of_each(read))
        if not results:
            from rondo_core.read.unmatched import no_such_series

            raise no_such_series(parsed, self.series())
        return results

    def source(self, *, clock: Callable[[], int] = wall_ns, budget: Budget | None = None) -> StoresSource:
        """Give the directory as a source of PromQL, which looks for its stores by itself, and is to be closed."""
        from rondo_core.read.source_stores import StoresSource

        return StoresSource(self.path, scan_directory, LABEL, clock=clock, budget=budget)

    def of_each(self, read: Callable[[str, StoreReader], T]) -> list[T]:
        """Give what is read of each store; one that turns out to be damaged meanwhile is left out."""
        found = []
        for name, reader in self.opened():
            try:
                found.append(read(name, reader))
            except OpenFilesError:
                raise
            except StoreError as error:
                self._failed[name] = one_line(error)
        return found

    def close(self) -> None:
        """Release all of them."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].reader.close()

    def __repr__(self) -> str:
        """Say where it is and how many stores there are."""
        return f"<StoresReader {self.path}: {len(self.paths)} stores>"


def store_labels(name: str, reader: StoreReader) -> dict[str, str]:
    """Give the labels that tell a store's series apart from those of the others: its name, or what it says itself."""
    return {LABEL: name, **dict(reader.meta.labels)}


def _matching(
    name: str, reader: StoreReader, selector: Selector, budget: Budget | None = None
) -> list[tuple[Series, Series]]:
    """Give the series that a selector matches, as they are called among several stores and as they are called there."""
    found, telling = [], store_labels(name, reader)
    for series in reader.registry:
        if budget is not None:
            budget.check()
        named = series._replace(labels=overridden(series.labels, telling))
        if selector.matches(named):
            found.append((named, series))
    return found


def _over_stores(found: Sequence[tuple[Series, tuple[Aggregate, int]]], *, apart: bool, xff: float) -> QueryResult:
    """Read aggregates, those of series that differ in their store alone merged, unless they are to stay `apart`."""
    groups: dict[tuple[object, ...], tuple[Series, list[tuple[Aggregate, int]]]] = {}
    for named, (each, column) in found:
        series = named
        if each.is_of_all and not apart:
            series = named._replace(labels=tuple(pair for pair in named.labels if pair[0] != LABEL))
        groups.setdefault((series.name, series.labels, series.kind), (series, []))[1].append((each, column))
    results = []
    for series, columns in groups.values():
        alone, column = columns[0]
        if len(columns) > 1 and any(len(each.stamps) for each, _ in columns):
            table, column = over_series(series, columns), 0
        else:
            table = alone.table()
        results.append(QueryResult([table], [(0, column)]).named([series]).covered(xff))
    return QueryResult.joined(results)


class _OpenStores(Mapping[str, StoreReader]):
    """The stores of a `StoresReader` by name."""

    def __init__(self, stores: StoresReader) -> None:
        self._stores = stores

    def __getitem__(self, name: str) -> StoreReader:
        return self._stores.take(name).reader

    def __iter__(self) -> Iterator[str]:
        return iter(self._stores.paths)

    def __len__(self) -> int:
        return len(self._stores.paths)


@attrs.define(eq=False)
class _Opened:
    """A store that is open, and how many are reading it."""

    reader: StoreReader
    users: int = 0

    @property
    def files(self) -> int:
        """Count what it takes of the process's open files: each slab's map has one, and its directory."""
        return 1 + sum(map(len, self.reader.slabs.values()))


def open_source(
    path: str | Path, *, clock: Clock = wall_ns, budget: Budget | None = None, choice: StoreChoice = ALL_STORES
) -> StoreSource | StoresSource:
    """Open the store at `path`, or a directory of stores, as a source of PromQL, to be closed.

    Args: `choice`: only these stores of a directory; others: as `StoreSource`.
    Raises: as `open_reader`, but for stores below a directory, which are looked at when they are asked.
    """
    if not holds_stores(Path(path)):
        return StoreReader(path).source(clock=clock, budget=budget)
    from rondo_core.read.source_stores import StoresSource

    return StoresSource(path, scan_directory, LABEL, clock=clock, budget=budget, choice=choice)


def open_reader(path: str | Path, choice: StoreChoice = ALL_STORES) -> StoreReader | StoresReader:
    """Open the store at `path`, or, where it is a directory of stores, those of the choice.

    Raises: as StoreReader and StoresReader.
    """
    return StoresReader(path, choice) if holds_stores(Path(path)) else StoreReader(path)


def holds_stores(root: Path) -> bool:
    """Say whether a path is a directory of stores. Raises: StoreError: it may not be looked into."""
    try:
        many = os.path.isdir(root) and not is_store(root)  # noqa: PTH112 - it raises nothing
        scan = scan_directory(root) if many else DirectoryScan()
    except OSError as error:
        raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; check its owner and mode") from None
    return bool(scan.stores or scan.errors)
