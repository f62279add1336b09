"""Bars as SVG, drawn from what a benchmark has left: one file for each benchmark that a picture says more of."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import Any

WIDTH, LABEL, NUMBER, ROW, TOP = 960, 480, 80, 20, 44
OURS, THEIRS, FLOOR = "#00796b", "#b0bec5", "#eceff1"
Case = dict[str, Any]


def _value(case: Case) -> float:
    return float(case["value"])


def _percent(case: Case) -> float:
    return 100.0 * float(case["ratio"] or 0.0)


# bench -> title, unit, which cases, what of each, whether the axis is logarithmic
PLOTS: dict[str, tuple[str, str, Callable[[Case], bool], Callable[[Case], float], bool]] = {
    "write_path": ("One record, CPU time", "ns", lambda case: case["unit"] == "ns", _value, True),
    "write_peers": ("One record, p50", "ns", lambda case: ": p50 " in case["case"], _value, True),
    "read_path": ("Reading, folding and opening, CPU time", "us", lambda case: case["unit"] == "us", _value, True),
    "export": ("Export, CPU time", "s/million samples", lambda case: case["case"].endswith(": CPU"), _value, False),
    "vmm_scale": (
        "Memory that monitoring adds to a VM (PSS)", "KiB", lambda case: "memory (PSS)" in case["case"], _value, True
    ),
    "vmm_capture": (
        "Seconds of a VM's life that are there afterwards", "%", lambda case: "covered" in case["case"], _percent, False
    ),
}  # fmt: skip


def plot(whole: dict[str, Any]) -> str:
    """Draw a benchmark's bars; empty where it has no picture."""
    if whole["bench"] not in PLOTS:
        return ""
    title, unit, wanted, reading, logarithmic = PLOTS[whole["bench"]]
    rows = {case["case"]: reading(case) for case in whole["cases"] if wanted(case)}
    return bars(f"{title}, {unit}", rows, logarithmic=logarithmic)


def bars(title: str, rows: dict[str, float], *, logarithmic: bool) -> str:
    """Draw one bar a row, from the left; rondo's in its own colour."""
    room = WIDTH - LABEL - NUMBER
    most = max([*rows.values(), 1e-9])
    least = min([value for value in rows.values() if value > 0], default=1.0) / 2

    def length(value: float) -> float:
        if value <= 0:
            return 0.0
        return room * (math.log(value / least) / math.log(most / least) if logarithmic else value / most)

    height = TOP + ROW * len(rows) + 8
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            'font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="24" font-size="15">{escape(title)}{" (logarithmic)" if logarithmic else ""}</text>',
    ]
    for index, (name, value) in enumerate(rows.items()):
        y = TOP + ROW * index
        colour = FLOOR if "floor" in name else OURS if _ours(name) else THEIRS
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y + 3}" width="{length(value):.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<text x="{LABEL + length(value) + 4:.1f}" y="{y + 14}">{value:,.3g}</text>'
            if value < 1000
            else f'<text x="{LABEL + length(value) + 4:.1f}" y="{y + 14}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


OTHERS = ("prometheus", "opentelemetry", "statsd", "sqlite", "whisper", "rrdtool", "a line in", "numpy", "call floor")


def _ours(name: str) -> bool:
    return not any(other in name.lower() for other in OTHERS)
