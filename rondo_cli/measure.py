"""How long calls take: in turn with what they stand beside, so that a change of the machine's speed touches both."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# CPU time, which other work on the machine lengthens least; nothing that is measured waits for a disk or a network.
now_ns = time.thread_time_ns
process_ns = time.process_time_ns


def machine(*packages: str) -> str:
    """Name the machine, the interpreter, the packages' versions and which hot path runs."""
    from rondo_core.record import handles

    system = f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    versions = [system]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions.append(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    hot = "as Python" if handles.__file__.endswith(".py") else "compiled"
    return ", ".join([*versions, f"hot path {hot}"])


def per_call_ns(call: Callable[[], object], number: int) -> float:
    """Time `number` calls in a loop and give the ns of one, the loop's own cost included."""
    loop = range(number)
    start = now_ns()
    for _ in loop:
        call()
    return (now_ns() - start) / number


def in_turn(
    cases: Mapping[str, Callable[[], float]], repeat: int, done: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Run every case once to warm up, then all of them `repeat` times in turn; call `done` after each."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(repeat + 1):
        for name, case in cases.items():
            value = case()
            done()
            if round_:
                found[name].append(value)
    return found


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Compare run by run."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def case_of(
    bench: str,
    case: str,
    values: Sequence[float],
    unit: str,
    peer: str = "",
    peers: Sequence[float] = (),
    target: float | None = None,
) -> dict[str, Any]:
    """Sum up a case: the median of its runs and, beside a peer, of the ratios; the spread of these, or of the values.

    Args: `target`: the ratio that it should not exceed.
    """
    each = ratios(values, peers) if peers else []
    found = {
        "bench": bench,
        "case": case,
        "value": statistics.median(values),
        "unit": unit,
        "peer": peer,
        "ratio": statistics.median(each) if each else None,
        "n": len(values),
        "spread": [min(each), max(each)] if each else [min(values), max(values)],
    }
    return found | ({} if target is None else {"target": target})
