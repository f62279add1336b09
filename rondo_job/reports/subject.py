"""The life that a report is of: a run, a machine, or a program with a store of its own, behind one set of readings."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rondo_core import Range, StoreReader
from rondo_core.clock import NS_PER_S
from rondo_core.errors import CorruptStoreError, RondoError, StoreNotFoundError, UnknownSeriesError
from rondo_core.model import store_name
from rondo_core.storage import Event, Run, how_ended, outcome
from rondo_job.life import Life


class Subject:
    """A life open for reading.

    Attributes:
        path: of its store; reader: of it.
        life: its facts where it is a run of `rondo run`, else None.
        run: the newest run on record; start_ns, end_ns: when that began, and its end or its newest sample.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a life. Raises: StoreNotFoundError: none lies there; StoreError, CorruptStoreError: it does not read."""
        self.path = Path(path)
        self.life: Life | None = None
        with suppress(StoreNotFoundError):
            self.life = Life(path)
        self.reader = StoreReader(path)
        runs = self.reader.runs()
        if not runs:
            self.reader.close()
            raise CorruptStoreError(str(self.path / "runs"), "no run is on record; see rondo check", 0)
        self.run: Run = runs[-1]
        self.start_ns = self.run.opened_ns if self.life is None else self.life.start.started_ns
        end = None if self.life is None else self.life.end
        newest = max(self.reader.end_ns(), self.start_ns)
        ended = end.ended_ns if end is not None else self.run.ended_ns if self.writer_pid is None else 0
        self.end_ns = max(ended or newest, self.start_ns + 1)
        # A store of one run is that life's from its first bucket on, which began before the life did.
        is_alone = self.life is not None or len(runs) == 1
        self.range = Range(0 if is_alone else min(self.start_ns, self.end_ns), self.end_ns)

    @property
    def writer_pid(self) -> int | None:
        """Who writes the store now; None: nobody."""
        return self.reader.writer_pid()

    @property
    def name(self) -> str:
        """What the life is called: lives of one name are compared with each other."""
        return self.life.start.name if self.life is not None else store_name(self.path)

    @property
    def duration_s(self) -> float:
        """How long it lasted, or has by now; where that is on record, whatever became of the clock meanwhile."""
        end = self.life.end if self.life is not None else None
        if end is not None and end.lasted_s is not None:
            return end.lasted_s
        return (self.end_ns - self.start_ns) / NS_PER_S

    @property
    def has_begun(self) -> bool:
        """Whether anything of it ran: of a command that could not be begun nothing was measured."""
        end = self.life.end if self.life is not None else None
        return end is None or not end.not_begun

    @property
    def ended(self) -> str:
        """How it ended, in words; "running" where it has not."""
        if self.life is None:
            return how_ended(self.run, self.writer_pid)
        end = self.life.end
        if end is not None:
            return f"{end} (timed out)" if end.timed_out else str(end)
        return "running" if self.life.is_running else "gone; no end is on record"

    @property
    def outcome(self) -> str:
        """Its end, as `rondo_core.storage.outcome` sorts ends."""
        if self.life is None:
            return outcome(self.run, self.writer_pid)
        end = self.life.end
        if end is None:
            return "live" if self.life.is_running else "gone"
        if end.status is None:
            return "unclear"
        return "stopped" if end.timed_out else "well" if end.status == 0 else "failed"

    def has(self, selector: str) -> bool:
        """Say whether a series matches."""
        return bool(self.reader.series(selector))

    def total(self, selector: str) -> float | None:
        """Give what counters grew by in this life, all that match together; None: there are none."""
        return self._whole(selector, "increase", np.nansum)

    def greatest(self, selector: str) -> float | None:
        """Give the greatest that a gauge was, of all that match; None: there is none."""
        return self._whole(selector, "max", np.nanmax)

    def latest(self, selector: str) -> float | None:
        """Give the newest value of a gauge, the greatest of all that match; None: there is none."""
        return self._whole(selector, "last", np.nanmax)

    def average(self, selector: str) -> float | None:
        """Give the mean of a gauge, of all that match together; None: there is none."""
        return self._whole(selector, "avg", np.nansum)

    def _whole(self, selector: str, fn: str, merged: object) -> float | None:
        try:
            found = self.reader.query(selector, self.range, fn=fn, agg=True)
        except UnknownSeriesError:
            return None
        values = np.array([each.values[-1] for each in found if len(each)])
        return float(merged(values)) if len(values) and not np.isnan(values).all() else None  # type: ignore[operator]

    def over_time(
        self, selector: str, fn: str, n_points: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float] | None:
        """Read what matches, added up, in at most `n_points` buckets of equal length.

        Args: `fn`: "rate", which is averaged over a bucket; "max", "min": of which the greatest or least is kept.
        Returns: times in s since the epoch [points], values [points], NaN where absent, and a bucket's length in s;
            None: no series matches.
        """
        try:
            found = self.reader.query(selector, self.range, fn=fn, open=True)
        except (UnknownSeriesError, RondoError):
            return None
        if not any(map(len, found)):
            return None
        finest_ns = min(int(each.interval_ns.min()) for each in found if len(each))
        first_ns = min(int(each.timestamps_ns[0]) for each in found if len(each))
        span = max(self.end_ns - first_ns, 1)
        step_ns = max(finest_ns, -(-span // (n_points * finest_ns)) * finest_ns)
        first_ns = first_ns // step_ns * step_ns
        n = int(-(-(self.end_ns - first_ns) // step_ns))
        total = np.full(n, np.nan)
        for each in found:
            if len(each):
                column = _regrouped(each.timestamps_ns, each.interval_ns, each.values, first_ns, step_ns, n, fn)
                total = np.where(np.isnan(total), column, np.where(np.isnan(column), total, total + column))
        times = (first_ns + step_ns * np.arange(n)) / NS_PER_S
        return times, total, step_ns / NS_PER_S

    def marks(self) -> list[Event]:
        """Give the marks and notes of this life; none where their file is damaged."""
        try:
            found = self.life.marks() if self.life is not None else self.reader.events()
        except RondoError:
            return []
        return [each for each in found if each.time_ns >= self.start_ns - NS_PER_S]

    def close(self) -> None:
        """Release the files."""
        self.reader.close()

    def __enter__(self) -> Self:
        """Hold it open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the files."""
        self.close()


def _regrouped(
    stamps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    values: NDArray[np.float64],
    first_ns: int,
    step_ns: int,
    n: int,
    fn: str,
) -> NDArray[np.float64]:
    """Merge points into buckets of a length: rates weighted by their own length, extremes by the extreme."""
    out = np.full(n, np.nan)
    index = np.clip((stamps - first_ns) // step_ns, 0, n - 1)
    if fn in {"max", "min"}:
        merge = np.fmax if fn == "max" else np.fmin
        merge.at(out, index, values)
    else:
        weight = np.zeros(n)
        summed = np.zeros(n)
        np.add.at(summed, index, values * lengths)
        np.add.at(weight, index, lengths)
        np.divide(summed, weight, out=out, where=weight > 0)
    spans = np.maximum(lengths // step_ns, 1)
    for at in np.flatnonzero(spans > 1):  # a point of a coarser tier holds for all of its bucket
        out[index[at] : index[at] + spans[at]] = values[at]
    return out
