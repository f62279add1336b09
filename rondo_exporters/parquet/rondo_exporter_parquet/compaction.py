"""Compaction and expiry of a lake: small files joined, samples that are there twice made one, old days removed.

A file is removed only after another that holds all of its rows is written, which names it. So whatever is killed, and
whoever else compacts or writes at the same time, nothing is lost; what is there twice for a moment, because of a kill
or a late answer of an object store, the next compaction joins.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rondo_core.errors import ExportError, one_line
from rondo_core.storage import UNFINISHED
from rondo_exporter_parquet import listing
from rondo_exporter_parquet.files import VERSION, file_name, joined_of, metadata_of, version_of, write_rows
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import KEYS as LIFE_KEYS
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.lives import check_version, life_name
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import distinct, schema_of, widened

COMPACTED = "compacted"
ROWS_PER_FILE = 1_000_000
_UNFINISHED_S = 3600
_FILES_AT_ONCE = 4096  # whose names one footer holds
_DAY = re.compile(r"day=\d{4}-\d\d-\d\d")


@attrs.define
class Compaction:
    """What a compaction did.

    Attributes: `days`, that changed; `before`, `after`: files of all days that were looked at; `rows`: written; `same`:
        samples that were there more than once; `lives`: files of the table of lives that were joined; `busy`: names of
        exporters that write their files now, which stay as they are; `faults`: what else stays as it is, a line each.
    """

    days: int = 0
    before: int = 0
    after: int = 0
    rows: int = 0
    same: int = 0
    lives: int = 0
    busy: list[str] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)


@attrs.frozen
class Footer:
    """What a file's footer says. Attributes: `n_rows`; `joined`, names whose rows it took; `version`; `unit`."""

    name: str
    n_rows: int
    joined: frozenset[str]
    version: int
    unit: str


def compact(
    place: Place, days: Iterable[str] | None = None, *, rows_per_file: int = ROWS_PER_FILE, whole: bool = False
) -> Compaction:
    """Join the small files of each day, and those of lives.

    A file that is damaged, newer or a stranger's is named, and holds up no other; one that is gone meanwhile, as
    another compaction of an object store joined it or its day expired, is left to whoever took it.

    Args: `days`: as "2026-11-25"; None: all. `whole`: large files too, so that samples that are there twice become one.
    Raises: ExportError: another process compacts it; OSError.
    """
    done = Compaction()
    with _locked(place, "compact"):
        there, done.faults = listing.by_day(place.names())
        for day in sorted(there if days is None else set(days)):
            _compact_day(place, day, rows_per_file, done, whole=whole)
        lives = listing.again(lambda: listing.lives(place, place.names(LIVES, recursive=False)), place)
        done.faults += lives.faults
        names = list(lives.fragments)
        for month in sorted({_month(name) for name in names}):
            mine = [name for name in names if _month(name) == month]
            if len(mine) > 1:
                done.lives += join_lives(place, mine)[0]
    done.busy = sorted(set(done.busy))
    return done


def _month(name: str) -> str:
    return PurePosixPath(name).name[:7]


def _compact_day(place: Place, day: str, rows_per_file: int, done: Compaction, *, whole: bool) -> None:
    names = listing.day_of(place, day)
    done.before += len(names)
    with contextlib.ExitStack() as held:
        names = _free(place, names, held, done)
        footers = list(readable(place, names, done.faults))
        footers = _without_superseded(place, footers)
        small = [each for each in footers if whole or 2 * each.n_rows <= rows_per_file or each.version < VERSION]
        twice, once = ([], small) if whole else _overlapping(footers, small)
        changed = 0
        for several in [small] if whole and small else (*twice, *_groups(once, rows_per_file)):
            if len(several) > 1 or several[0].version < VERSION:
                changed += _join(place, day, several, done)
    done.days += bool(changed)
    done.after += len(listing.day_of(place, day))


def _free(place: Place, names: Sequence[str], held: contextlib.ExitStack, done: Compaction) -> list[str]:
    """Give the files that no exporter writes now, and keep exporters from the others' folders meanwhile."""
    if place.directory is None:
        return list(names)
    folders = {PurePosixPath(name).parts[1] for name in names}
    free = {COMPACTED}
    for folder in sorted(folders - free):
        lock = f".instance={folder.removeprefix('from-')}.lock"
        try:
            held.enter_context(_lock_file(str(place.directory / lock)))
        except BlockingIOError:
            done.busy.append(unquote(folder.removeprefix("from-")))
            continue
        free.add(folder)
    return [name for name in names if PurePosixPath(name).parts[1] in free]


@contextlib.contextmanager
def _locked(place: Place, name: str) -> Iterator[None]:
    """Keep other compactions of a lake on this machine out; in an object store several harm nothing."""
    if place.directory is None:
        yield
        return
    try:
        with _lock_file(str(place.directory / f".{name}.lock")):
            _remove_unfinished(place.directory)
            yield
    except BlockingIOError:
        raise ExportError(f"{place.location}: another process compacts it; try again when it has ended") from None


