"""Health: who writes what is served and how old its newest sample is, told at once."""

from __future__ import annotations

import threading
from typing import NamedTuple

from rondo_core.errors import RondoError
from rondo_web.reading.shared_reader import Reader, SharedReader

_PATIENCE_S = 0.3


class Health(NamedTuple):
    """The newest sample's time, 0 where there is none, and the pid of the process that writes; None: it has ended."""

    newest_ns: int
    writer_pid: int | None


class HealthCheck:
    """Looks at what a shared reader reads. `look` has one caller at a time."""

    def __init__(self, shared: SharedReader) -> None:
        """Look at nothing yet."""
        self._shared = shared
        self._last: Health | None = None
        self._looker: threading.Thread | None = None  # which asks the stores of a directory
        self._trouble: Exception | None = None

    def look(self) -> Health | None:
        """Give the health, at once: of a directory, which takes long, as it was last seen; None: not yet known.

        Raises: as `SharedReader.reader` and `StoreReader.newest_ns`.
        """
        if not self._shared.is_directory():
            with self._shared.reader() as reader:
                return self._see(reader)
        if self._looker is None or not self._looker.is_alive():
            self._looker = threading.Thread(target=self._look_at_each, name="rondo-health", daemon=True)
            self._looker.start()
        self._looker.join(_PATIENCE_S)
        if self._trouble is not None:
            raise self._trouble
        return self._last

    def _look_at_each(self) -> None:
        try:
            with self._shared.reader(reopen=False) as reader:
                self._see(reader)
            self._trouble = None
        except (RondoError, OSError) as error:
            self._trouble = error

    def _see(self, reader: Reader) -> Health:
        self._last = Health(reader.newest_ns(), reader.writer_pid())
        return self._last
