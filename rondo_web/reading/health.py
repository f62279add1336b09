"""Health: who writes what is served and how old its newest sample is, told at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

import attrs

from rondo_core.errors import OpenFilesError, RondoError, StoreNotFoundError, one_line
from rondo_core.model import RUNS_FILE, layout
from rondo_core.read import StoreReader, scan_directory, still_counted
from rondo_core.storage import read_runs, writer_pid
from rondo_web.reading.shared_reader import SharedReader

_PATIENCE_S = 0.3
_FOR_EVER_NS = 1 << 63


class Health(NamedTuple):
    """The newest sample's time, 0 where there is none, and the pid of the process that writes; None: it has ended."""

    newest_ns: int
    writer_pid: int | None


class HealthCheck:
    """Looks at what a shared reader reads. `look` has one caller at a time."""

    def __init__(self, shared: SharedReader) -> None:
        """Look at nothing yet."""
        self._shared, self._stores = shared, StoresHealth(shared.path)
        self._last: Health | None = None
        self._looker: threading.Thread | None = None  # which asks the stores of a directory
        self._trouble: Exception | None = None

    def look(self) -> Health | None:
        """Give the health, at once: of a directory, which takes long, as it was last seen; None: not yet known.

        Raises: as `SharedReader.reader`, `StoreReader.newest_ns` and `StoresHealth.look`.
        """
        if not self._shared.is_directory():
            with self._shared.reader() as reader:
                return Health(reader.newest_ns(), reader.writer_pid())
        if self._looker is None or not self._looker.is_alive():
            self._looker = threading.Thread(target=self._look_at_each, name="rondo-health", daemon=True)
            self._looker.start()
        self._looker.join(_PATIENCE_S)
        if self._trouble is not None:
            raise self._trouble
        return self._last

    def _look_at_each(self) -> None:
        try:
            self._last = self._stores.look()
            self._trouble = None
        except (RondoError, OSError) as error:
            self._trouble = error


@attrs.define
class _Seen:
    """A store, when it was looked at.

    Attributes: `version`: of its record of runs, which each opening for writing changes; `pid`: who writes it;
        `ended_ns`: no sample is later; `newest_ns`: None: not looked for.
    """

    version: tuple[int, ...]
    pid: int | None
    ended_ns: int
    newest_ns: int | None = None


class StoresHealth:
    """The health of the stores below a directory. Of a dead one it is looked for once; of one that ended before the
    newest sample of others not at all.
    """

    def __init__(self, directory: Path) -> None:
        """Look at nothing yet."""
        self._directory = directory
        self._seen: dict[Path, _Seen] = {}

    def look(self) -> Health:
        """Look at the stores that are there by now; one that cannot be read is left out.

        Raises: StoreNotFoundError: none can be; OpenFilesError: this process may open no more files.
        """
        scan = scan_directory(self._directory)
        left_out = scan.errors + scan.passed
        paths, before = still_counted(scan.stores, left_out), self._seen
        self._seen = {}
        for path in paths:
            try:
                self._seen[path] = _look(path, before.get(path))
            except (RondoError, OSError) as error:
                left_out.append(one_line(error))
        newest_ns, n_read = 0, 0
        for path, seen in sorted(self._seen.items(), key=lambda each: -each[1].ended_ns):
            if n_read and seen.ended_ns <= newest_ns:
                break
            try:
                newest_ns = max(newest_ns, _newest_ns(path, seen))
                n_read += 1
            except OpenFilesError:
                raise
            except (RondoError, OSError, ValueError) as error:
                left_out.append(one_line(error))
        if not n_read:
            raise StoreNotFoundError(f"{self._directory}: no store here or below; {[*left_out, 'check the path'][0]}")
        return Health(newest_ns, next((each.pid for each in self._seen.values() if each.pid is not None), None))


def _look(path: Path, before: _Seen | None) -> _Seen:
    """Say when a store's life ended, by its record of runs. Raises: as `read_runs`."""
    found = (path / RUNS_FILE).stat()
    version = found.st_dev, found.st_ino, found.st_mtime_ns
    if before is not None and before.version == version and before.pid is None:
        return before
    pid = writer_pid(path / layout.LOCK_FILE)
    runs = read_runs(path / RUNS_FILE)
    return _Seen(version, pid, (pid is None and runs and runs[-1].ended_ns) or _FOR_EVER_NS)


def _newest_ns(path: Path, seen: _Seen) -> int:
    """Give the start of a store's newest bucket, ns since the epoch; 0: none. Raises: as `StoreReader`."""
    if seen.newest_ns is not None and seen.pid is None:
        return seen.newest_ns
    with StoreReader(path) as reader:
        seen.newest_ns = reader.newest_ns()
    return seen.newest_ns
