"""A file that is kept open, known from any other that has come to have its number.

Some programs close descriptors that they have not opened, all of them at once, as one that makes a daemon of itself
does; the numbers are then given to files of their own, which are neither to be written to nor closed here.
"""

from __future__ import annotations

import os

from rondo_core.errors import StoreError
from rondo_core.storage.files import Closeable, StrPath, identity, is_still, open_known


class HeldFile(Closeable):
    """A regular file's descriptor, and which file it is of. Attributes: `identity`, device and inode."""

    __slots__ = ("_descriptor", "_flags", "_path", "identity")

    def __init__(self, path: StrPath, flags: int = os.O_RDWR) -> None:
        """Open the file. Raises: as `open_known`."""
        self._path, self._flags = path, flags
        self._descriptor, found = open_known(path, flags)
        self.identity = identity(found)

    @property
    def descriptor(self) -> int:
        """The descriptor. Raises: StoreError: it is closed, or another file's by now."""
        if not self.is_open():
            raise StoreError(f"{self._path}: closed by the program, which has not opened it; close the store before")
        return self._descriptor

    def is_open(self) -> bool:
        """Say whether the descriptor is still that of the file."""
        return is_still(self._descriptor, self.identity)

    def open_again(self) -> None:
        """Open the same file anew. Raises: as `open_known`; StoreError: another file has its name now."""
        self.close()
        descriptor, found = open_known(self._path, self._flags)
        if identity(found) != self.identity:
            os.close(descriptor)
            raise StoreError(f"{self._path}: another file has taken its place; close the store and open it again")
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the descriptor, where it is still the file's; more than once is once."""
        if self.is_open():
            os.close(self._descriptor)
        self._descriptor = -1