def _remove_unfinished(directory: Path) -> None:
    """Remove what compactions that were killed have left; of lives, which exporters write too, what is an hour old."""
    for path in directory.glob(f"day=*/{COMPACTED}/.*{UNFINISHED}"):
        path.unlink()
    for path in directory.glob(f"{LIVES}/.*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _UNFINISHED_S:
                path.unlink()


@contextlib.contextmanager
def _lock_file(path: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def footer_of(place: Place, name: str) -> Footer:
    """Read a file's footer. Raises: ExportError: it is none of this exporter's, or damaged."""
    with place.parquet(name) as file:
        told, schema = file.metadata.metadata or {}, file.schema_arrow
        version = version_of(told, name)
        unit = schema.field("time").type.unit
        return Footer(name, file.metadata.num_rows, joined_of(told), version, unit)


def readable(place: Place, names: Iterable[str], faults: list[str]) -> Iterator[Footer]:
    """Read the footers of files, but of those that are gone; `faults` takes a line of each that is none of these."""
    for name in names:
        try:
            yield footer_of(place, name)
        except (ExportError, KeyError) as error:
            faults.append(one_line(error))
        except FileNotFoundError:
            continue


def _overlapping(footers: list[Footer], small: list[Footer]) -> tuple[list[list[Footer]], list[Footer]]:
    """Find files that took the rows of the same one: two compactions of an object store met, and rows are there twice.

    Returns: those that have rows in common, together, and the small files that have not.
    """
    groups: list[tuple[set[str], list[Footer]]] = []
    for each in footers:
        mine, several = set(each.joined), [each]
        for group in [group for group in groups if group[0] & mine]:
            groups.remove(group)
            mine, several = mine | group[0], group[1] + several
        groups.append((mine, several))
    twice = [several for _, several in groups if len(several) > 1]
    known = {each.name for several in twice for each in several}
    return twice, [each for each in small if each.name not in known]


def _without_superseded(place: Place, footers: list[Footer]) -> list[Footer]:
    """Remove the files whose rows another one took, and that a kill or a late request left there."""
    taken = {name for each in footers for name in each.joined}
    left = []
    for each in footers:
        if PurePosixPath(each.name).name in taken:
            place.remove(each.name)
        else:
            left.append(each)
    return left


def _groups(small: list[Footer], rows_per_file: int) -> Iterator[list[Footer]]:
    """Divide files into those that become one, smallest first, of at most so many rows.

    A file waits until as much has come as it has, so that a row is written again only where its file doubles.
    """
    group: list[Footer] = []
    n_rows = 0
    for each in sorted(small, key=lambda each: (each.n_rows, each.name)):
        waits = n_rows + each.n_rows > rows_per_file or each.n_rows.bit_length() > n_rows.bit_length()
        if group and (waits or len(group) >= _FILES_AT_ONCE):
            yield group
            group, n_rows = [], 0
        group.append(each)
        n_rows += each.n_rows
    if group:
        yield group


def _join(place: Place, day: str, several: Sequence[Footer], done: Compaction) -> bool:
    """Write the rows of several files as one, and remove them; False: one is gone, and all stays as it is."""
    unit = several[0].unit
    tables = []
    for each in sorted(several, key=lambda each: each.name.split("/")[1] != COMPACTED):
        try:
            with place.parquet(each.name) as file:
                read = file.read().replace_schema_metadata()
        except FileNotFoundError:
            return False
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and place.directory is None:
                raise
            done.faults.append(f"{each.name}: its rows cannot be read ({one_line(error)[:120]}); move it away")
            return False
        tables.append(read if read.schema.equals(schema_of(unit)) else widened(read, each.unit))
    whole = pa.concat_tables(tables)
    table = distinct(whole)
    name = f"day={day}/{COMPACTED}/{file_name(table)}"
    mine = [PurePosixPath(each.name).name for each in several if each.name != name]
    told = metadata_of(table, mine)
    place.put(name, lambda file: write_rows(table, file, "zstd", told))
    for each in several:
        if each.name != name:
            place.remove(each.name)
    done.rows += table.num_rows
    done.same += whole.num_rows - table.num_rows
    return True


def join_lives(place: Place, names: Sequence[str]) -> tuple[int, str]:
    """Write the rows of several files of lives as one, and remove them; of a run that is there twice the first stays.

    What is damaged, newer or a stranger's stays as it is.

    Returns: how many files became one, 0 where there are not two any more, and the name of that which has their rows.
    """
    tables, taken = [], list[str]()
    for name in sorted(names):
        try:
            with place.parquet(name) as file:
                check_version(file.metadata.metadata or {}, file.schema_arrow, name)
                tables.append(file.read().select(LIVES_SCHEMA.names).cast(LIVES_SCHEMA))
        except (FileNotFoundError, ExportError, pa.ArrowInvalid):
            continue
        taken.append(name)
    if len(tables) < 2:
        return 0, max(names)
    table = pa.concat_tables(tables)
    table = table.append_column("row", pa.array(np.arange(table.num_rows)))
    kept = table.group_by(LIFE_KEYS).aggregate([("row", "min")])["row_min"].combine_chunks()
    table = table.take(kept.sort()).drop_columns(["row"]).sort_by([("newest", "ascending"), ("instance", "ascending")])
    target = life_name(table)
    place.put(target, lambda file: pq.write_table(table, file, compression="zstd", row_group_size=1 << 17))
    for name in taken:
        if name != target:
            place.remove(name)
    return len(tables), target


def expire(place: Place, before_day: str, lives_before: str | None = None) -> tuple[int, int]:
    """Remove the days before one, "2026-11-25", and files of lives of which all ended before another.

    Returns: how many days, and how many files of lives.
    """
    old = [name for name in place.folders() if _DAY.fullmatch(name) and name.removeprefix("day=") < before_day]
    for name in old:
        place.remove_folder(name)
    gone = 0
    there = listing.lives(place, place.names(LIVES, recursive=False) if lives_before else ())
    for name, fragment in there.fragments.items():
        newest = fragment.to_table(columns=["newest"])["newest"].cast(pa.int64()).to_numpy().max() // 86_400_000_000
        if str(np.datetime64(int(newest), "D")) < str(lives_before):
            place.remove(name)
            gone += 1
    return len(old), gone


def cutoff_day(keep_for_ns: int, now_ns: int | None = None) -> str:
    """Give the first day that is kept."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    return str(np.datetime64((now_ns - keep_for_ns) // (86_400 * 10**9), "D"))
