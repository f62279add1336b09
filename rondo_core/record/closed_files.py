"""What a store does whose descriptors the program has closed, as one that makes a daemon of itself closes all.

The maps stay, and with them all that is recorded. What goes by descriptors, the lock first of all, is had anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rondo_core.record.marks import EventLog
    from rondo_core.storage.held import HeldFile
    from rondo_core.storage.lock import WriterLock
    from rondo_core.storage.slab import Slab


def open_again(
    lock: WriterLock, files: Iterable[HeldFile], slabs: Mapping[str, Sequence[Slab]], events: EventLog | None
) -> None:
    """Take the lock anew, and open the files that are not open any more.

    Raises: StoreLockedError: another process writes the store by now; StoreError, OSError: it does not lie at its path
    any more, or a file of it is gone, or may not be opened.
    """
    for slab in (each for some in slabs.values() for each in some):
        slab.keep_map()
    lost = [file for file in files if not file.is_open()]
    for file in lost:
        file.close()  # before any is opened: its number may be given to the next
    lock.take_again()
    for file in lost:
        file.open_again()
    if events is not None:
        events.watch_faults_again()
