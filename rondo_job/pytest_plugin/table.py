"""The table of a process's tests: a mapped file of a row a test, which outlives whatever ends the process.

A file is a header and rows of ROW_BYTES; numbers are int64, little-endian. A row's state is written last at the
test's start and at its end, so that a row that says "ran to its end" is whole.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"RONDOTST"
VERSION = 1
SUFFIX = ".tests"
MAX_ROWS = 50_000  # 16 MiB; later tests are run and not recorded, and the session says how many
_HEADER = struct.Struct("<8sqqqqq")  # magic, version, rows, used, pid, and tests that had no room
HEADER_BYTES = 64
ROW_BYTES = 320
_WORDS = ROW_BYTES // 8
_FIRST = HEADER_BYTES // 8  # word of the first row
_NUMBERS = 11
NAME_BYTES = ROW_BYTES - 8 * _NUMBERS
STATES = ("", "running", "passed", "failed", "skipped")
RUNNING, PASSED, FAILED, SKIPPED = range(1, len(STATES))


class Test(NamedTuple):
    """What a test took, and left behind.

    Attributes: `worker`, the process's name, `gw0` and the like under xdist, and `pid`; `name`, the test's id, whose
    end alone is kept where it is long; `state`: running, passed, failed or skipped; `started_ns`, since the epoch;
    `duration_ns`; `cpu_ns`, of the process and of its children that ended; `before_bytes`, `after_bytes` and
    `peak_bytes`, resident memory; `descriptors` and `threads`, how many more there were after it than before it. Of a
    test that was still running when its process ended, `after_bytes` is the last that was seen; see TestRecording.
    """

    worker: str
    pid: int
    name: str
    state: str
    started_ns: int
    duration_ns: int
    cpu_ns: int
    before_bytes: int
    after_bytes: int
    peak_bytes: int
    descriptors: int
    threads: int

    @property
    def growth_bytes(self) -> int:
        """Resident memory that was there after the test and not before it; negative where it gave some back."""
        return self.after_bytes - self.before_bytes


class TestsTable:
    """A table that is being written, of `rows` rows; the file is made anew.

    `begin` and `end` are closures: they run around each test, where all that is looked up on an object is looked up in
    a cold cache.
    """

    __test__ = False

    def __init__(self, path: Path, rows: int) -> None:
        """Make the file at its full size. Raises: OSError: it cannot be had."""
        self.rows = min(max(rows, 1), MAX_ROWS)
        size = HEADER_BYTES + self.rows * ROW_BYTES
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        _HEADER.pack_into(self._map, 0, MAGIC, VERSION, self.rows, 0, os.getpid(), 0)
        self._words = memoryview(self._map).cast("q")
        self._taken = _FIRST
        self.begin, self.end = _row_writers(self._map, self._words, _FIRST + self.rows * _WORDS)

    @property
    def begun(self) -> int:
        """How many tests have begun, of those that have a row."""
        return int(self._words[3])

    def running(self) -> int:
        """Tell the row of the test that is running, as `begin` gave it; -1: none runs, or it has no row."""
        row = _FIRST + (self._words[3] - 1) * _WORDS
        return row if row >= _FIRST and self._words[row] == RUNNING else -1

    def age_ns(self, row: int, now_ns: int) -> int:
        """Tell how long ago the test of a row started."""
        return now_ns - int(self._words[row + 1])

    def see(self, row: int, now_ns: int, resident_bytes: int) -> None:
        """Note how a running test fares, for whoever reads the table if it never ends."""
        words = self._words
        if words[row] == RUNNING:
            words[row + 2] = now_ns - words[row + 1]
            words[row + 5] = resident_bytes
            if resident_bytes > words[row + 6]:
                words[row + 6] = resident_bytes

    def take_ended(self) -> tuple[list[int], list[int]]:
        """Give the states, and the durations in ns, of the tests that have ended and were not given before."""
        words, first = self._words, self._taken
        end = _FIRST + words[3] * _WORDS
        if end > first and words[end - _WORDS] == RUNNING:
            end -= _WORDS
        self._taken = end
        return words[first:end:_WORDS].tolist(), words[first + 2 : end : _WORDS].tolist()

    def close(self) -> None:
        """Release the map; what was written stays."""
        self._words.release()
        self._map.close()


def _row_writers(text: mmap.mmap, words: Any, last: int) -> tuple[Callable[..., int], Callable[..., None]]:
    """Give what begins a row and what ends it, of a map as bytes and as words, whose rows end at the word `last`."""
    next_row = _FIRST

    def begin(name: str, started_ns: int, before_bytes: int) -> int:
        """Take a row for a test that starts. Returns: where its numbers lie, in words; -1: there is no room."""
        nonlocal next_row
        row = next_row
        if row == last:
            words[5] += 1
            return -1
        encoded = name.encode("utf-8", "replace")[-NAME_BYTES:]
        at = 8 * (row + _NUMBERS)
        text[at : at + len(encoded)] = encoded
        words[row + 1] = started_ns
        words[row + 4] = words[row + 5] = words[row + 6] = before_bytes
        words[row + 9] = len(encoded)
        words[row] = RUNNING
        words[3] += 1
        next_row = row + _WORDS
        return row

    def end(
        row: int, state: int, took_ns: int, cpu_ns: int, after: int, peak: int, descriptors: int, threads: int
    ) -> None:
        """Write what a test took, memory after it and at its peak in bytes, and what it left; its state last."""
        words[row + 2] = took_ns
        words[row + 3] = cpu_ns
        words[row + 5] = after
        if peak > words[row + 6]:
            words[row + 6] = peak
        words[row + 7] = descriptors
        words[row + 8] = threads
        words[row] = state

    return begin, end


class RecordedTests(Sequence[Test]):
    """The tests that tables hold, in the order in which they started, by columns: tests as objects that are kept would
    have the garbage collector look through all that pytest keeps.

    Attributes: `left_out`, how many more had no room.
    """

    __test__ = False

    def __init__(self, paths: Iterable[Path]) -> None:
        """Read tables, whether their processes live or not. One that is none, or was cut short, has what is whole."""
        self._columns: list[list[Any]] = [[] for _ in Test._fields]
        self.left_out = 0
        for path in paths:
            data = path.read_bytes()
            if len(data) < HEADER_BYTES:
                continue
            magic, version, rows, used, pid, left_out = _HEADER.unpack_from(data)
            if magic != MAGIC or version != VERSION:
                continue
            used = max(0, min(used, rows, (len(data) - HEADER_BYTES) // ROW_BYTES))
            found = _read_rows(data, used)
            process = [[path.name.removesuffix(SUFFIX)] * len(found[0]), [pid] * len(found[0])]
            for column, more in zip(self._columns, [*process, *found], strict=True):
                column.extend(more)
            self.left_out += left_out

    def column(self, field: str) -> list[Any]:
        """Give one figure, or one text, of all tests."""
        return self._columns[Test._fields.index(field)]

    def __len__(self) -> int:
        """How many tests there are."""
        return len(self._columns[0])

    def __getitem__(self, index: Any) -> Any:
        """Make the test at an index."""
        return Test._make(column[index] for column in self._columns)


def _read_rows(data: bytes, used: int) -> list[list[Any]]:
    """Give the columns of a table's first `used` rows, from the name on, less the rows that hold no test."""
    end = HEADER_BYTES + used * ROW_BYTES
    words = memoryview(data)[HEADER_BYTES:end].cast("q")
    states, *numbers, lengths, _ = (words[at::_WORDS].tolist() for at in range(_NUMBERS))
    whole = [
        0 < state < len(STATES) and 0 <= length <= NAME_BYTES for state, length in zip(states, lengths, strict=True)
    ]
    starts = range(HEADER_BYTES + 8 * _NUMBERS, end, ROW_BYTES)
    names = [
        data[start : start + length].decode("utf-8", "replace")
        for start, length in compress(zip(starts, lengths, strict=True), whole)
    ]
    return [
        names,
        [STATES[state] for state in compress(states, whole)],
        *(list(compress(each, whole)) for each in numbers),
    ]
