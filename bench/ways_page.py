"""Write the tables of docs/scale.md from bench/results/ways.json: what was measured, and what it comes to on paper.

Between two measurements, of lives that are short and lives that are long, what a way takes is split into what a life
takes and what a sample takes: amount = lives * per_life + samples * per_sample. A third measurement, of other lives and
more of them, says how far off that is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "bench/results/ways.json", ROOT / "docs/scale.md"
SENDERS = ("remote-write", "OTLP", "CSV", "JSON lines", "Parquet")
FILES = {"CSV", "JSON lines", "Parquet"}  # whose number is none of lives
# A receiver, the way to it, and who is asked the questions.
WAYS = (
    ("VictoriaMetrics", "remote-write", "VictoriaMetrics"),
    ("Prometheus", "remote-write", "Prometheus"),
    ("InfluxDB", "remote-write", ""),
    ("OTLP", "OTLP", ""),
    ("CSV", "CSV", ""),
    ("JSON lines", "JSON lines", ""),
    ("Parquet", "Parquet", "DuckDB, Parquet"),
    ("", "", "Spark, Parquet"),
    ("", "", "rondo, the stores"),
)
QUESTIONS = ("p95 of peak memory by job", "CPU time by mode", "lives at once")
FIT = re.compile(r"(\d+) lives of (\d+) s")
MILLION, LIFE_S, SERIES = 1_000_000, 60, 15
# What a month of 30 days of a core, of a GB on a disk and of a GB in an object store cost, and 1,000 writes to that:
# round figures of the list prices of large clouds, for the reader to put others in their place.
CORE, DISK_GB, OBJECT_GB, PUTS = 30.0, 0.08, 0.023, 0.005
# How far the third measurement may be off: bytes and requests, which are the same in each run, and CPU time.
STATED_ERROR = {"sent": 0.1, "requests": 0.03, "CPU": 0.35}
STATED_PARQUET_BYTES = 0.3  # the larger its files, the better they pack: the formula, of few lives, gives too much


@attrs.frozen
class Formula:
    """What a way takes. Attributes: `error`, of the third measurement, as a share of what was measured."""

    per_life: float
    per_sample: float
    error: float

    def of(self, lives: float, samples: float) -> float:
        """Give what so many lives with so many samples in all take."""
        return lives * self.per_life + samples * self.per_sample


class Figures:
    """What the last run of bench/ways.py has left."""

    def __init__(self, whole: dict[str, Any]) -> None:
        """Take up its cases by name."""
        self.machine: str = whole["machine"]
        self._values = {case["case"]: case["value"] for case in whole["cases"]}
        fits = {name.partition(", ")[2] for name in self._values if FIT.search(name)}
        self._fits = sorted(fits, key=lambda fit: int(FIT.search(fit)[2]))  # type: ignore[index]
        (self.real,) = {name.partition(", ")[2] for name in self._values if re.search(r": CPU, \d+ lives$", name)}

    def get(self, name: str) -> float | None:
        """Give a case's value; None: it was not measured."""
        return self._values.get(name)

    def lives(self) -> int:
        """Count the lives that were sent for real."""
        return int(self.real.split()[0])

    def formula(self, way: str, what: str) -> Formula:
        """Solve for what a life and what a sample take, by the two fits; what: sent, requests or CPU."""
        points = []
        for fit in self._fits:
            lives = int(FIT.search(fit)[1])  # type: ignore[index]
            points.append((lives, self._values[f"{way}: samples, {fit}"], self._values[f"{way}: {what}, {fit}"]))
        (l0, s0, a0), (l1, s1, a1) = points
        per_sample = (a1 * l0 - a0 * l1) / (s1 * l0 - s0 * l1)
        found = Formula((a0 - s0 * per_sample) / l0, per_sample, 0.0)
        measured = self._values[f"{way}: {what}, {self.real}"]
        expected = found.of(self.lives(), self._values[f"{way}: samples, {self.real}"])
        return attrs.evolve(found, error=(expected - measured) / measured)


