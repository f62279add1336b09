"""Tasks of Celery, recorded from its signals: how many by name and state, how long, how many at once.

celery_tasks_total{state,task}
celery_task_duration_seconds             of all tasks, with quantiles where the store has room for a sketch
celery_task_name_duration_seconds{task}  of each task
celery_task_retries_total{task}
celery_tasks_in_progress
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from celery import signals

from rondo_bridges.durations import declare_summary
from rondo_bridges.failures import Failures
from rondo_bridges.process_store import ProcessStore, Source
from rondo_bridges.readings import Readings

RECYCLED = 155  # the status of a pool's process that has had its share of tasks; source: billiard.pool, EX_RECYCLE
MAX_STARTED = 10_000  # tasks whose begin is remembered: one that was killed has no end


class TaskSignals:
    """Listens to the tasks of this process, and of each that is forked from it, from the first task on.

    Attributes: `failures`: what could not be recorded; nothing is raised.
    """

    def __init__(
        self, store: Source = None, *, labels: Mapping[str, str] | None = None, max_series: int = 1000
    ) -> None:
        """Connect to Celery's signals, until `close`.

        Args: `store`: for a worker of several processes a callable that opens one in each, for example
            `lambda: Store.for_process("metrics")`; or None for `open_store`; `labels`: further ones of each series;
            `max_series`: what is beyond is left out.
        """
        self.failures = Failures("celery")
        self._labels, self._max_series = dict(labels or {}), max_series
        self._process = ProcessStore(store, self._begin)
        self._begin()
        self._connected: list[tuple[Any, Callable[..., None]]] = [
            (signals.task_prerun, self._started),
            (signals.task_postrun, self._ended),
            (signals.task_retry, self._retried),
            (signals.task_revoked, self._revoked),
            (signals.worker_process_shutdown, self._process_ended),
        ]
        for signal, listener in self._connected:
            signal.connect(listener, weak=False)

    def close(self) -> None:
        """Listen no more; the store stays open."""
        for signal, listener in self._connected:
            signal.disconnect(listener)

    def _begin(self) -> None:
        self._lock, self._started_s = threading.Lock(), dict[str, float]()
        self._readings: Readings | None = None
        self._all: Any = None

    def _declared(self) -> Readings:
        with self._process.lock:
            if self._readings is None:
                store = self._process.get()
                name = "celery_task_duration_seconds"
                self._all = declare_summary(store, name, self._labels, "Seconds that tasks ran.", quantiles=True)
                self._readings = Readings(store, self.failures, self._max_series)
            return self._readings

    def _guarded(self, record: Callable[[Readings], None]) -> None:
        try:
            record(self._readings or self._declared())
        except Exception as error:  # noqa: BLE001 - tasks run whatever becomes of their numbers
            self.failures.take(error)

    def _in_progress(self, readings: Readings) -> None:
        readings.level("celery_tasks_in_progress", self._labels, len(self._started_s), "Tasks that run.")

    def _count(self, readings: Readings, name: str, help_text: str, **labels: str) -> None:
        counter = readings.handle("counter", name, {**labels, **self._labels}, help_text)
        if counter is not None:
            counter.inc()

    # -- what the signals call; all that they bring beside is in `_`

    def _started(self, task_id: str = "", **_: Any) -> None:
        def record(readings: Readings) -> None:
            with self._lock:
                if len(self._started_s) >= MAX_STARTED:
                    self._started_s.pop(next(iter(self._started_s)))
                self._started_s[task_id] = perf_counter()
            self._in_progress(readings)

        self._guarded(record)

    def _ended(self, task_id: str = "", task: Any = None, state: str | None = "", **_: Any) -> None:
        def record(readings: Readings) -> None:
            with self._lock:
                start_s = self._started_s.pop(task_id, None)
            self._in_progress(readings)
            name = str(task.name)
            self._count(readings, "celery_tasks_total", "Tasks that ended.", task=name, state=str(state or "UNKNOWN"))
            if start_s is not None:
                duration_s = perf_counter() - start_s
                self._all.observe(duration_s)
                labels = {"task": name, **self._labels}
                summary = readings.handle(
                    "summary", "celery_task_name_duration_seconds", labels, "Seconds that a task ran.", "seconds"
                )
                if summary is not None:
                    summary.observe(duration_s)

        self._guarded(record)

    def _retried(self, sender: Any = None, **_: Any) -> None:
        self._guarded(
            lambda readings: self._count(
                readings, "celery_task_retries_total", "Times that a task asked to be run again.", task=str(sender.name)
            )
        )

    def _revoked(self, sender: Any = None, **_: Any) -> None:
        self._guarded(
            lambda readings: self._count(
                readings, "celery_tasks_total", "Tasks that ended.", task=str(sender.name), state="REVOKED"
            )
        )

    def _process_ended(self, exitcode: int = 0, **_: Any) -> None:
        """Put the end of a pool's process on record, which runs none of the interpreter's callbacks after this."""
        try:
            self._process.end("returned" if exitcode in {0, RECYCLED} else f"exit status {exitcode}")
        except Exception as error:  # noqa: BLE001 - the process ends whatever becomes of its record
            self.failures.take(error)
