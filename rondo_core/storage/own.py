"""Stores that are one process's own: how they are named, and how a child's is made with its parent's series."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path

from rondo_core.clock import wall_ns
from rondo_core.errors import StoreExistsError, UsageError
from rondo_core.forking import at_fork
from rondo_core.model import layout
from rondo_core.model.labels import Labels, Series
from rondo_core.model.schema import Schema
from rondo_core.storage.directory import create, sync_made
from rondo_core.storage.files import sync_directory
from rondo_core.storage.journal import Journal
from rondo_core.storage.registry import encode_series
from rondo_core.storage.runs import process_token, this_run
from rondo_core.units import format_instant

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@cache
def _since() -> str:
    """Give when this process first had a store of its own, to the minute, UTC."""
    return format_instant(wall_ns())[: len("2026-11-29T09:12")].replace(":", ".")


at_fork(after_in_child=_since.cache_clear)


def own_paths(directory: Path, name: str = "") -> Iterator[Path]:
    """Give paths below a directory for stores of this process: the first for its first one.

    Names are pid, start and a text that no other process has, of any host or container; with a name
    "web-4711-2026-11-29T09.12-0c5e1fa3b2d4.rondo".
    Raises: UsageError: the name cannot begin a directory's.
    """
    if not name:
        return _numbered(directory, "", this_run(0, 0, "").process_start, ".rondo")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == layout.ENDED_STEM:
        what = f'letters, digits, _ and - only, 64 at most, and not "{layout.ENDED_STEM}"'
        raise UsageError(f"name {name!r}: {what}")
    return _numbered(directory, f"{name}-", _since(), ".rondo")


def sibling_paths(path: Path) -> Iterator[Path]:
    """Give paths beside that of a store that another process writes, likewise."""
    return _numbered(path.parent, f"{path.stem}-", this_run(0, 0, "").process_start, path.suffix)


def _numbered(directory: Path, before: str, since: str | int, suffix: str) -> Iterator[Path]:
    name = f"{before}{os.getpid()}-{since}-{process_token()}"
    yield directory / f"{name}{suffix}"
    for number in count(2):
        yield directory / f"{name}-{number}{suffix}"


def create_own(
    paths: Iterable[Path], schemas: Sequence[Schema], series: Iterable[Series], created_ns: int, labels: Labels
) -> Path:
    """Make a store that has these series, in these columns and without a value, at the first path that is free.

    It is not on the disk yet, so that whoever is about to record does not wait: see `sync_own`.
    Raises: as `create`.
    """
    records = [encode_series(each._replace(created_ns=created_ns)) for each in series]

    def register(directory: Path) -> None:
        journal = Journal(directory / layout.REGISTRY_FILE, writable=True)
        try:
            for record in records:
                journal.append(record)
        finally:
            journal.close()

    for path in paths:
        try:
            create(path, schemas, created_ns, labels=labels, fill=register, synced=False)
        except StoreExistsError:
            continue
        return path
    raise StoreExistsError("every path is taken; name another directory")


def sync_own(path: Path) -> None:
    """Write a store that was just made to the disk, and wait for it. Raises: OSError."""
    sync_made(path)
    sync_directory(path.parent)
