"""Record the commands of a job that take most CPU or memory, by name; all others are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_job.plugins.totals import Total

if TYPE_CHECKING:
    from rondo_core import Gauge
    from rondo_core.hookspecs import Declare
    from rondo_job.hookspecs import Job

MOST = 8  # commands by name
OTHER = "other"
_WORTH_CPU_S, _WORTH_BYTES = 0.5, 64 << 20  # from which on a command is named, as long as there is room


@hookimpl
def rondo_job_bind(declare: Declare, job: Job) -> Callable[[int], None]:
    """Declare the series of the commands as they are found to matter."""
    return Commands(declare, job).tick


class Commands:
    """What was used by each command, added up over its processes."""

    def __init__(self, declare: Declare, job: Job) -> None:
        """Name none yet."""
        self._declare, self._tree = declare, job.tree
        self._cpu_s: dict[str, float] = {}
        self._seen: dict[tuple[int, int], tuple[str, float]] = {}  # process -> its command, and its CPU when last seen
        self._named: dict[str, tuple[Total, Gauge]] = {}
        self._other = self._series(OTHER)

    def _series(self, command: str) -> tuple[Total, Gauge]:
        cpu = self._declare.counter(
            "job_command_cpu_seconds_total",
            help="CPU time of the processes of a command that were seen; other: all the rest.",
            unit="seconds",
            command=command,
        )
        memory = self._declare.gauge(
            "job_command_memory_bytes",
            help="Resident memory of the processes of a command, added up.",
            unit="bytes",
            peaks=True,
            command=command,
        )
        return Total(cpu), memory

    def tick(self, now_ns: int) -> None:
        """Add up, name those who have come to matter, and record."""
        resident, cpu_s, seen = dict[str, int](), self._cpu_s, self._seen
        alive = dict[tuple[int, int], tuple[str, float]]()
        for process in self._tree.processes.values():
            command, used = process.command, process.cpu_s
            key = process.pid, process.started_ticks
            before = seen.get(key)
            cpu_s[command] = cpu_s.get(command, 0.0) + used - (before[1] if before else 0.0)
            alive[key] = command, used
            resident[command] = resident.get(command, 0) + process.resident_bytes
        self._seen = alive
        if len(self._named) < MOST:
            self._name(resident)
        if len(cpu_s) > 16 * MOST:
            self._cpu_s = {name: used for name, used in cpu_s.items() if name in self._named or name in resident}
        totals = self._tree.totals
        rest_s = totals.user_s + totals.system_s
        for command, (total, gauge) in self._named.items():
            total.follow(self._cpu_s[command], now_ns)
            rest_s -= self._cpu_s[command]
            gauge.set(resident.pop(command, 0), now_ns)
        self._other[0].follow(rest_s, now_ns)
        self._other[1].set(sum(resident.values()), now_ns)

    def _name(self, resident: dict[str, int]) -> None:
        for command in sorted(resident, key=lambda name: -self._cpu_s[name]):
            worth = self._cpu_s[command] >= _WORTH_CPU_S or resident[command] >= _WORTH_BYTES
            if worth and command not in self._named and command and len(self._named) < MOST:
                self._named[command] = self._series(command if command != OTHER else f"{OTHER}_")