def rows(cells: list[list[str]]) -> str:
    """Write a table, its first row being the head."""
    head, *body = cells
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with so many digits that count, or nothing."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def measured(figures: Figures) -> str:
    """Write what was measured with real receivers."""
    cells = [
        [
            *("way", "samples", "missing", "different", "sent, B a sample", "stored, B a sample"),
            *("sender, CPU s a million", "receiver, CPU s a million", "requests or files"),
            *(f"{name}, CPU ms" for name in QUESTIONS),
        ]
    ]
    for receiver, sender, asked in WAYS:
        line = [f"{receiver}, asked by {asked.partition(',')[0]}" if receiver == "Parquet" else receiver or asked]
        if receiver:
            samples = figures.get(f"{sender}: samples, {figures.real}") or 1.0
            sent, cpu_s = (figures.get(f"{sender}: {what}, {figures.real}") for what in ("sent", "CPU"))
            line += [number(figures.get(f"{receiver}: {what}")) for what in ("points", "missing", "different")]
            line += [number(None if sent is None else sent / samples)]
            line += [number(figures.get(f"{receiver}: stored"))]
            line += [number(None if cpu_s is None else cpu_s / samples * MILLION)]
            line += [number(figures.get(f"{receiver}: receiver's CPU"))]
            line += [number(figures.get(f"{sender}: requests, {figures.real}"))]
        else:
            line += [""] * 8
        line += [number(figures.get(f"{asked}: {name}")) if asked else "" for name in QUESTIONS]
        cells.append(line)
    return rows(cells)


def formulas(figures: Figures) -> str:
    """Write what a life and a sample take, and how far off the formula is."""
    cells = [["way", "bytes", "off by", "requests or files", "off by", "CPU, µs", "off by"]]
    for way in SENDERS:
        line = [way]
        for what, scale in (("sent", 1.0), ("requests", 1.0), ("CPU", 1e6)):
            if what == "requests" and way in FILES:
                line += ["", ""]
                continue
            found = figures.formula(way, what)
            life, sample = found.per_life * scale, found.per_sample * scale
            line += [f"{number(life, 3)} l + {number(sample, 3)} s", f"{found.error:+.0%}"]
        cells.append(line)
    return rows(cells)


def on_paper(figures: Figures) -> str:
    """Write what a million lives a day come to."""
    samples = float(MILLION * LIFE_S * SERIES)
    cells = [
        [
            *("way", "sent, GB a day", "requests or files a day", "sender, cores", "receiver, cores"),
            *("stored, GB a day", "cost a day, a month kept"),
        ]
    ]
    for receiver, sender, _ in WAYS:
        if not receiver:
            continue
        sent, requests, cpu_s = (
            figures.formula(sender, what).of(MILLION, samples) for what in ("sent", "requests", "CPU")
        )
        if sender in FILES:
            requests = files_of(figures, sender, samples)
        stored, spent = (figures.get(f"{receiver}: {what}") for what in ("stored", "receiver's CPU"))
        cores = cpu_s / 86_400
        receiving = None if spent is None else spent * samples / MILLION / 86_400
        stored_gb = None if stored is None else stored * samples / 1e9
        lake = receiver == "Parquet"
        cost = (cores + (receiving or 0)) * CORE / 30 + (requests / 1000 * PUTS if lake else 0)
        cost += (stored_gb or 0) * (OBJECT_GB if lake else DISK_GB)
        line = [receiver, number(sent / 1e9), number(requests), number(cores), number(receiving), number(stored_gb)]
        cells.append([*line, "" if stored is None else f"${cost:.2f}"])
    return rows(cells)


def files_of(figures: Figures, way: str, samples: float) -> float:
    """Give how many files so many samples are: of lines one, of Parquet as many a sample as were measured."""
    if way != "Parquet":
        return 1.0
    files, taken = (figures.get(f"{way}: {what}, {figures.real}") or 0.0 for what in ("requests", "samples"))
    return files / taken * samples


def blocks() -> dict[str, str]:
    """Make what stands between the page's marks, by name."""
    figures = Figures(json.loads(RESULTS.read_text()))
    about = f"*{figures.lives():,} lives; {figures.machine}*"
    return {
        "measured": f"{measured(figures)}\n\n{about}",
        "formulas": formulas(figures),
        "paper": on_paper(figures),
    }


def whole() -> str:
    """Give the page with its tables as the results make them."""
    text = PAGE.read_text()
    for name, block in blocks().items():
        made = rf"\g<1>{block}\n\g<2>"
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", made, text, flags=re.DOTALL)
        if count != 1:
            raise RuntimeError(f"{PAGE}: {count} places for {name}; one is needed")
    return text


def off() -> Iterator[str]:
    """Name the formulas that are further off than is stated."""
    figures = Figures(json.loads(RESULTS.read_text()))
    for way in SENDERS:
        for what, usual in STATED_ERROR.items():
            if what == "requests" and way in FILES:
                continue
            stated = STATED_PARQUET_BYTES if (way, what) == ("Parquet", "sent") else usual
            if abs(error := figures.formula(way, what).error) > stated:
                yield f"{way}, {what}: off by {error:+.1%}; at most {stated:.0%} is stated"


def main() -> int:
    """Write the page, or with --check say whether it is what the results make, and as near as is stated."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(whole())
        return 0
    wrong = [*off()]
    if PAGE.read_text() != whole():
        wrong.append(f"{PAGE.name}: not what bench/results make it; run bench/ways_page.py")
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
