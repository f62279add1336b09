"""What a store logs of itself, each thing once: a clock that steps, files that are gone, words that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core import forking
from rondo_core.errors import StoreError, one_line
from rondo_core.model.labels import Series
from rondo_core.model.schema import SELF_SCHEMA
from rondo_core.storage.runs import on_record
from rondo_core.units import format_instant

if TYPE_CHECKING:
    from rondo_core.storage.registry import Registry

# What a program runs out of: descriptors, say, for the modules that fold; room on the disk; memory.
NO_ROOM = (OSError, ImportError, MemoryError)


class Notices:
    """The log lines of one store."""

    def __init__(self, store: object) -> None:
        """Begin every line with the store's path."""
        self._store = str(store)
        self._said: set[str] = set()

    def name(self, store: object) -> None:
        """Begin lines with another path from here on, of a store of which nothing was said yet."""
        self._store = str(store)
        self._said.clear()

    def warn(self, line: str) -> None:
        """Log a line, where the program can still load what logs: in another root or as another user it may not."""
        try:
            forking.load("logging")
            import logging
        except (ImportError, OSError):
            return
        logging.getLogger("rondo.store").warning("%s: %s", self._store, line)

    def once(self, key: str, line: str) -> None:
        """Log a line, unless one was logged under this key."""
        if key not in self._said:
            self._said.add(key)
            self.warn(line)

    def leave_out(self, key: str) -> None:
        """Log nothing under this key from now on."""
        self._said.add(key)

    def of_words(self, series: Series, help_text: str | None, unit: str | None) -> None:
        """Log what is given for a series that has another, once for each metric; what is on record stands.

        Not of what a store counts of itself: another version of rondo had other words for it.
        """
        if series.schema == SELF_SCHEMA:
            return
        for word, new, old in (("help", help_text, series.help), ("unit", unit, series.unit)):
            if new and new != old:
                mend = "values of another unit need another name" if word == "unit" else "rondo info shows it"
                had = repr(old) if old else f"no {word}"
                line = f"{series}: {word} {new!r}: declared with {had}, which stays; {mend}"
                self.once(f"{series.name} {word}", line)

    def of_files(self, registry: Registry) -> None:
        """Log that files were removed or replaced: what is recorded on is lost with them."""
        if "files" not in self._said and not registry.is_in_place():
            what = "was removed, or replaced, while it is open; what is recorded on is lost when it is closed"
            self.once("files", what)

    def of_disk(self, sync: Callable[[], None]) -> None:
        """Write to the disk; where that fails, log why, once for each reason: a tick goes on recording."""
        try:
            sync()
        except (StoreError, OSError) as error:
            line = one_line(error)
            self.once(line, f"not written to the disk: {line}")

    def of_fold(self, fold: Callable[[int], object], bucket: int) -> None:
        """Fold up to a bucket; where there is no room for that, log why, once for each reason: the next tick folds."""
        try:
            fold(bucket)
        except NO_ROOM as error:
            line = one_line(error)
            self.once(line, f"not folded: {line}")

    def of_steps(self, moved: list[tuple[int, int]], now_ns: int) -> None:
        """Log that the clock stepped back, and that it returned, once for all schemas; see `ClockSteps`."""
        if not moved:
            return
        told = [moved.pop() for _ in range(len(moved))]  # another thread may add to it meanwhile
        set_aside, returned = map(sum, zip(*told, strict=True))
        if set_aside:
            what = f"{set_aside} rows of what it took back are set aside, and there again if it returns"
            self.warn(f"the clock stepped back to {format_instant(on_record(now_ns))}; {what}")
        if returned:
            what = f"{returned} rows that were set aside are there again"
            self.warn(f"the clock went on to {format_instant(on_record(now_ns))}; {what}")
