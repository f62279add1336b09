"""Which of many stores are asked: those that a program of a name wrote, and of these the newest."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import attrs

from rondo_core.errors import RondoError, UsageError, printable
from rondo_core.model import layout
from rondo_core.storage.ended import is_ended_name
from rondo_core.storage.lock import writer_pid
from rondo_core.storage.runs import newest_run

_SHOWN = 5
_OF_RUN = "run "  # what stands before the name of a job that `rondo run` recorded


@attrs.frozen
class StoreChoice:
    """Which stores of a directory are asked.

    Attributes: `last`: only so many, those whose newest run began last; 0: all. `job`: only those whose writer has this
    name, in which `*` and `?` stand for others; empty: all.
    """

    last: int = attrs.field(default=0)
    job: str = ""

    @last.validator
    def _check(self, _attribute: object, last: int) -> None:
        if last < 0:
            raise UsageError(f"last {last}: give how many stores are asked, or 0 for all")

    def __bool__(self) -> bool:
        """Say whether it leaves any store out."""
        return bool(self.last or self.job)


ALL_STORES = StoreChoice()


class NewestStores:
    """Who wrote each of many stores last, and since when: looked for once for each run. Threads may share it."""

    def __init__(self) -> None:
        """Know of no store yet."""
        self._known: dict[Path, tuple[tuple[int, ...], int, str]] = {}
        self._dead: dict[Path, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def choose(self, choice: StoreChoice, stores: Sequence[Path]) -> list[Path]:
        """Give the stores that are asked, in the order in which they were given; of a store of the ended nothing.

        Raises: UsageError: there are stores, and none has a writer of that name.
        """
        if not choice:
            return list(stores)
        begun: list[tuple[int, int, Path, str]] = []
        for place, path in enumerate(stores):
            if not is_ended_name(path.name):
                opened_ns, writer = self._look(path)
                begun.append((opened_ns, place, path, writer))
        chosen = [each for each in begun if not choice.job or fnmatch.fnmatchcase(each[3], choice.job)]
        if choice.job and begun and not chosen:
            raise UsageError(_nobody(choice.job, (writer for *_, writer in begun)))
        kept = sorted(sorted(chosen)[-choice.last :], key=lambda each: each[1])
        return [path for _, _, path, _ in kept]

    def newest_first(self, stores: Sequence[Path], most: int) -> list[Path]:
        """Give so many of the stores: those that are written, and then those whose newest run began last."""
        if len(stores) <= most:
            return list(stores)
        order = [(not self._is_written(path), -self._look(path)[0], place) for place, path in enumerate(stores)]
        return [stores[place] for _, _, place in sorted(order)[:most]]

    def written(self, stores: Iterable[Path]) -> list[Path]:
        """Give those that a process writes."""
        return [path for path in stores if self._is_written(path)]

    def forget_others(self, there: Collection[Path]) -> None:
        """Forget the stores that are not there any more."""
        with self._lock:
            for known in (self._known, self._dead):
                for path in [each for each in known if each not in there]:
                    del known[path]

    def _is_written(self, path: Path) -> bool:
        """Say whether a process writes a store; of one without a writer it is not asked again before its next run."""
        self._look(path)
        with self._lock:
            version = self._known[path][0] if path in self._known else ()
            if version and self._dead.get(path) == version:
                return False
        if writer_pid(path / layout.LOCK_FILE) is not None:
            return True
        with self._lock:
            self._dead[path] = version
        return False

    def _look(self, path: Path) -> tuple[int, str]:
        try:
            found = (path / layout.RUNS_FILE).stat()
            version = found.st_dev, found.st_ino, found.st_mtime_ns
            with self._lock:
                known = self._known.get(path)
            if known is None or known[0] != version:
                run = newest_run(path / layout.RUNS_FILE)
                known = version, run.opened_ns if run else 0, (run.writer if run else "").removeprefix(_OF_RUN)
                with self._lock:
                    self._known[path] = known
        except (RondoError, OSError):  # who reads the store says why
            return 0, ""
        return known[1:]


def _nobody(job: str, writers: Iterable[str]) -> str:
    names = sorted({each for each in writers if each})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    there = f"; there are {', '.join(names[:_SHOWN])}{more}" if names else ""
    return printable(f"{job}: no store here has a writer of this name{there}")
