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
class _LineSpec:
    label: str
    selectors: tuple[str, ...]
    fn: str = "rate"


@attrs.frozen
class _ChartSpec:
    title: str
    unit: Unit
    lines: tuple[_LineSpec, ...]


_CHARTS = (
    _ChartSpec(
        "CPUs in use",
        "cpus",
        (
            _LineSpec("all", ("job_cpu_seconds_total", "vmm_cpu_seconds_total", "process_cpu_seconds_total")),
            _LineSpec("system", ("job_cpu_seconds_total{mode=system}",)),
        ),
    ),
    _ChartSpec(
        "Memory",
        "bytes",
        (
            _LineSpec("in use", ("job_memory_bytes", "vmm_rss_bytes", "process_resident_memory_bytes"), "max"),
            _LineSpec("without cache", ("job_memory_anonymous_bytes",), "max"),
            _LineSpec("swap", ("job_memory_swap_bytes",), "max"),
        ),
    ),
    _ChartSpec(
        "Storage",
        "bytes per second",
        (
            _LineSpec("read", ("job_io_bytes_total{direction=read}",)),
            _LineSpec("written", ("job_io_bytes_total{direction=write}",)),
        ),
    ),
    _ChartSpec(
        "Network",
        "bytes per second",
        (
            _LineSpec("received", ("job_network_bytes_total{direction=receive}",)),
            _LineSpec("sent", ("job_network_bytes_total{direction=transmit}",)),
        ),
    ),
    _ChartSpec(
        "Processes and threads",
        "",
        (
            _LineSpec("processes", ("job_processes",), "max"),
            _LineSpec("threads", ("job_threads", "process_threads"), "max"),
            _LineSpec("open files", ("job_open_files", "vmm_open_fds", "process_open_fds"), "max"),
        ),
    ),
    _ChartSpec("Exits of virtual CPUs", "per second", (_LineSpec("all", ("vcpu_exits_total",)),)),
)


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the charts of what is recorded."""
    charts = [chart for each in _CHARTS if (chart := _chart_of(subject, each)) is not None]
    return [Section("Over its time", 20, charts=charts)] if charts else []


def _chart_of(subject: Subject, spec: _ChartSpec) -> Chart | None:
    """Make one chart; None where nothing of it is recorded, or all of it is nought."""
    grid: tuple[object, float] | None = None
    times = np.empty(0)
    step_s = 1.0
    lines: list[ChartLine] = []
    for line in spec.lines:
        selector = next((each for each in line.selectors if subject.has(each)), None)
        found = None if selector is None else subject.over_time(selector, line.fn, MOST_POINTS)
        if selector is None or found is None:
            continue
        stamps, values, length = found
        if grid is None:
            grid, times, step_s = (len(stamps), length), stamps, length
        elif len(stamps) != len(times) or stamps[0] != times[0] or length != step_s:
            values = _resampled(times, step_s, stamps, values)
        low = None
        if line.fn == "max" and line is spec.lines[0]:
            least = subject.over_time(selector, "min", MOST_POINTS)
            low = least[1] if least is not None and len(least[1]) == len(times) else None
        if np.nanmax(values, initial=0.0) > 0:
            lines.append(ChartLine(line.label, values, low))
    if not lines:
        return None
    return Chart(spec.title, spec.unit, times, step_s, lines, *_limit(subject, spec, lines))


def _resampled(times: np.ndarray, step_s: float, stamps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Place the points of another grid on this one."""
    out = np.full(len(times), np.nan)
    index = np.floor((stamps - times[0]) / step_s + 1e-9).astype(int)
    inside = (index >= 0) & (index < len(times))
    out[index[inside]] = values[inside]
    return out


def _limit(subject: Subject, spec: _ChartSpec, lines: Sequence[ChartLine]) -> tuple[float | None, str]:
    asked = {"cpus": cpus_asked, "bytes": memory_asked}.get(spec.unit)
    limit, whose = asked(subject) if asked is not None else (0.0, "")
    peak = max(float(np.nanmax(each.values, initial=0.0)) for each in lines)
    return limit if 0 < limit <= peak * _LIMIT_SHOWN else None, f"limit ({whose})"
