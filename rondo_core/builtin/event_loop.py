"""The recorder `asyncio`: how late an event loop runs what is due, and how many tasks it has.

A timer of the recorder's own is due four times a second in each loop that is watched; its delay is the loop's. A loop
is found by its tasks, without a line of the program's; `watch_loop` names one that is not.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rondo_core import hookimpl
from rondo_core.builtin.kernel_files import rate_limited
from rondo_core.clock import monotonic_ns
from rondo_core.errors import RondoError
from rondo_core.forking import at_fork
from rondo_core.hookspecs import Declare

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

PERIOD_NS = 250_000_000
MOST_LOOPS = 8
_REGISTRIES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")  # of Python 3.11, and from 3.12 on

_named: weakref.WeakSet[Any] = weakref.WeakSet()
# Loops of a process that this one was forked from: to touch them would wake the parent's.
_inherited: weakref.WeakSet[Any] = weakref.WeakSet()
_recording: weakref.WeakSet[_Loops] = weakref.WeakSet()


def watch_loop(loop: AbstractEventLoop | None = None) -> None:
    """Let the recorder `asyncio` watch a loop, by default the running one, that has no tasks to be found by.

    Raises: RuntimeError: none is given, and none runs in this thread.
    """
    import asyncio

    _named.add(loop or asyncio.get_running_loop())


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None]:
    """Declare the series of the loops; they have no samples while no loop runs."""
    return _Loops(declare).tick


class _Loops:
    """The loops that are watched, at most eight; all of them share the series."""

    def __init__(self, declare: Declare) -> None:
        text = "How late the event loop ran a timer, four times a second."
        self._lag = declare.summary("asyncio_loop_lag_seconds", help=text, unit="seconds")
        text = "For how long the event loop has run nothing that is due."
        self._blocked = declare.gauge("asyncio_loop_blocked_seconds", help=text, unit="seconds")
        self._tasks = declare.gauge("asyncio_tasks", help="Tasks that are not done.")
        self._timers: list[_Timer] = []
        self._count = rate_limited(self._count_tasks)
        _recording.add(self)

    def tick(self, now_ns: int) -> None:
        if "asyncio" not in sys.modules:
            return
        self._timers = [timer for timer in self._timers if timer.lives()]
        for loop in list(_named):
            self._watch(loop)
        self._count(now_ns)
        running = [timer for timer in self._timers if timer.runs()]
        if running:
            at_ns = monotonic_ns()
            self._blocked.set(max(timer.overdue_ns(at_ns) for timer in running) / 1e9, now_ns)

    def observe(self, late_ns: int) -> bool:
        """Take one delay, and say whether more are wanted."""
        try:
            self._lag.observe(late_ns / 1e9)
        except RondoError:  # the store was closed
            return False
        return True

    def forget(self) -> None:
        """Leave the loops to the parent, in a forked child."""
        _inherited.update(loop for timer in self._timers if (loop := timer.loop()) is not None)
        self._timers = []

    def _count_tasks(self, now_ns: int) -> None:
        counts: dict[Any, int] = {}
        for task in _tasks(timer.loop() for timer in self._timers):
            if not task.done():
                loop = task.get_loop()
                counts[loop] = counts.get(loop, 0) + 1
        for loop in counts:
            self._watch(loop)
        if self._timers:
            self._tasks.set(sum(count for loop, count in counts.items() if loop not in _inherited), now_ns)

    def _watch(self, loop: Any) -> None:
        """Start a timer in a loop that runs, unless it has one."""
        if len(self._timers) >= MOST_LOOPS or loop in _inherited or not loop.is_running():
            return
        if all(timer.loop() is not loop for timer in self._timers):
            timer = _Timer(loop, self)
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(timer.start)
                self._timers.append(timer)


class _Timer:
    """A timer of a loop's that starts itself anew; it keeps neither the loop nor the recorder, and ends with either."""

    def __init__(self, loop: Any, recorder: _Loops) -> None:
        self.loop, self._recorder = weakref.ref(loop), weakref.ref(recorder)
        self._due_ns, self._rested = monotonic_ns(), False

    def start(self) -> None:
        loop = self.loop()
        if loop is not None:
            self._due_ns = monotonic_ns() + PERIOD_NS
            loop.call_later(PERIOD_NS / 1e9, self._run)

    def _run(self) -> None:
        """Take the delay, but not that of a loop which was stopped meanwhile, and go on."""
        late_ns, recorder = max(0, monotonic_ns() - self._due_ns), self._recorder()
        if recorder is not None and (self._rested or recorder.observe(late_ns)):
            self._rested = False
            self.start()

    def lives(self) -> bool:
        loop = self.loop()
        return loop is not None and not loop.is_closed()

    def runs(self) -> bool:
        """Say whether the loop runs; where it does not, the timer's next delay says nothing of it."""
        loop = self.loop()
        if loop is None or not loop.is_running():
            self._rested = True
        return not self._rested

    def overdue_ns(self, at_ns: int) -> int:
        return max(0, at_ns - self._due_ns)


def _tasks(loops: Iterable[Any]) -> list[Any]:
    """List the tasks of all loops; where asyncio has no such list, those of the loops that are known."""
    module = sys.modules["asyncio.tasks"]
    kept = [getattr(module, name) for name in _REGISTRIES if hasattr(module, name)]
    with contextlib.suppress(RuntimeError):  # other threads make tasks meanwhile, and it is left to the next tick
        if kept:
            return [task for tasks in kept for task in list(tasks)]
        return [task for loop in list(loops) if loop is not None for task in module.all_tasks(loop)]
    return []


def _in_child() -> None:
    for recorder in list(_recording):
        recorder.forget()
    if "asyncio.tasks" in sys.modules:
        _inherited.update({task.get_loop() for task in _tasks(())})


at_fork(after_in_child=_in_child)
