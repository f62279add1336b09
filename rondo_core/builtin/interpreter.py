"""The recorder `python`: garbage collections and their pauses, allocated blocks, traced memory, the version."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from rondo_core import hookimpl
from rondo_core.builtin.kernel_files import FollowedTotal, LateGauge, rate_limited
from rondo_core.clock import monotonic_ns
from rondo_core.hookspecs import Declare

_KEPT_PAUSES = 10_000  # between two ticks, of each generation; the older are not observed then
_GENERATIONS = ("0", "1", "2")
_COUNTS = {
    "collections": ("python_gc_collections_total", "Garbage collections."),
    "collected": ("python_gc_objects_collected_total", "Objects that garbage collections freed."),
    "uncollectable": ("python_gc_objects_uncollectable_total", "Objects that could not be freed."),
}


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None]:
    """Declare the interpreter's series, under the names that prometheus_client gives them where it has one."""
    totals = [
        [
            (what, FollowedTotal(declare.counter(name, help=text, generation=each), 0.0))
            for what, (name, text) in _COUNTS.items()
        ]
        for each in _GENERATIONS
    ]
    info = declare.gauge("python_info", _version(), help="The interpreter; always 1.")
    pauses, collected = _pauses(declare)
    blocks = rate_limited(_blocks(declare))
    traced = _traced(declare)

    def tick(now_ns: int) -> None:
        info.set(1.0, now_ns)
        for counts, generation in zip(gc.get_stats(), totals, strict=False):
            for what, total in generation:
                total.follow(counts[what], now_ns)
        pauses(now_ns)
        blocks(now_ns)
        traced(now_ns)

    gc.callbacks.append(collected)
    weakref.finalize(tick, _remove, collected).atexit = False
    return tick


def _version() -> dict[str, str]:
    major, minor, patch = (str(part) for part in sys.version_info[:3])
    name = sys.implementation.name.replace("cpython", "CPython")
    return {
        "implementation": name,
        "major": major,
        "minor": minor,
        "patchlevel": patch,
        "version": f"{major}.{minor}.{patch}",
    }


def _remove(collected: Any) -> None:
    if collected in gc.callbacks:
        gc.callbacks.remove(collected)


def _pauses(declare: Declare) -> tuple[Callable[[int], None], Callable[[str, dict[str, int]], None]]:
    """Give the tick that observes pauses, and what the collector calls: it only notes, in the middle of anything."""
    name, text = "python_gc_pause_seconds", "How long a garbage collection held up its thread."
    summaries = [declare.summary(name, help=text, unit="seconds", generation=each) for each in _GENERATIONS]
    noted: list[deque[int]] = [deque(maxlen=_KEPT_PAUSES) for _ in _GENERATIONS]
    began = 0

    def collected(phase: str, facts: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = monotonic_ns()
        elif began:
            noted[facts["generation"]].append(monotonic_ns() - began)

    def tick(now_ns: int) -> None:
        for summary, pauses in zip(summaries, noted, strict=True):
            for _ in range(len(pauses)):
                summary.observe(pauses.popleft() / 1e9, now_ns)

    return tick, collected


def _blocks(declare: Declare) -> Callable[[int], None]:
    allocated = declare.gauge("python_allocated_blocks", help="Memory blocks that the interpreter has allocated.")
    return lambda now_ns: allocated.set(sys.getallocatedblocks(), now_ns)


def _traced(declare: Declare) -> Callable[[int], None]:
    """Take what tracemalloc knows while it is on; the series are declared when it first is."""
    text = "Memory that tracemalloc traces, now and at most."
    gauges = [LateGauge(declare, "python_tracemalloc_bytes", text, "bytes", kind=kind) for kind in ("current", "peak")]

    def tick(now_ns: int) -> None:
        module = sys.modules.get("tracemalloc")
        if module is not None and module.is_tracing():
            for gauge, size in zip(gauges, module.get_traced_memory(), strict=True):
                gauge.set(size, now_ns)

    return tick
