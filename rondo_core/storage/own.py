"""Stores that are one process's own: how they are named, and how a child's is made with its parent's series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from rondo_core.errors import StoreExistsError
from rondo_core.model import layout
from rondo_core.model.labels import Series
from rondo_core.model.schema import Schema
from rondo_core.storage.directory import create, sync_made
from rondo_core.storage.files import sync_directory
from rondo_core.storage.journal import Journal
from rondo_core.storage.registry import encode_series
from rondo_core.storage.runs import process_token, this_run


def own_paths(directory: Path) -> Iterator[Path]:
    """Give paths below a directory for stores of this process: the first for its first one.

    Names are pid, start and a text that no other process has, of any host or container.
    """
    yield from _numbered(directory, "", ".rondo")


def paths_beside(path: Path) -> Iterator[Path]:
    """Give paths beside that of a store that another process writes, likewise."""
    yield from _numbered(path.parent, f"{path.stem}-", path.suffix)


def _numbered(directory: Path, before: str, suffix: str) -> Iterator[Path]:
    me = this_run(0, 0, "")
    name = f"{before}{me.pid}-{me.process_start}-{process_token()}"
    yield directory / f"{name}{suffix}"
    for number in count(2):
        yield directory / f"{name}-{number}{suffix}"


def create_own(paths: Iterable[Path], schemas: Sequence[Schema], series: Iterable[Series], created_ns: int) -> Path:
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
            create(path, schemas, created_ns, fill=register, synced=False)
        except StoreExistsError:
            continue
        return path
    raise StoreExistsError("every path is taken; name another directory")


def sync_own(path: Path) -> None:
    """Write a store that was just made to the disk, and wait for it. Raises: OSError."""
    sync_made(path)
    sync_directory(path.parent)
