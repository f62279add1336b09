"""What a person should change: asked for 8 CPUs and used 1.3, near the limit of memory, held back, stalled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rondo_job.reports.content import number_text
from rondo_job.reports.subject import Subject

_LONG_ENOUGH_S = 5.0  # below it a share of the CPUs tells nothing
_ROOM = 1.3  # what is asked for beside the most that was used
_MIB = 1 << 20


def cpus_asked(subject: Subject) -> tuple[float, str]:
    """Give how many CPUs the life had, and by whose word; 0: not known."""
    if subject.life is None:
        return 0.0, ""
    start = subject.life.start
    asked = start.environment.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdigit() and int(asked):
        return float(asked), "SLURM"
    if start.cpu_limit:
        return start.cpu_limit, "its limit"
    return float(start.host.n_cpus), "the machine's"


def memory_asked(subject: Subject) -> tuple[float, str]:
    """Give how much memory the life had in bytes, and by whose word; 0: not known."""
    if subject.life is None:
        return 0.0, ""
    start = subject.life.start
    asked = start.environment.get("SLURM_MEM_PER_NODE", "")
    if asked.isdigit() and int(asked):
        return float(int(asked) * _MIB), "SLURM"
    if start.memory_limit_bytes:
        return float(start.memory_limit_bytes), "its limit"
    return float(start.host.memory_bytes), "the machine's"


def advice(subject: Subject, known: Mapping[str, float]) -> list[str]:
    """Say what should be changed. Args: `known`: the figures of the life that there are, by name."""
    if subject.life is None:
        return []
    return [*_of_memory(subject, known), *_of_limits(subject, known), *_of_cpu(subject, known)]


def _of_cpu(subject: Subject, known: Mapping[str, float]) -> Iterator[str]:
    asked, whose = cpus_asked(subject)
    used = known.get("cpus_used", 0.0)
    is_asked = whose != "the machine's"
    busiest = _busiest(subject) or used
    held = known.get("cpu_throttled", 0.0)
    stalled = known.get("cpu_stalled", 0.0)
    waited = stalled > 0.2 * subject.duration_s  # who waits for CPUs used fewer than it could
    is_whole = subject.outcome in {"well", "live"}  # of what ended early nobody knows what it would have used
    if is_whole and subject.duration_s >= _LONG_ENOUGH_S and asked >= 2 and busiest < asked * 0.6 and not waited:
        enough = max(1, math.ceil(busiest * _ROOM))
        begin = f"Asked for {asked:g} CPUs" if is_asked else f"Had {asked:g} CPUs"
        words = f"{begin}, used {used:.2g} on average and {busiest:.2g} at most: "
        if enough < asked:
            yield words + (f"{enough} would do." if is_asked else f"a machine of {enough} would do, or more at once.")
    if held > 0.05 * subject.duration_s:
        share = number_text(held / subject.duration_s, "ratio")
        yield f"Held back by its limit of CPU for {number_text(held, 'seconds')}, {share} of the time: raise it."
    if subject.duration_s >= 1 and waited and held <= 0.05 * subject.duration_s:
        share = number_text(stalled / subject.duration_s, "ratio")
        yield f"Waited for a CPU in {share} of the time: others use this machine, or there are more threads than CPUs."


def _busiest(subject: Subject) -> float | None:
    """Give the most CPUs that were in use over some seconds together."""
    points = subject.over_time("job_cpu_seconds_total", "rate", 60)
    if points is None:
        return None
    values = [each for each in points[1].tolist() if not math.isnan(each)]
    return max(values, default=None)


def _of_memory(subject: Subject, known: Mapping[str, float]) -> Iterator[str]:
    asked, whose = memory_asked(subject)
    peak = known.get("memory_anonymous_peak") or known.get("memory_peak") or 0.0
    if asked and known.get("oom_kills"):
        yield f"Killed for want of memory: the peak was {number_text(known.get('memory_peak'), 'bytes')}; give it more."
    elif asked and whose != "the machine's" and peak > 0.9 * asked:
        yield f"Came within {number_text(max(0.0, 1 - peak / asked), 'ratio')} of its limit of memory: raise it."
    elif asked and whose != "the machine's" and 0 < peak < 0.5 * asked and subject.outcome == "well":
        enough = math.ceil(peak * _ROOM / (64 * _MIB)) * 64 * _MIB
        sizes = [number_text(each, "bytes") for each in (asked, peak, enough)]
        yield "Asked for {} of memory, used {}: {} would do.".format(*sizes)
    elif asked and whose == "the machine's" and peak > 0.9 * asked:
        yield f"Used {number_text(peak / asked, 'ratio')} of the machine's memory: take a larger one, or use less."
    if known.get("swap_peak", 0.0) > 64 * _MIB:
        yield f"Used {number_text(known['swap_peak'], 'bytes')} of swap: it is slower by that; give it more memory."
    for resource, words in (("memory", "memory: it is short of it"), ("io", "a disk: a faster one would help")):
        stalled = known.get(f"{resource}_stalled", 0.0)
        if subject.duration_s >= 1 and stalled > 0.1 * subject.duration_s:
            yield f"Waited in {number_text(stalled / subject.duration_s, 'ratio')} of the time for {words}."


def _of_limits(subject: Subject, known: Mapping[str, float]) -> Iterator[str]:
    assert subject.life is not None  # noqa: S101 - see `advice`
    start, end = subject.life.start, subject.life.end
    files = start.rlimits.get("NOFILE", (-1, -1))[0]
    if files > 0 and known.get("open_files_peak", 0.0) > 0.8 * files:
        yield f"Had {known['open_files_peak']:.0f} files open, of {files}: raise ulimit -n, or look for a leak."
    if start.timeout_s and end is not None and not end.timed_out and subject.duration_s > 0.9 * start.timeout_s:
        share = number_text(subject.duration_s / start.timeout_s, "ratio")
        yield f"Took {share} of its --timeout: give it more time."
    if end is not None and end.left_group:
        yield "Processes of it left its control group: what they took is told in part. Try --method tree."
    if end is not None and end.remaining:
        n = len(end.remaining)
        yield f"Left {n} process{'es' if n > 1 else ''} running at its end: wait for them, or end them."
