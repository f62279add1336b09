"""A life read back: what ran, how it was measured, its processes and marks, the tail of its output, how it ended.

A life is a store, `NAME-METHOD-PID-TIME-TOKEN.rondo` in a directory of lives (`rondo run` makes it), with these bounded
files among the store's own:

    life.start     facts.LifeStart, JSON; written before the job's first instruction
    life.end       facts.LifeEnd, JSON; absent while it runs, and where recorder and relay were both killed
    life.children  facts.Child, 512 fixed records
    life.stdout    the last 64 KiB of what went through; absent where the stream was not copied
    life.stderr    likewise; absent too where it went where standard output goes
    life.inbox     lines of `rondo mark` and `rondo set` that the recorder has not taken

Stores that programs of the job open by `open_store()` lie beside it, in the same directory, with the label
`rondo_life="NAME-METHOD-..."`. Everything here can be read while the job runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rondo_core.errors import CorruptStoreError, StoreNotFoundError, one_line
from rondo_core.model import store_name
from rondo_core.retention import list_stores
from rondo_core.storage import Event, Folder, Run, read_ended, read_meta, read_runs, writer_pid
from rondo_job.facts import MAX_FACTS_BYTES, Child, LifeEnd, LifeStart, decode_end, decode_start
from rondo_job.files import names
from rondo_job.files.children import read_children
from rondo_job.files.inbox import Entry, read_unread
from rondo_job.files.tail import TAIL_BYTES, read_tail

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from rondo_core import StoreReader

    T = TypeVar("T")

LABEL = "rondo_life"  # of the stores of programs inside: the name of the life's store, without .rondo


def holds_the_ended(store: Path) -> bool:
    """Say whether a store is no life, but what ended before, folded into one. Raises: StoreError: it does not say."""
    with Folder(store) as folder:
        return read_ended(folder) is not None


class Life:
    """One life, live or finished, read from any process without a lock.

    Attributes:
        path: of its store; name: of the directory, without `.rondo`.
        start: what was known before the job began. Always there: what has none is no life.
    """

    def __init__(self, path: str | Path) -> None:
        """Read what ran. Raises: StoreNotFoundError: no life lies there; CorruptStoreError: its facts do not read."""
        self.path = Path(path)
        self.name = store_name(self.path)
        data = self._read(names.START)
        if data is None:
            raise StoreNotFoundError(f"{path}: no life of rondo run; name one, or see rondo ls")
        self.start: LifeStart = self._decoded(names.START, decode_start, data)

    @classmethod
    def last(cls, directory: str | Path) -> Self | None:
        """Give the life of a directory that began last; None where there is none."""
        return max(cls.all(directory), key=lambda life: life.start.started_ns, default=None)

    @classmethod
    def all(cls, directory: str | Path) -> Iterator[Self]:
        """Give every life of a directory, by name; what cannot be read is passed over."""
        for path in sorted(Path(directory).glob(f"*/{names.START}")):
            try:
                yield cls(path.parent)
            except (CorruptStoreError, StoreNotFoundError):
                continue

    @property
    def end(self) -> LifeEnd | None:
        """How it ended; None: it runs, or nobody who saw its end could write it down. See `is_running`."""
        data = self._read(names.END)
        return None if data is None else self._decoded(names.END, decode_end, data)

    @property
    def run(self) -> Run:
        """The recorder's run on record: its pid, boot and end; `ended` is empty where the recorder was killed."""
        return read_runs(self.path / "runs")[-1]

    @property
    def recorder_pid(self) -> int | None:
        """The process that records it now; None: none does: it is over, or its recorder was killed."""
        return writer_pid(self.path / "lock")

    @property
    def is_running(self) -> bool | None:
        """Whether the job runs; None: its recorder is gone, no end is on record, and another boot or host has it."""
        if self.end is not None:
            return False
        if self.recorder_pid is not None:
            return True
        from rondo_core.storage import boot_id

        if not self.start.host.boot_id or boot_id() != self.start.host.boot_id:
            return None
        return self._started_with(self.start.pid)

    def _started_with(self, pid: int) -> bool:
        """Say whether that pid is the job's still, and runs: its directory in /proc is as old, and it is no zombie."""
        try:
            place = Path(f"/proc/{pid}")
            state = (place / "stat").read_bytes().rpartition(b") ")[2][:1]
            return place.stat().st_ctime_ns <= self.start.started_ns + 1_000_000_000 and state not in {b"Z", b"X"}
        except OSError:
            return False

    def children(self) -> tuple[list[Child], int]:
        """Give the job's processes by start, itself the first, and how many were evicted from the table.

        A process that began and ended between two looks is not among them; its CPU is in the job's.
        """
        return self._guarded(names.CHILDREN, read_children)

    def output(self, stream: str = "stderr") -> tuple[bytes, int]:
        """Give the last 64 KiB of "stdout" or "stderr", and how many bytes have passed in all.

        (b"", 0): nothing was written, or no tail is kept: `start.output` says which. Of a "file" it is what lies at the
        file's end now, where the end is on record.
        """
        return self._guarded(names.STREAMS[stream], read_tail)

    def marks(self) -> list[Event]:
        """Give the marks and notes of the recorder's store, by time, those that it had not come to take among them.

        Among them are `rondo mark`, groups of a CI system's log, and `output` and `signal` of the recorder's own.
        """
        with self.open() as reader:
            events = reader.events()
        known = {(event.time_ns, event.text) for event in events}
        late = [
            Event(entry.time_ns, "mark", entry.name, dict(entry.facts))
            for entry in self.unread()
            if entry.kind == "mark" and (entry.time_ns, entry.name) not in known
        ]
        return sorted([*events, *late], key=lambda event: event.time_ns)

    def unread(self) -> list[Entry]:
        """Give the marks and settings that came when the recorder was gone, oldest first."""
        return self._guarded(names.INBOX, read_unread)

    def open(self) -> StoreReader:
        """Open the life's store for reading: the series of docs/run.md, and those of `rondo set`."""
        from rondo_core import StoreReader

        return StoreReader(self.path)

    def stores(self) -> list[Path]:
        """Give the stores that programs of the job have opened, by name; of directories that were folded, none."""
        wanted = (LABEL, self.name)
        found, _ = list_stores(self.path.parent)
        return [each.path for each in found if each.path != self.path and wanted in read_meta(each.path).labels]

    def _read(self, name: str) -> bytes | None:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(MAX_FACTS_BYTES + TAIL_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CorruptStoreError(
                str(self.path / name), f"{error.strerror}; check the path, its owner and mode"
            ) from None

    def _decoded(self, name: str, decode: Callable[[bytes], T], data: bytes) -> T:
        try:
            return decode(data)
        except ValueError as error:
            raise CorruptStoreError(str(self.path / name), f"does not read ({one_line(error)})", 0) from None

    def _guarded(self, name: str, read: Callable[[Path], T]) -> T:
        try:
            return read(self.path / name)
        except (ValueError, OSError) as error:
            raise CorruptStoreError(str(self.path / name), one_line(error), 0) from None

    def __repr__(self) -> str:
        """Say where it is and how it ended."""
        return f"<Life {self.path}: {self.end or ('running' if self.is_running else 'gone')}>"
