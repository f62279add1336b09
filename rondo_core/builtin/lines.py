"""Lines on standard output, or appended to a file that holds each of them once, whatever befell its writer.

A line that a crash cut short is cut off when the file is opened. Samples that are sent again after a crash are found
among the file's last lines, and left out; as soon as a batch comes of which nothing is there, no more is looked for. A
sample of the same instant and series with another value is another one, and is written.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from rondo_core import Batch, Option
from rondo_core.builtin.row_text import LineFormat, texts_of
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_core.storage.files import identity, is_still, sync_directory
from rondo_core.storage.write_check import check_appendable

STDOUT = "-"
PATH = Option("path", help="the file to append to; -: standard output", default=STDOUT)
# One request is at most 10,000 samples, but for one instant of more series than that.
TAIL_LINES = 20_000
_BLOCK = 1 << 16


def check_path(path: str) -> None:
    """Look whether lines can go to a file, or to standard output. Raises: UsageError: they cannot."""
    if path != STDOUT:
        check_appendable("path", path)


class Lines:
    """Writes each sample as a line."""

    def __init__(
        self, path: str, format: LineFormat, read: Callable[[Sequence[str]], object], header: str = ""
    ) -> None:
        """Open the file, and mend its end.

        Args: `format`, of a line; `read` reads lines, and raises ValueError where they are no such lines; `header` is
        the first line, where there is one.
        Raises: UsageError: the file cannot be used, is another's, or another process appends to it.
        """
        self._path, self._format, self._read, self._header = path, format, read, header.encode()
        self._stdout: IO[bytes] | None = sys.stdout.buffer if path == STDOUT else None
        self._descriptor = -1 if path == STDOUT else _open(path)
        self._identity = (0, 0) if path == STDOUT else identity(os.fstat(self._descriptor))
        self._closed = self._printed = False
        self._busy = threading.Lock()
        # What was among the last lines; None: not looked for yet.
        self._there: set[str] | None = None
        if self._descriptor >= 0:
            try:
                self._mend()
            except BaseException:
                self.close()
                raise

    def __repr__(self) -> str:
        """Say where the lines go."""
        return f"Lines({self._path!r})"

    def send(self, batch: Batch) -> None:
        """Write the batch's samples; of a file, they are on the disk when it returns.

        Raises: RetryableExportError: the disk does not take them now; ExportError: standard output was closed, or the
        exporter.
        """
        with self._busy:
            if self._closed:
                raise ExportError(f"{self._path}: this exporter was closed; open another")
            texts = texts_of(batch, self._format)
            if not texts:
                return
            if self._stdout is not None:
                self._print(self._stdout, "".join(texts).encode())
                return
            if not is_still(self._descriptor, self._identity):
                self._open_again()
            if self._there is None:
                self._there = self._tail(max(TAIL_LINES, 2 * batch.n_samples))
            new = [_without(text, self._there) for text in texts] if self._there else texts
            self._append(new)
            if new == texts:
                self._there = set()

    def close(self) -> None:
        """Release the file, once a batch that another thread is sending is in it."""
        with self._busy:
            if is_still(self._descriptor, self._identity):
                os.close(self._descriptor)
            self._descriptor = -1
            self._closed = True

    def _print(self, stdout: IO[bytes], data: bytes) -> None:
        try:
            stdout.write(self._header + b"\n" + data if self._header and not self._printed else data)
            stdout.flush()
        except (OSError, ValueError) as error:
            raise ExportError(f"standard output: {getattr(error, 'strerror', None) or 'closed'}") from None
        self._printed = True

    def _append(self, texts: Sequence[str]) -> None:
        if not any(texts):
            return
        size = os.fstat(self._descriptor).st_size
        try:
            if self._header and not size:
                self._write(self._header + b"\n")
            first, length = 0, 0
            for at, text in enumerate(texts, 1):  # in pieces that stay in a processor's cache
                length += len(text)
                if length >= _BLOCK or at == len(texts):
                    self._write("".join(texts[first:at]).encode())
                    first, length = at, 0
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            what = os.strerror(error.errno or 0)
            raise RetryableExportError(f"{self._path}: {what}; what was not written stays in the store") from None

    def _open_again(self) -> None:
        """Open the file anew: the program has closed its descriptor. Raises: RetryableExportError: it cannot be had."""
        self._descriptor = -1
        try:
            self._descriptor = _open(self._path)
        except UsageError as error:
            raise RetryableExportError(str(error)) from None
        self._identity = identity(os.fstat(self._descriptor))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    # -- what is there already

    def _mend(self) -> None:
        """Cut off a line that has no end, of a file that is this exporter's."""
        size = end = os.fstat(self._descriptor).st_size
        begins = self._header + b"\n" if self._header else b'{"timestamp_ns": '
        if not begins.startswith(os.pread(self._descriptor, len(begins), 0)):
            raise UsageError(f"path: {self._path}: does not begin as this exporter's files do; choose another")
        while end:
            begin = max(0, end - _BLOCK)
            at = os.pread(self._descriptor, end - begin, begin).rfind(b"\n") + 1
            end = begin + at
            if at:
                break
        if end < size:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        self._tail(1)

    def _tail(self, count: int) -> set[str]:
        """Read the last lines, at least as many as asked for or all there are."""
        end, parts, found = os.fstat(self._descriptor).st_size, list[bytes](), 0
        while end and found <= count:
            begin = max(0, end - _BLOCK)
            parts.append(os.pread(self._descriptor, end - begin, begin))
            found += parts[-1].count(b"\n")
            end = begin
        # Of the first line there may be only an end; lines end in \n alone, whatever else a label holds.
        lines = b"".join(reversed(parts)).decode(errors="replace").split("\n")[:-1]
        lines = lines[bool(end) or bool(self._header) :]
        try:
            self._read(lines)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise UsageError(f"path: {self._path}: holds lines that are not this exporter's; choose another") from None
        return set(lines)


def _without(text: str, there: set[str]) -> str:
    """Leave out the lines that are there; a line ends in \\n alone, whatever else a label holds."""
    return "".join(f"{line}\n" for line in text.split("\n")[:-1] if line not in there)


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise UsageError(f"path: {path}: {os.strerror(error.errno or 0)}; choose another") from None
    what = "another process appends to it; choose another"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            if not found.st_size:
                sync_directory(Path(path).absolute().parent)  # a new file's name is to be on the disk as its lines are
            return descriptor
        what = "not a regular file; choose another, or - for standard output"
    except OSError:
        pass
    os.close(descriptor)
    raise UsageError(f"path: {path}: {what}")
