"""What has become of a store's files since its last run, and what is done to them before they are used again.

One look serves all: the next writer, who folds in its place, and readers, who leave the files as they are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from rondo_core.clock import NS_PER_S, boot_ns
from rondo_core.model import layout
from rondo_core.storage import runs
from rondo_core.storage.directory import Meta, open_slabs, read_meta
from rondo_core.storage.files import Folder
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import Run
from rondo_core.storage.slab import Slab, recover_slab


class Survival(Enum):
    """What has become of a store's files since its last writer."""

    SAME_BOOT = "same boot"  # the kernel that took the last record still runs: all of it is there
    RESTARTED = "restarted"  # the machine was restarted: what was not written back may be gone
    COPIED = "copied"  # another machine: a copy of what was there, or of what a restart had left


class Recovery(NamedTuple):
    """How a store's last run ended, as far as its files go.

    Attributes: `last`, the newest run on record, None where there is none; `became`, what its files have gone through.
    """

    last: Run | None
    became: Survival

    @property
    def killed(self) -> bool:
        """Whether the last run has begun, and no one could say how it ended; while it is under way, too."""
        return self.last is not None and not self.last.ended

    @property
    def moved(self) -> bool:
        """Whether the files are a copy, and may be of different moments."""
        return self.became is Survival.COPIED

    @property
    def copied(self) -> bool | None:
        """What `Slab.torn` and `recover_slab` are told; None: the machine has not stopped, and no row is suspect."""
        return None if self.became is Survival.SAME_BOOT else self.moved

    def open(
        self, folder: Folder, meta: Meta, *, writable: bool, blank: bool = False
    ) -> tuple[Registry, dict[str, list[Slab]]]:
        """Open the registry, of which a restart may have taken what was not synced, and every slab, by schema.

        Args: `blank`: see `Slab`.

        Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError; nothing stays open then.
        """
        restarted = self.became is Survival.RESTARTED
        registry = Registry(folder / layout.REGISTRY_FILE, meta.schemas, writable=writable, restarted=restarted)
        try:
            return registry, open_slabs(folder, meta, writable=writable, blank=blank)
        except BaseException:
            registry.close()
            raise

    def recover_rows(self, slabs: Iterable[Slab], n_series: int) -> int:
        """Do to a schema's rows what has to be done before they are written again; count those that are dropped."""
        if self.copied is None and not self.killed:
            return 0
        return sum(recover_slab(slab, n_series, copied=self.copied) for slab in slabs)


class StoreParts(NamedTuple):
    """A store's parts while they are open: what it is, how its last run ended, its series, its slabs by schema."""

    meta: Meta
    recovery: Recovery
    registry: Registry
    slabs: dict[str, list[Slab]]


@contextlib.contextmanager
def opened(folder: Folder, *, writable: bool) -> Iterator[StoreParts]:
    """Open a store's parts for as long as the block runs; who writes them holds its lock.

    Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
    """
    meta, recovery = read_meta(folder), recovery_of(folder)
    registry, slabs = recovery.open(folder, meta, writable=writable)
    try:
        yield StoreParts(meta, recovery, registry, slabs)
    finally:
        registry.close()
        for slab in (each for tiers in slabs.values() for each in tiers):
            slab.close()


def recovery_of(folder: Folder) -> Recovery:
    """Say what a store in this directory, which no process writes, has gone through since its last run.

    Raises: StoreNotFoundError, StoreError, CorruptStoreError: its record of runs cannot be read.
    """
    last = runs.newest_run(folder / layout.RUNS_FILE)
    became = survival(last)
    # One that was copied to there since its last run is no longer what it was.
    moved = last is not None and (not folder.place or last.place != folder.place)
    return Recovery(last, Survival.COPIED if moved and became is Survival.SAME_BOOT else became)


def survival(last: Run | None) -> Survival:
    """Say what may have happened to a store with this last run, which this machine is about to read."""
    if last is None or not runs.known(last.boot_id) or not runs.boot_id():
        return Survival.RESTARTED  # nothing says that it was not: what is unknown is never the same
    if last.boot_id == runs.boot_id():
        return Survival.SAME_BOOT if _has_run_since(last) else Survival.RESTARTED
    return Survival.RESTARTED if last.machine and last.machine == runs.machine_id() else Survival.COPIED


def _has_run_since(last: Run) -> bool:
    """Say whether the kernel has been up for as long as it was when that process began.

    If not, it is another boot of the same name: a machine that makes the same one each time, or a snapshot put back.
    """
    return last.process_start <= boot_ns() * os.sysconf("SC_CLK_TCK") // NS_PER_S
