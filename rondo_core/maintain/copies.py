"""Copy a store, live or finished, into a new one: whole rows, tiers in step, and closed at that moment.

The writer is not slowed and not asked. What a copy of the files has of a live store, rows and series of different
moments, a copy that is made here has not.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import attrs

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import UsageError
from rondo_core.export.fold import fold_slabs
from rondo_core.model import layout
from rondo_core.model.ring import occupant
from rondo_core.read.rows import SlabReader, picker
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.directory import create, open_slabs
from rondo_core.storage.events import carry_over
from rondo_core.storage.files import read_bytes
from rondo_core.storage.journal import Journal
from rondo_core.storage.runs import put_run
from rondo_core.storage.slab import Slab, recover_slab

COPIED = "copied while it ran"
_AT_ONCE_BYTES = 8 << 20
_MOST_LIFE_BYTES = 16 << 20  # of a file of a life, of which none is nearly as large


@attrs.define
class Copy:
    """What a copy holds; `live`: the store was being written."""

    store_id: str
    live: bool
    n_series: int = 0
    n_rows: int = 0


def copy_store(path: str | Path, to: str | Path, *, clock: Clock = wall_ns) -> Copy:
    """Make a copy of the store at `path`, which a process may be writing, at `to`.

    The copy is another store, with an id of its own: what exporters had been acknowledged of the first one, its
    cursors, stays with that one. It appears when it is whole, and is folded up to its end as a closed store is.
    Raises: StoreNotFoundError, CorruptStoreError: `path` cannot be read; StoreExistsError: something is at `to`;
    UsageError: `to` lies in the store; StoreError: no room, or no permission. Nothing is left behind then.
    """
    target = Path(to)
    with StoreReader(path) as reader:
        if Path(os.path.realpath(reader.path)) in Path(os.path.realpath(target)).parents:  # which follows loops nowhere
            raise UsageError(f"{target}: lies in the store that is copied; choose another place")
        done = Copy(uuid.uuid4().hex, reader.writer_pid() is not None)

        def fill(directory: Path) -> None:
            _Copying(reader, directory, done, clock()).run()

        create(
            target,
            reader.meta.schemas,
            reader.meta.created_ns,
            store_id=done.store_id,
            labels=reader.meta.labels,
            fill=fill,
        )
    return done


class _Copying:
    """One copy, from an open store into a directory whose files are there at full size and empty."""

    def __init__(self, reader: StoreReader, new: Path, done: Copy, now_ns: int) -> None:
        self.reader, self.new, self.done, self.now_ns = reader, new, done, now_ns

    def run(self) -> None:
        # The series first: what is declared from here on is not in the copy, whatever rows say of it.
        counts = self.reader.registry.counts.copy()
        self._copy_series()
        slabs = open_slabs(self.new, self.reader.meta, writable=True)
        for schema in self.reader.meta.schemas:
            n_series, own = counts[schema.name], slabs[schema.name]
            # Coarse rows first: what they merge is then older than the fine rows, of which they are folded anew as far
            # as those go back; where folding stood, `next_window`, is found anew by that, too.
            for tier in reversed(range(len(own)) if n_series else ()):
                self.done.n_rows += _copy_rows(self.reader.reader(schema.name, tier), own[tier], n_series)
            for slab in own:
                recover_slab(slab, n_series, copied=True)
            fold_slabs(schema, own, n_series, str(self.new), anew=True)
            for slab in own:
                slab.close()
        self._copy_life()  # before the marks: one that is taken meanwhile is in both, and told once
        self._copy_runs_and_events()

    def _copy_series(self) -> None:
        journal = Journal(self.new / layout.REGISTRY_FILE, writable=True)
        try:
            for record in self.reader.registry.records:
                journal.append(record)
                self.done.n_series += 1
            journal.note_synced()  # the store appears when it is
        finally:
            journal.close()

    def _copy_life(self) -> None:
        """Copy what `rondo run` keeps beside the store: facts, processes, tails of the output, the inbox."""
        for name in sorted(os.listdir(self.reader.folder.descriptor)):  # noqa: PTH208 - it is held open
            if name.startswith(layout.LIFE_PREFIX) and not name[-1].isdigit():  # one that is being written has a pid
                data = read_bytes(self.reader.folder / name, _MOST_LIFE_BYTES)
                descriptor = os.open(self.new / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)

    def _copy_runs_and_events(self) -> None:
        runs = self.reader.runs()
        for run in runs:
            if self.done.live and run is runs[-1] and not run.ended:
                run = run._replace(ended_ns=self.now_ns, ended=COPIED)  # noqa: PLW2901
            put_run(self.new / layout.RUNS_FILE, run)
        # What is copied are whole records, also where the writer is in the middle of one.
        carry_over(self.reader.folder / layout.EVENTS_FILE, self.new / layout.EVENTS_FILE)


def _copy_rows(reader: SlabReader, target: Slab, n_series: int) -> int:
    """Copy the rows of one tier, each as it was at one moment; say how many there were."""
    source, copied = reader.slab, 0
    index, picked = reader.index(), picker(range(n_series))
    cells = [cell.name for cell in source.spec.cells]
    taken = set()
    at_once = max(1, _AT_ONCE_BYTES // source.spec.row_bytes)
    for first in range(0, len(index.slots), at_once):
        keep = slice(first, first + at_once)
        blocks, good = reader.copy(index, keep, picked, cells)
        slots, buckets = index.slots[keep], index.buckets[keep]
        if good is not None:
            slots, buckets = slots[good], buckets[good]
        for name, values in blocks.items():
            block = target.block(name)
            block[slots, :n_series] = values
            if not source.spec.tier and block.dtype.kind == "f":
                block[slots, n_series:] = float("nan")
        target.headers()[slots] = buckets
        target.seal_all(slots)
        taken.update(slots.tolist())
        copied += len(slots)
    _mark(source, target, taken.__contains__)
    return copied


def _mark(source: Slab, target: Slab, is_taken: Callable[[int], bool]) -> None:
    """Keep who took a slot of which no row was copied: what lay there before is not to be looked for in this tier."""
    for slot in range(source.spec.slot_count):
        bucket = occupant(source.words[source.row_word(slot)])
        if bucket > 0 and not is_taken(slot):
            target.words[target.row_word(slot)] = ~bucket
