"""The inbox of a life: lines that any process of the job appends, and that the recorder makes marks and gauges of.

A line is `mark NAME [KEY=VALUE ...]` or `set NAME VALUE [LABEL=VALUE ...]`, in a shell's quotes, with `@NS` before it
where its time, ns since the epoch, is known: `echo "mark deploy" >> "$RONDO_LIFE/life.inbox"` is enough. Who appends
needs no lock: the kernel's O_APPEND keeps lines whole. The room of lines that were taken is given back to the file
system as a hole. Where the recorder is gone, those it had not taken are read from here.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import attrs

from rondo_core.errors import StoreError, UsageError
from rondo_job.files import names

MAX_INBOX_BYTES = 1 << 20  # what may wait; then `post` refuses
MAX_LINE_BYTES = 4000
_CLEAR_BYTES = 64 << 10  # taken lines have their room given back from so much on
_TAKEN = ".taken"  # the name of the file that says how far the recorder has taken it
_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. Source: linux/falloc.h
_POSITION = struct.Struct("<q")
_TIME = re.compile(r"@([0-9]{1,19}) ")
_OWN = ("job_", "rondo_")  # how the names of the recorder's own series begin
_NO_FACT = "now_ns"  # of a mark: what its time is called where it is made


@attrs.frozen
class Entry:
    """One line of the inbox.

    Attributes: `kind`; `name`: of the mark or the gauge; `value`: of a gauge; `facts`: of a mark, or labels of a gauge;
    `time_ns`: 0: not said.
    """

    kind: Literal["mark", "set"]
    name: str
    value: float = 0.0
    facts: tuple[tuple[str, str], ...] = ()
    time_ns: int = 0

    def __str__(self) -> str:
        """Write it as a line, without its end."""
        pairs = [shlex.quote(f"{key}={value}") for key, value in self.facts]
        own = [repr(self.value)] if self.kind == "set" else []
        line = " ".join([self.kind, shlex.quote(self.name), *own, *pairs])
        return f"@{self.time_ns} {line}" if self.time_ns else line


def parse_entry(line: str) -> Entry:
    """Read a line. Raises: UsageError: it is none of the inbox."""
    time = _TIME.match(line)
    time_ns = int(time[1]) if time else 0
    kind, value, rest = "", 0.0, list[str]()
    # A longer one would take long to read, and a later time is none that a clock has.
    if len(line) <= MAX_LINE_BYTES and not time_ns >> 63:
        try:
            kind, *rest = shlex.split(line[time.end() :] if time else line)
            value = float(rest.pop(1)) if kind == "set" else 0.0
        except (ValueError, IndexError):
            kind = ""
    if not rest or kind not in {"mark", "set"}:
        raise UsageError(f"{line[:80]!r}: not a line of a life; write mark NAME [KEY=VALUE], or set NAME VALUE")
    entry = Entry("set" if kind == "set" else "mark", rest[0], value, pairs_of(rest[1:]), time_ns)
    check_entry(entry)
    return entry


def check_entry(entry: Entry) -> None:
    """Refuse what the recorder could not take, and names of its own. Raises: UsageError: says which."""
    if not entry.name.strip():
        raise UsageError(f"{entry.kind} {entry.name!r}: no name; say what happened, or what is set")
    if entry.kind == "set" and entry.name.startswith(_OWN):
        raise UsageError(
            f"set {entry.name}: {' and '.join(f'{each}...' for each in _OWN)} are rondo's own; choose another"
        )
    if entry.kind == "mark" and any(key == _NO_FACT for key, _ in entry.facts):
        raise UsageError(f"mark {entry.name}: {_NO_FACT} is no name of a fact; choose another")


def pairs_of(entries: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Part entries at their first "="; those without one are facts of their own."""
    return tuple(
        (key, value) if sign else ("text", key) for key, sign, value in (each.partition("=") for each in entries)
    )


def life_inbox() -> Path:
    """Give the inbox of the life that this process is part of.

    Raises: UsageError: it is part of none.
    """
    life = os.environ.get(names.VARIABLE)
    if not life:
        raise UsageError(f"{names.VARIABLE}: not set, so this is no part of a life; run it inside of rondo run")
    return Path(life) / names.INBOX


def post(path: Path, entry: Entry) -> None:
    """Append a line, whole; it survives whatever becomes of the recorder.

    Raises: UsageError: it is too long, or as `check_entry`; StoreError: there is no such inbox, or it is full as
        nobody takes from it.
    """
    check_entry(entry)
    line = f"{entry}\n".encode(errors="replace")
    if len(line) > MAX_LINE_BYTES or b"\n" in line[:-1]:
        raise UsageError(f"{entry.kind} {entry.name[:40]!r}: one line of {MAX_LINE_BYTES} bytes at most; say less")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; run this inside of rondo run") from None
    try:
        if os.fstat(descriptor).st_blocks * 512 + len(line) > MAX_INBOX_BYTES:
            raise StoreError(f"{path}: full; its recorder takes nothing any more")
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class Inbox:
    """The taking end, of the recorder."""

    def __init__(self, path: Path) -> None:
        """Make the file, and what says how far it was taken. Raises: OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._taken = os.open(f"{path}{_TAKEN}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._at = self._cleared = 0
        os.pwrite(self._taken, _POSITION.pack(0), 0)

    def read_new(self) -> list[str]:
        """Give the whole lines that have come since the last time; say that they are on record by `acknowledge`."""
        size = os.fstat(self._descriptor).st_size
        if size < self._at:  # it was begun anew: by > in the place of >>
            self._at = self._cleared = 0
        if size == self._at:
            return []
        data = os.pread(self._descriptor, min(size - self._at, MAX_INBOX_BYTES), self._at)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) > MAX_LINE_BYTES:
            whole = len(data)
        self._at += whole
        return [line for line in data[:whole].decode(errors="replace").split("\n") if line]

    def acknowledge(self) -> None:
        """Note that what was taken is on record; give its room back from time to time, where the file system can."""
        os.pwrite(self._taken, _POSITION.pack(self._at), 0)
        if self._at - self._cleared >= _CLEAR_BYTES:
            libc = ctypes.CDLL(None, use_errno=True)
            libc.fallocate(self._descriptor, _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(self._at))
            self._cleared = self._at

    def close(self) -> None:
        """Release the files."""
        os.close(self._descriptor)
        os.close(self._taken)


def read_unread(path: Path) -> list[Entry]:
    """Give what the recorder did not come to take: those of the last tick before its death, and all since.

    A line without a time gets that of the file's last change. Lines that cannot be read are passed over.
    Raises: OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            taken = Path(f"{path}{_TAKEN}").read_bytes()
            at = _POSITION.unpack(taken)[0] if len(taken) == _POSITION.size else 0
            file.seek(at if 0 <= at <= os.fstat(file.fileno()).st_size else 0)  # it was begun anew, or is damaged
            data = file.read(2 * MAX_INBOX_BYTES)
            changed_ns = os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return []
    entries = []
    for line in data.decode(errors="replace").split("\n"):
        try:
            entry = parse_entry(line)
        except UsageError:
            continue
        entries.append(attrs.evolve(entry, time_ns=entry.time_ns or changed_ns))
    return entries
