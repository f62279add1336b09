"""The recorder `threads`: how many of each name, and what CPU time they take, in a bounded number of groups."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rondo_core import Option, hookimpl
from rondo_core.builtin.kernel_files import rate_limited
from rondo_core.clock import process_cpu_ns, thread_cpu_ns
from rondo_core.hookspecs import Declare

OTHER = "other"
_LONG_NS = 150_000  # of some 100 threads
_KEPT_NAMES = 1000


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name the bound."""
    return [Option("max_groups", "integer", "how many groups of threads have series of their own", 8)]


@hookimpl
def rondo_recorder_bind(declare: Declare, config: Mapping[str, Any]) -> Callable[[int], None]:
    """Declare what has no group of its own; a group is declared when a thread of it is first seen."""
    return rate_limited(_Groups(declare, config["max_groups"]).tick, _LONG_NS)


def group_of(name: str) -> str:
    """Name the group of a thread: its name without numbers at the end; of a plain Thread, what it calls."""
    if name.startswith("Thread-") and name.endswith(")"):
        name = name.partition("(")[2][:-1]
    return name[:64].encode(errors="replace").decode().rstrip("0123456789-_.:# ") or "Thread"


class _Groups:
    """Threads by group: the first groups that are seen have series of their own, the rest share one."""

    def __init__(self, declare: Declare, most: int) -> None:
        self._declare, self._most = declare, most
        self._gauges: dict[str, Any] = {}
        self._counters: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._used_ns: dict[int, int] = {}
        self._attributed_ns, self._pid = 0, os.getpid()
        self._add(OTHER)

    def _add(self, group: str) -> None:
        text, cpu = (
            "Python's threads, by name.",
            "CPU time of threads, by name; other: also of ended and foreign threads.",
        )
        self._gauges[group] = self._declare.gauge("python_threads", help=text, group=group)
        self._counters[group] = self._declare.counter(
            "python_threads_cpu_seconds_total", help=cpu, unit="seconds", group=group
        )

    def _find(self, name: str) -> str:
        """Find the group of a name that was not seen before."""
        group = group_of(name)
        if group not in self._gauges:
            if len(self._gauges) > self._most:
                group = OTHER
            else:
                self._add(group)
        if len(self._names) >= _KEPT_NAMES:
            self._names.clear()
        self._names[name] = group
        return group

    def tick(self, now_ns: int) -> None:
        """Count the threads, and give each group what its threads have used since the last tick."""
        if os.getpid() != self._pid:  # a forked child, whose CPU time begins at 0
            self._pid, self._used_ns, self._attributed_ns = os.getpid(), {}, 0
        used, known = self._used_ns, {}
        counts, spent = dict.fromkeys(self._gauges, 0), dict[str, int]()
        for thread in threading.enumerate():
            name, number = thread.name, thread.native_id
            group = self._names.get(name) or self._find(name)
            counts[group] = counts.get(group, 0) + 1
            with contextlib.suppress(OSError, OverflowError):
                if number is not None:
                    known[number] = now = thread_cpu_ns(number)
                    before = used.get(number, 0)
                    spent[group] = spent.get(group, 0) + (now - before if now >= before else now)
        self._used_ns = known
        self._attributed_ns += sum(spent.values())
        rest = process_cpu_ns() - self._attributed_ns
        if rest > 0:
            self._attributed_ns += rest
            spent[OTHER] = spent.get(OTHER, 0) + rest
        for group, count in counts.items():
            self._gauges[group].set(count, now_ns)
        for group, spent_ns in spent.items():
            self._counters[group].inc(spent_ns / 1e9, now_ns)
