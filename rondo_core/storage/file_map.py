"""A slab's file, mapped: the bytes of it that a store records into, and what they are known by.

Python gives each map a descriptor of its own, which goes with the map. A program may have closed that, and have its
number again for a file of its own; see `held`.
"""

from __future__ import annotations

import mmap
import os
from typing import Self

from rondo_core.errors import CorruptStoreError, FormatVersionError, OpenFilesError, StoreError
from rondo_core.model import layout
from rondo_core.storage.files import NO_MORE_FILES, StrPath, facts_at, fill_holes, open_known


class FileMap(mmap.mmap):
    """A map of a slab's whole file, shared with all who map it. Attributes: `inode`, of the file."""

    inode: int
    _path: StrPath
    _size_bytes: int
    _kept = False

    @classmethod
    def of_slab(cls, path: StrPath, spec: layout.SlabSpec, *, writable: bool) -> Self:
        """Map the slab at `path`, which must be the one that `spec` describes. Raises: as `Slab`."""
        descriptor, found = open_known(path, os.O_RDWR if writable else os.O_RDONLY)
        try:
            header = os.pread(descriptor, layout.PAGE_BYTES, 0)
            _check(path, spec, header, found.st_size)
            if writable:
                fill_holes(path, descriptor, found)
            self = cls(descriptor, spec.file_bytes, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            if isinstance(error, StoreError):
                raise
            if isinstance(error, OSError) and error.errno in NO_MORE_FILES:  # a map has a descriptor of its own
                raise OpenFilesError(str(path)) from None
            raise StoreError(f"{path}: {spec.file_bytes} bytes cannot be mapped ({error}); free some memory") from None
        finally:
            os.close(descriptor)
        self._path, self._size_bytes, self.inode = path, spec.file_bytes, found.st_ino
        return self

    def check_size(self) -> None:
        """Look whether the file is still as long as its map.

        Raises: CorruptStoreError: it was truncated while it was open; to read on would end the process.
        """
        size = self._size_bytes
        try:
            if self.closed or (not self._kept and (size := self.size()) >= self._size_bytes):
                return  # as at almost every read
        except OSError:
            pass
        found = facts_at(self._path)  # the descriptor may be another file's
        if found is not None and found.st_ino == self.inode:
            size = found.st_size
        if size < self._size_bytes:
            what = f"cut to {size} bytes, of {self._size_bytes}, while it was open"
            raise CorruptStoreError(str(self._path), what, size)

    def keep(self) -> None:
        """Leave the map to the end of the process, and its descriptor to whoever has its number."""
        if not self._kept:
            import ctypes

            self._kept = True
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def close(self) -> None:
        """Unmap the file, and close the descriptor where it is still the map's."""
        if not (self.closed or self._is_kept()):
            super().close()

    def __del__(self) -> None:
        """Keep the map where its descriptor is another file's."""
        if not self.closed:
            self._is_kept()

    def _is_kept(self) -> bool:
        try:
            if not self._kept and self.size() == self._size_bytes:
                return False
        except OSError:
            pass
        self.keep()
        return True


def _check(path: StrPath, spec: layout.SlabSpec, header: bytes, size: int) -> None:
    if len(header) < layout.PAGE_BYTES or header[:8] != layout.SLAB_MAGIC:
        raise CorruptStoreError(str(path), f"not a slab: {size} bytes, no slab header", 0)
    version = int.from_bytes(header[8:12], "little")
    if version > layout.FORMAT_VERSION:
        raise FormatVersionError(str(path), version, layout.FORMAT_VERSION)
    if not layout.round_trips(spec, header):
        raise CorruptStoreError(str(path), "the slab's header is not the one that the store's schema makes", 8)
    if size != spec.file_bytes:
        raise CorruptStoreError(str(path), f"{size} bytes where its header says {spec.file_bytes}", size)
