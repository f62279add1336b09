"""The charts of a report: CPU, memory, storage, processes of a run; the vCPU exits of a machine."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from rondo_core import hookimpl
from rondo_job.reports.advice import cpus_asked, memory_asked
from rondo_job.reports.content import Chart, ChartLine, Section, Unit
from rondo_job.reports.subject import Subject

MOST_POINTS = 600
_LIMIT_SHOWN = 4.0  # a limit that lies higher than so many times the peak would flatten the chart


@attrs.frozen
class _Line:
    label: str
    selectors: tuple[str, ...]
    fn: str = "rate"


@attrs.frozen
class _Picture:
    title: str
    unit: Unit
    lines: tuple[_Line, ...]


_PICTURES = (
    _Picture(
        "CPUs in use",
        "cpus",
        (
            _Line("all", ("job_cpu_seconds_total", "vmm_cpu_seconds_total", "process_cpu_seconds_total")),
            _Line("system", ("job_cpu_seconds_total{mode=system}",)),
        ),
    ),
    _Picture(
        "Memory",
        "bytes",
        (
            _Line("in use", ("job_memory_bytes", "vmm_rss_bytes", "process_resident_memory_bytes"), "max"),
            _Line("without cache", ("job_memory_anonymous_bytes",), "max"),
            _Line("swap", ("job_memory_swap_bytes",), "max"),
        ),
    ),
    _Picture(
        "Storage",
        "bytes per second",
        (
            _Line("read", ("job_io_bytes_total{direction=read}",)),
            _Line("written", ("job_io_bytes_total{direction=write}",)),
        ),
    ),
    _Picture(
        "Network",
        "bytes per second",
        (
            _Line("received", ("job_network_bytes_total{direction=receive}",)),
            _Line("sent", ("job_network_bytes_total{direction=transmit}",)),
        ),
    ),
    _Picture(
        "Processes and threads",
        "",
        (
            _Line("processes", ("job_processes",), "max"),
            _Line("threads", ("job_threads", "process_threads"), "max"),
            _Line("open files", ("job_open_files", "vmm_open_fds", "process_open_fds"), "max"),
        ),
    ),
    _Picture("Exits of virtual CPUs", "per second", (_Line("all", ("vcpu_exits_total",)),)),
)


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the charts of what is recorded."""
    charts = [chart for each in _PICTURES if (chart := _drawn(subject, each)) is not None]
    return [Section("Over its time", 20, charts=charts)] if charts else []


def _drawn(subject: Subject, picture: _Picture) -> Chart | None:
    """Make one chart; None where nothing of it is recorded, or all of it is nought."""
    grid: tuple[object, float] | None = None
    times = np.empty(0)
    step_s = 1.0
    lines: list[ChartLine] = []
    for line in picture.lines:
        selector = next((each for each in line.selectors if subject.has(each)), None)
        found = None if selector is None else subject.over_time(selector, line.fn, MOST_POINTS)
        if selector is None or found is None:
            continue
        stamps, values, length = found
        if grid is None:
            grid, times, step_s = (len(stamps), length), stamps, length
        elif len(stamps) != len(times) or stamps[0] != times[0] or length != step_s:
            values = _onto(times, step_s, stamps, values)
        low = None
        if line.fn == "max" and line is picture.lines[0]:
            least = subject.over_time(selector, "min", MOST_POINTS)
            low = least[1] if least is not None and len(least[1]) == len(times) else None
        if np.nanmax(values, initial=0.0) > 0:
            lines.append(ChartLine(line.label, values, low))
    if not lines:
        return None
    return Chart(picture.title, picture.unit, times, step_s, lines, _limit(subject, picture, lines))


def _onto(times: np.ndarray, step_s: float, stamps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Place the points of another grid on this one."""
    out = np.full(len(times), np.nan)
    index = np.floor((stamps - times[0]) / step_s + 1e-9).astype(int)
    inside = (index >= 0) & (index < len(times))
    out[index[inside]] = values[inside]
    return out


def _limit(subject: Subject, picture: _Picture, lines: Sequence[ChartLine]) -> float | None:
    asked = {"cpus": cpus_asked, "bytes": memory_asked}.get(picture.unit)
    if asked is None:
        return None
    limit, _ = asked(subject)
    peak = max(float(np.nanmax(each.values, initial=0.0)) for each in lines)
    return limit if limit and limit <= peak * _LIMIT_SHOWN else None
