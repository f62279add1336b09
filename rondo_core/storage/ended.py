"""What marks a store of the ended: a file that says which stores were folded into it, and how many in all.

It lies in a directory of stores, beside those of live processes. A store that it names counts no more, whether or not
its own directory is gone by now: who reads the directory leaves it out, so that nothing is there twice.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import msgpack

from rondo_core.errors import CapacityError, CorruptStoreError, StoreNotFoundError
from rondo_core.model import layout
from rondo_core.storage.files import Folder
from rondo_core.storage.journal import MENDED_BY, Journal, create_journal

ENDED_FILE = "ended"
ENDED_BYTES = 32 << 10
MAX_MEMBERS = 128
MAX_STORES = 8  # of the ended, below one directory: one for each set of schemas
FOLDED = ".folded.unfinished"  # what the directory of a store is called that was folded and is being removed


@attrs.frozen
class Ended:
    """What was folded into a store of the ended.

    Attributes:
        members: (store id, directory's name) of those whose directories may still be there.
        stores: how many stores were folded in all; unexported: how many of them before an exporter had sent them.
        folded_ns: when the last fold was, ns since the epoch.
    """

    members: tuple[tuple[str, str], ...] = ()
    stores: int = 0
    unexported: int = 0
    folded_ns: int = 0

    def has(self, store_id: str, name: str) -> bool:
        """Say whether a store of the directory was folded."""
        return (store_id, name) in self.members


def is_ended_name(name: str) -> bool:
    """Say whether a directory's name is one of those that stores of the ended have."""
    return name in ended_names()


def ended_names() -> list[str]:
    """Give the names that stores of the ended have, in the order in which they are made."""
    return [
        f"{layout.ENDED_STEM}.rondo",
        *(f"{layout.ENDED_STEM}-{number}.rondo" for number in range(2, MAX_STORES + 1)),
    ]


def create_ended(directory: Path, ended: Ended) -> None:
    """Write the mark into a store that is being made; who makes the store syncs it.

    Raises: CapacityError: too many stores wait for their removal; StoreError: no room.
    """
    record: bytes = msgpack.packb(attrs.asdict(ended))
    if len(ended.members) > MAX_MEMBERS or len(record) > ENDED_BYTES - (1 << 10):
        what = f"{len(ended.members)} stores were folded and could not be removed"
        raise CapacityError(f"{directory.parent}: {what}; let this process remove them")
    create_journal(directory / ENDED_FILE, ENDED_BYTES, (record,))


def read_ended(folder: Folder) -> Ended | None:
    """Read the mark of the store in a directory; None: it is no store of the ended.

    Raises: StoreError, CorruptStoreError: it is one, but which stores were folded into it cannot be read.
    """
    file = folder / ENDED_FILE
    try:
        journal = Journal(file, writable=False, max_bytes=ENDED_BYTES)
    except StoreNotFoundError:
        return None
    try:
        plain = msgpack.unpackb(journal.payloads[-1], max_array_len=MAX_MEMBERS)
        members = tuple((str(one), str(name)) for one, name in plain["members"])
        return Ended(members, *(int(plain[key]) for key in ("stores", "unexported", "folded_ns")))
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, msgpack.UnpackException) as error:
        what = f"which stores were folded does not read ({error}); {MENDED_BY}"
        raise CorruptStoreError(str(file), what, 0) from None
    finally:
        journal.close()
