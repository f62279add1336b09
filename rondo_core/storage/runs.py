"""Who wrote a store and how it ended: the last 127 runs, in a ring of fixed records.

The file of a new store has room for seven, as most are opened once, and one of an older rondo for fifteen: the opening
that would overwrite the first of them makes it whole.

A pid alone says nothing after a restart, so a run is named by pid, the process's start time and the machine's boot.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from rondo_core import faults
from rondo_core.errors import CorruptStoreError, FormatVersionError
from rondo_core.forking import at_fork
from rondo_core.model import layout
from rondo_core.storage.files import (
    FolderFile,
    StrPath,
    file_version,
    is_settled,
    open_file,
    read_bytes,
    replace_file,
)
from rondo_core.storage.slab import MAX_INSTANT_NS, allocate

_RECORD, _UNUSED = layout.JOURNAL_RECORD, bytes(layout.RUN_BYTES)
MAX_ENDED_BYTES, _MAX_WRITER_BYTES = 160, 100
_NUMBER_AT = _RECORD.size + 1 + len(b"\xa6number")  # in a record whose map has fewer than sixteen keys
_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}  # msgpack's, and the bytes that follow; others are the byte itself


class Run(NamedTuple):
    """One opening for writing.

    Attributes:
        number: 1 for the first; pid, process_start (clock ticks since boot, /proc/PID/stat), boot_id: which process.
        opened_ns, ended_ns: ns since the epoch; ended_ns is 0 while it runs, and for ever where it is gone.
        ended: how: "closed", "signal 15", "exit status 1" ...; empty where no one could say. See docs/concepts.md.
        writer: what the writing program calls itself, for example "vmm kvm".
        machine: which machine it was, as a digest that says nothing else; empty where that is not known.
        place: which directory was written, of this boot: `Folder.place`; empty where that is not known.
        faulthandler: whether Python's was to write a crash down: "here", in the store; "elsewhere", as the program had
            enabled it itself; empty: no.
    """

    number: int
    pid: int
    process_start: int
    boot_id: str
    opened_ns: int
    ended_ns: int = 0
    ended: str = ""
    writer: str = ""
    machine: str = ""
    place: str = ""
    faulthandler: str = ""


_TEXTS = {"boot_id", "ended", "writer", "machine", "place", "faulthandler"}
_LATER = {"place": "", "faulthandler": ""}  # what runs on record of older rondos do not have
_FACTS: tuple[tuple[str, Any], ...] = tuple((name, str if name in _TEXTS else int) for name in Run._fields)


def this_run(number: int, opened_ns: int, writer: str, place: str = "") -> Run:
    """Describe the calling process as the writer of run `number`."""
    me = os.getpid(), process_start(), boot_id()
    return Run(number, *me, on_record(opened_ns), writer=writer, machine=machine_id(), place=place)


@cache
def process_token() -> str:
    """Give a text that no other process has, of any host or container: pids, starts and boots say nothing there."""
    return os.urandom(6).hex()


def on_record(now_ns: int) -> int:
    """Give what a clock says as a record can hold it: after 1970 began, and before what no clock says."""
    return min(max(now_ns, 1), MAX_INSTANT_NS - 1)


@cache
def boot_id() -> str:
    """Give the kernel's identity of this boot; empty where it has none, or hides it."""
    try:
        return known(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    except (OSError, ValueError):
        return ""


def known(identity: str) -> str:
    """Take an identity of noughts, which is what a kernel without entropy or a sandbox shows, for none."""
    return identity if identity.strip("0-") else ""


@cache
def machine_id() -> str:
    """Give a digest of the machine's identity, by which a store tells a restart from a copy; empty: not known."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            identity = Path(path).read_bytes().strip()
            if identity:
                return _sha256(b"rondo " + identity)[:16]
    return ""


def _sha256(data: bytes) -> str:
    """Give the digest by the interpreter's own module: hashlib loads OpenSSL, which takes 1 MiB of every program."""
    for module in ("_sha2", "_sha256", "hashlib"):
        with contextlib.suppress(ImportError):
            digest: str = importlib.import_module(module).sha256(data).hexdigest()
            return digest
    raise ImportError("hashlib: this interpreter has no SHA-256; build it with hashlib")


@cache
def process_start() -> int:
    """Give when this process began, in clock ticks since boot; 0: not known. A forked child looks anew."""
    try:
        # Field 22; the second, the command, may hold spaces, brackets and half a character.
        return int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


at_fork(after_in_child=process_start.cache_clear)
at_fork(after_in_child=process_token.cache_clear)


def create_runs(path: Path) -> None:
    """Make the file at its full size, with no run in it; who makes the store syncs it.

    Raises: StoreError: the disk has no room.
    """
    descriptor = allocate(path, layout.FEW_RUNS_FILE_BYTES)
    try:
        os.pwrite(descriptor, layout.JOURNAL_HEADER.pack(layout.RUNS_MAGIC, layout.FORMAT_VERSION, 0), 0)
    finally:
        os.close(descriptor)


def grow_runs(path: StrPath, number: int) -> None:
    """Let a small file have room for 127 runs where run `number` would overwrite another; whole or not at all.

    Who writes the store calls it before its run is on record. Where the disk has no room the file stays as it is.
    Raises: as `read_runs`.
    """
    records = run_records(path)
    slot = number % len(records)
    if len(records) == layout.RUN_COUNT or records[slot] == _UNUSED or _number(records[slot]) == number:
        return
    data = bytearray(layout.JOURNAL_HEADER.pack(layout.RUNS_MAGIC, layout.FORMAT_VERSION, 0))
    data = data.ljust(layout.RUNS_FILE_BYTES, b"\0")
    for run in read_runs(path):
        offset = _offset(run, layout.RUN_COUNT)
        data[offset : offset + layout.RUN_BYTES] = _record(run)
    with contextlib.suppress(OSError):
        replace_file("runs.grow", path, bytes(data))


def read_runs(path: StrPath) -> list[Run]:
    """Give the runs on record, oldest first; a record that is damaged is left out.

    Raises: StoreNotFoundError, StoreError: the file cannot be read; CorruptStoreError: it is not one of runs.
    """
    records = run_records(path)
    runs = [decode_run(record, slot, len(records)) for slot, record in enumerate(records) if record != _UNUSED]
    return sorted((run for run in runs if run is not None), key=lambda run: run.number)


class RunsFile:
    """The record of runs of a store that is read again and again: decoded anew once its file has changed.

    Threads may share it.
    """

    def __init__(self, path: FolderFile) -> None:
        """Look at nothing yet."""
        self._path = path
        self._known: tuple[tuple[int, ...], tuple[Run, ...]] = (), ()

    def runs(self) -> tuple[Run, ...]:
        """Give the runs on record, oldest first. Raises: as `read_runs`."""
        before, known = self._known
        version = file_version(self._path)
        if version and version == before:
            return known
        runs = tuple(read_runs(self._path))
        if is_settled(version):
            self._known = version, runs
        return runs


def run_numbered(path: StrPath, number: int) -> Run | None:
    """Give the run of that number; None where it is not on record, or not any more. Raises: as `read_runs`."""
    records = run_records(path)
    slot = number % len(records)
    run = decode_run(records[slot], slot, len(records))
    return run if run is not None and run.number == number else None


def newest_run(path: StrPath) -> Run | None:
    """Give the last of the runs on record; None where there is none. Raises: as `read_runs`."""
    records = run_records(path)
    numbered = [(_number(record), slot) for slot, record in enumerate(records) if record != _UNUSED]
    for _, slot in sorted(numbered, reverse=True):
        if (run := decode_run(records[slot], slot, len(records))) is not None:
            return run
    return None


def run_records(path: StrPath) -> list[bytes]:
    """Give the records as they are, slot by slot. Raises: as `read_runs`."""
    data = read_bytes(path, layout.RUNS_FILE_BYTES)
    if data[:8] != layout.RUNS_MAGIC or len(data) not in layout.RUNS_FILE_SIZES:
        what = f"not a record of runs: {len(data)} bytes, of {layout.RUNS_FILE_BYTES}"
        raise CorruptStoreError(str(path), what, 0)
    version = int.from_bytes(data[8:12], "little")
    if version > layout.FORMAT_VERSION:
        raise FormatVersionError(str(path), version, layout.FORMAT_VERSION)
    first, step = layout.RUNS_HEADER_BYTES, layout.RUN_BYTES
    return [data[offset : offset + step] for offset in range(first, len(data), step)]


def decode_run(record: bytes, slot: int, count: int = layout.RUN_COUNT) -> Run | None:
    """Read a record; None where it is damaged, or of a run that does not belong into this slot of `count`."""
    run = _read(_unpacked(record))
    return run if run is not None and run.number % count == slot else None


def _unpacked(record: bytes) -> Any:
    length, crc = _RECORD.unpack_from(record)
    payload = record[_RECORD.size : _RECORD.size + length]
    if not length or len(payload) != length or zlib.crc32(payload) != crc:
        return None
    try:
        return msgpack.unpackb(payload, max_array_len=0)
    except (ValueError, msgpack.UnpackException):
        return None


def _number(record: bytes) -> int:
    """Look which run a record is of, which may be damaged: the first key of its map is its number."""
    try:
        return int(msgpack.unpackb(record[_NUMBER_AT : _NUMBER_AT + 1 + _INTEGERS.get(record[_NUMBER_AT], 0)]))
    except (ValueError, TypeError, msgpack.UnpackException):
        return 0


def _read(plain: Any) -> Run | None:
    try:
        facts = {**_LATER, **plain}
        run = Run(*[kind(facts[name]) for name, kind in _FACTS])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    stamps = (run.opened_ns, run.ended_ns)
    plausible = 0 < run.number < 1 << 48 and all(0 <= stamp < MAX_INSTANT_NS for stamp in stamps)
    return run if plausible else None


def _short(text: str, size_bytes: int) -> str:
    """Cut a text to as many bytes, so that the record keeps its size."""
    return text and text.encode(errors="replace")[:size_bytes].decode(errors="ignore")


def write_run(path: StrPath, run: Run) -> None:
    """Put the run on record, in place of the oldest one.

    Raises: StoreError: the file cannot be written.
    """
    descriptor = open_file(path, os.O_WRONLY)
    try:
        write_run_to(descriptor, run)
    finally:
        os.close(descriptor)


def put_run(path: StrPath, run: Run) -> None:
    """Put the run on record as its writer did: a file that is full grows first. Raises: as `read_runs`, `write_run`."""
    grow_runs(path, run.number)
    write_run(path, run)


def write_run_to(descriptor: int, run: Run) -> None:
    """Put the run on record in an open file."""
    count = (os.fstat(descriptor).st_size - layout.RUNS_HEADER_BYTES) // layout.RUN_BYTES
    faults.pwrite("runs.write", descriptor, _record(run), _offset(run, count))


def _offset(run: Run, count: int) -> int:
    return layout.RUNS_HEADER_BYTES + run.number % count * layout.RUN_BYTES


def _record(run: Run) -> bytes:
    facts = {name: getattr(run, name) for name, _ in _FACTS}
    facts |= {"ended": _short(run.ended, MAX_ENDED_BYTES), "writer": _short(run.writer, _MAX_WRITER_BYTES)}
    payload: bytes = msgpack.packb(facts)
    return (_RECORD.pack(len(payload), zlib.crc32(payload)) + payload).ljust(layout.RUN_BYTES, b"\0")
