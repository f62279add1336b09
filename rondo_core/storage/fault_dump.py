"""What Python's faulthandler writes as a process crashes, in a file of the store: of a segmentation fault, an abort.

The file has its full size from the start, so that a full disk takes nothing of it. The dump of a crash stays as
`fault.previous` until the next crash.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
from typing import Self

from rondo_core.errors import StoreError
from rondo_core.storage.files import Folder, open_file, read_at, replace_file
from rondo_core.storage.held import HeldFile

FILE, PREVIOUS = "fault", "fault.previous"
FILE_BYTES = 65536
HERE, ELSEWHERE = "here", "elsewhere"
_FRAME = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


def read_dump(folder: Folder, name: str = "") -> str:
    """Give what the last crash left, as it was written; empty where there was none. Args: `name`: of one file only."""
    for each in (name,) if name else (FILE, PREVIOUS):
        with contextlib.suppress(StoreError, OSError):
            descriptor = open_file(folder / each)
            try:
                data = read_at(descriptor, 0, 2 * FILE_BYTES).rstrip(b"\0")
            finally:
                os.close(descriptor)
            if data:
                return data.decode(errors="replace")
    return ""


def in_short(dump: str) -> str:
    """Give what a dump says on one line: "Fatal Python error: Segmentation fault (work in app.py:17)"."""
    lines = [line.strip() for line in dump.splitlines() if line.strip()]
    current = next((index for index, line in enumerate(lines) if line.startswith("Current thread")), 0)
    frame = next(filter(None, map(_FRAME.search, lines[current:])), None)
    first = lines[0] if lines else ""
    return f"{first} ({frame['name']} in {frame['file']}:{frame['line']})" if frame else first


def take_away(folder: Folder) -> str:
    """Put a dump that a crash has left aside, under its other name; give it. Raises: OSError."""
    dump = read_dump(folder, FILE)
    if dump:
        os.replace(FILE, PREVIOUS, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    return dump


class FaultDump:
    """The faulthandler of this process, writing into a store."""

    _begun = False  # in this process, for a store

    def __init__(self, file: HeldFile) -> None:
        """Take over a file that it writes into; see `begin`."""
        self._file, self._ended = file, False

    @classmethod
    def begin(cls, folder: Folder) -> Self | None:
        """Enable it; None where it is already, by the program, or for another store of the process.

        Raises: StoreError, OSError: the file cannot be made.
        """
        if faulthandler.is_enabled():
            return None
        replace_file("fault.make", folder / FILE, bytes(FILE_BYTES))
        file = HeldFile(folder / FILE)
        faulthandler.enable(file.descriptor, all_threads=True)
        FaultDump._begun = True
        return cls(file)

    @staticmethod
    def is_elsewhere() -> bool:
        """Say whether the program itself has it enabled: by `-X faulthandler`, say, or as pytest does."""
        return faulthandler.is_enabled() and not FaultDump._begun

    def begin_again(self) -> None:
        """Enable it anew, where the program has closed the file. Raises: StoreError: the file is not there any more."""
        if not (self._ended or self._file.is_open()):
            faulthandler.disable()
            self._file.open_again()
            faulthandler.enable(self._file.descriptor, all_threads=True)

    def end(self) -> None:
        """Disable it, in this process: in a forked child too, whose crash is no one's here. More than once is once."""
        if not self._ended:
            self._ended = True
            FaultDump._begun = False
            faulthandler.disable()
            self._file.close()
