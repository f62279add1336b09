"""What stores lie in a directory: whose they are, how they ended, and what they take."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import attrs

from rondo_core.errors import RondoError, StoreError, one_line, printable
from rondo_core.export.cursor import cursor_held, cursor_names, load_cursor
from rondo_core.model import layout
from rondo_core.model.schema import SELF_SCHEMA
from rondo_core.storage.directory import Meta, read_meta
from rondo_core.storage.ended import Ended, is_ended_name, read_ended
from rondo_core.storage.files import UNFINISHED, Folder
from rondo_core.storage.lock import ask_writer
from rondo_core.storage.runs import Run, newest_run
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab


@attrs.frozen
class Listed:
    """One store of a directory, as it was at one moment.

    Attributes:
        path, name: of its directory; store_id; size_bytes: of all its files.
        run: its last run on record; None: no process has written it yet. pid: who writes it now; None: no one.
        ended_ns: when the last run ended, by its record or by the newest sample; 0: it goes on, or is not known.
        folded: what a store of the ended has taken in; None: it is none.
        hidden: that it was folded, and only its removal is left to be done.
        unknown: why nobody can say whether it is written; empty where that is known.
    """

    path: Path
    store_id: str
    size_bytes: int
    run: Run | None
    pid: int | None
    ended_ns: int
    folded: Ended | None = None
    hidden: bool = False
    unknown: str = ""

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def is_dead(self) -> bool:
        """Whether it was written, and is known not to be any more."""
        return self.pid is None and not self.unknown and self.run is not None and self.folded is None

    @property
    def ended(self) -> str:
        """How the last run ended, in words; empty while it goes on."""
        if self.folded is not None or self.pid is not None or self.run is None:
            return ""
        return self.run.ended or "gone"

    def waits_for(self, exporters: tuple[str, ...] | None) -> list[str]:
        """Name the exporters that have not sent it to its end; None: of those that have a cursor in it."""
        names = cursor_names(self.path) if exporters is None else exporters
        run = self.run.number if self.run else 0
        return [name for name in names if load_cursor(self.path, name).ended_run < run or cursor_held(self.path, name)]


def list_stores(directory: str | Path) -> tuple[list[Listed], list[str]]:
    """Look at every store that lies in the directory itself, by name; those below its directories are none of them.

    Returns: the stores, and what could not be looked at, a line each. Raises: StoreError: no such directory.
    """
    root, found, errors = Path(directory), list[Listed](), list[str]()
    try:
        names = sorted(os.listdir(root))  # noqa: PTH208 - quicker
    except OSError as error:
        raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; check the path") from None
    for name in names:
        path = root / name
        if name.endswith(UNFINISHED) or not os.path.isfile(path / layout.META_FILE):  # noqa: PTH113 - raises nothing
            continue
        try:
            found.append(look_at_store(path))
        except (RondoError, OSError) as error:
            if os.path.lexists(path):
                errors.append(printable(one_line(error)))
    members = {member for each in found if each.folded for member in each.folded.members}
    return [attrs.evolve(each, hidden=(each.store_id, each.name) in members) for each in found], errors


def look_at_store(path: Path) -> Listed:
    """Look at one store. Raises: RondoError, OSError: it cannot be."""
    with Folder(path, follow=False) as held:
        meta = read_meta(held)
        unknown, pid = "", None
        try:
            pid = ask_writer(held / layout.LOCK_FILE)
        except StoreError as error:
            unknown = one_line(error)
        run = newest_run(held / layout.RUNS_FILE)
        folded = read_ended(held) or Ended() if is_ended_name(path.name) else None
        ended_ns = run.ended_ns if run else 0
        if run and pid is None and not ended_ns:
            ended_ns = newest_ns(held, meta) or run.opened_ns
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(held.descriptor))
        return Listed(path, meta.store_id, size, run, pid, 0 if pid is not None else ended_ns, folded, False, unknown)


def newest_ns(held: Folder, meta: Meta) -> int:
    """Give the end of the newest bucket that a store's finest tiers hold, ns since the epoch; 0: none."""
    newest = 0
    for schema in meta.schemas:
        if schema.name == SELF_SCHEMA and len(meta.schemas) > 1:
            continue
        with contextlib.suppress(RondoError, OSError):
            slab = Slab(held / schema.slab_name(0), schema.slab_spec(0), writable=False)
            buckets = [bucket for bucket in slab.buckets() if 0 < bucket < MAX_INSTANT_NS // slab.spec.interval_ns]
            newest = max([newest, *((bucket + 1) * slab.spec.interval_ns for bucket in buckets)])
            slab.close()
    return newest
