"""The figures of a life that are compared with those of others: how each is read, of a run, a machine or a program."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rondo_job.reports.content import Measure, Unit
from rondo_job.reports.subject import Subject

_CPU = ("job_cpu_seconds_total", "vmm_cpu_seconds_total", "process_cpu_seconds_total")
_MEMORY = ("job_memory_bytes", "vmm_rss_bytes", "process_resident_memory_bytes")
_FILES = ("job_open_files", "vmm_open_fds", "process_open_fds")


@attrs.frozen
class LifeFigure:
    """One figure: its name, title, unit, and how it is read of a life that began."""

    name: str
    title: str
    unit: Unit
    read: Callable[[Subject], float | None]

    def of(self, subject: Subject) -> float | None:
        """Give the figure of a life; None: it has none. Of one that never began only the exit status is known."""
        return self.read(subject) if subject.has_begun or self.name == "exit_status" else None

    def measured(self, subject: Subject) -> Measure:
        """Give the figure of a life as its report has it."""
        return Measure(self.name, self.title, self.of(subject), self.unit, _note(self.name, subject))


def _first(subject: Subject, read: str, selectors: tuple[str, ...]) -> float | None:
    for selector in selectors:
        value: float | None = getattr(subject, read)(selector)
        if value is not None:
            return value
    return None


def _cpu(subject: Subject) -> float | None:
    end = subject.life.end if subject.life is not None else None
    if end is not None and end.cpu_s is not None:
        return end.cpu_s
    return _first(subject, "total", _CPU)


def _memory_peak(subject: Subject) -> float | None:
    """Take the kernel's own peak where there is one; else the greatest that was seen, or one process's own."""
    end = subject.life.end if subject.life is not None else None
    if end is not None and end.memory_peak_bytes is not None:
        return float(end.memory_peak_bytes)
    seen = _first(subject, "greatest", ("job_memory_peak_bytes", *_MEMORY))
    largest = end.usage.max_rss_bytes if end is not None and end.usage is not None else None
    return max(seen or 0.0, float(largest or 0)) or None


def _exit(subject: Subject) -> float | None:
    end = subject.life.end if subject.life is not None else None
    if end is None or end.status is None:
        return None
    return float(128 + end.signal if end.signal else end.exit_code or 0)


def _cores(subject: Subject) -> float | None:
    cpu = _cpu(subject)
    return None if cpu is None or subject.duration_s <= 0 else cpu / subject.duration_s


def _summed(selector: str) -> Callable[[Subject], float | None]:
    return lambda subject: subject.total(selector)


def _greatest(*selectors: str) -> Callable[[Subject], float | None]:
    return lambda subject: _first(subject, "greatest", selectors)


FIGURES = (
    LifeFigure("duration", "duration", "seconds", lambda subject: subject.duration_s),
    LifeFigure("cpu_seconds", "CPU time", "seconds", _cpu),
    LifeFigure("cpus_used", "CPUs used", "cpus", _cores),
    LifeFigure("memory_peak", "peak of memory", "bytes", _memory_peak),
    LifeFigure("memory_anonymous_peak", "peak without cache", "bytes", _greatest("job_memory_anonymous_bytes")),
    LifeFigure("swap_peak", "peak of swap", "bytes", _greatest("job_memory_swap_bytes")),
    LifeFigure("io_read", "read", "bytes", _summed("job_io_bytes_total{direction=read}")),
    LifeFigure("io_written", "written", "bytes", _summed("job_io_bytes_total{direction=write}")),
    LifeFigure("network_received", "received", "bytes", _summed("job_network_bytes_total{direction=receive}")),
    LifeFigure("network_sent", "sent", "bytes", _summed("job_network_bytes_total{direction=transmit}")),
    LifeFigure("processes_peak", "most processes", "", _greatest("job_processes")),
    LifeFigure("threads_peak", "most threads", "", _greatest("job_threads", "process_threads")),
    LifeFigure("open_files_peak", "most open files", "", _greatest(*_FILES)),
    LifeFigure("cpu_throttled", "held back by its limit of CPU", "seconds", _summed("job_cpu_throttled_seconds_total")),
    LifeFigure(
        "cpu_stalled",
        "waited for a CPU",
        "seconds",
        _summed("job_pressure_stalled_seconds_total{resource=cpu,share=some}"),
    ),
    LifeFigure(
        "memory_stalled",
        "waited for memory",
        "seconds",
        _summed("job_pressure_stalled_seconds_total{resource=memory,share=some}"),
    ),
    LifeFigure(
        "io_stalled",
        "waited for a disk",
        "seconds",
        _summed("job_pressure_stalled_seconds_total{resource=io,share=some}"),
    ),
    LifeFigure("oom_kills", "killed for want of memory", "", _summed("job_oom_kills_total")),
    LifeFigure("vcpu_exits", "exits of virtual CPUs", "", _summed("vcpu_exits_total")),
    LifeFigure("exit_status", "exit status", "", _exit),
)
FIGURE_OF = {each.name: each for each in FIGURES}
# What two lives are judged by; others are shown where they are asked for.
COMPARED = ("duration", "cpu_seconds", "memory_peak", "memory_anonymous_peak", "io_read", "io_written")


def _note(name: str, subject: Subject) -> str:
    life = subject.life
    if life is not None and life.end is not None and life.end.left_group and name in {"memory_peak", "cpu_seconds"}:
        return "at least: processes of it left its control group"
    if life is None or name != "memory_peak":
        return ""
    if life.start.method == "tree":
        return "by process tree: a spike between two looks is missed"
    return "with the cache of files"
