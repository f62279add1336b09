"""Two groups of lives compared: each figure judged, each condition looked at."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from rondo_core.errors import printable
from rondo_job.comparison.conditions import FailIf, FailIfResult
from rondo_job.comparison.groups import Expression, MeasuredLife, values_of
from rondo_job.comparison.statistics import BYTES, COUNT, MEMORY, TIME, Change, Sensitivity, compare_runs
from rondo_job.reports.content import TextTable, Unit, number_text
from rondo_job.reports.figures import COMPARED, FIGURE_OF

_SENSITIVITY: dict[str, Sensitivity] = {"seconds": TIME, "bytes": BYTES, "cpus": Sensitivity(resolution=0.02)}
_MOST_COMMANDS = 3
_WORDS = {"more": "▲ more", "less": "▼ less", "same": "same", "cannot tell": "cannot tell"}


@attrs.frozen
class FigureChange:
    """What became of a figure: its name, title, unit, and the change."""

    name: str
    title: str
    unit: Unit
    change: Change


@attrs.frozen
class Comparison:
    """What was found. Attributes: base, new: the lives; figures; conditions, as they turned out."""

    base: Sequence[MeasuredLife]
    new: Sequence[MeasuredLife]
    figures: Sequence[FigureChange]
    conditions: Sequence[FailIfResult]

    @property
    def failed(self) -> list[FailIfResult]:
        """The conditions that are met, so that it fails."""
        return [each for each in self.conditions if each.outcome == "fails"]


def compare_lives(
    base: Sequence[MeasuredLife],
    new: Sequence[MeasuredLife],
    expressions: Sequence[Expression] = (),
    conditions: Sequence[FailIf] = (),
) -> Comparison:
    """Compare the figures that lives are judged by, those of expressions and those that a condition names."""
    names = dict.fromkeys([*COMPARED, *(each.figure for each in conditions), *(each.name for each in expressions)])
    units = {each.name: each.unit for each in expressions}
    figures = []
    for name in names:
        own = FIGURE_OF.get(name)
        unit = own.unit if own is not None else units[name]
        before, after = values_of(base, name), values_of(new, name)
        if before or after:
            change = compare_runs(before, after, sensitivity_of(name, unit))
            figures.append(FigureChange(name, own.title if own is not None else name, unit, change))
    found = {each.name: each.change for each in figures}
    none = Change(None, None, None, None, None, "cannot tell", 0, 0)
    judged = [each.judged(found.get(each.figure, none)) for each in conditions]
    return Comparison(base, new, figures, judged)


def sensitivity_of(name: str, unit: Unit) -> Sensitivity:
    """Give how fine a figure is looked at: memory is the least noisy, and looked at most finely."""
    if name.startswith("memory") and unit == "bytes":
        return MEMORY
    if name not in FIGURE_OF:
        return Sensitivity()  # of an expression: what it counts is not known
    return _SENSITIVITY.get(unit, COUNT)


def as_table(comparison: Comparison) -> TextTable:
    """Put the figures into rows."""
    rows = []
    for each in comparison.figures:
        change = each.change
        ratio = "-" if change.ratio is None else f"{100 * (change.ratio - 1):+.1f} %"
        noise = "-" if change.noise is None else f"± {100 * change.noise:.1f} %"
        band = _band_words(each)
        values = [number_text(value, each.unit) for value in (change.base, change.new)]
        rows.append((each.name, *values, ratio, noise, band, _WORDS[change.verdict]))
    header = ("figure", "base", "new", "change", "noise", "band", "verdict")
    return TextTable(header, rows, (False, True, True, True, True, True))


def _band_words(each: FigureChange) -> str:
    """Say within what a change is none: a share, or where both sides are so small, as much of the unit."""
    change = each.change
    if change.base is None or change.new is None or change.band is None:
        return "-"
    least = sensitivity_of(each.name, each.unit).resolution
    if abs(change.new - change.base) <= least and (change.ratio is None or abs(change.ratio - 1) > change.band):
        return f"± {number_text(least, each.unit)}"
    return f"± {100 * change.band:.1f} %"


def as_lines(comparison: Comparison) -> Iterator[str]:
    """Write it for a terminal."""
    if comparison.base:
        yield printable(_title(comparison))
    for name, lives in (("base", comparison.base), ("new ", comparison.new)):
        if lives:
            yield f"{name}  {_group_words(lives)}"
    yield ""
    table = as_table(comparison)
    rows = [list(map(printable, row)) for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [*table.right, *[False] * (len(widths) - len(table.right))]
    for row in rows:
        cells = [cell.rjust(w) if side else cell.ljust(w) for cell, w, side in zip(row, widths, sides, strict=True)]
        yield "  ".join(cells).rstrip()
    yield from _notes(comparison)
    if comparison.conditions:
        yield ""
    for each in comparison.conditions:
        sign = {"holds": "ok", "fails": "FAILS", "noise": "ok", "unknown": "unknown"}[each.outcome]
        yield f"{sign:<8}{each.condition.text}: {each.words}"


def as_markdown(comparison: Comparison) -> str:
    """Write it for a step summary or a comment."""
    from rondo_job.reports.markdown import escaped, table_text

    lines = [f"### {'❌' if comparison.failed else '✅'} {escaped(_title(comparison))}", ""]
    for name, lives in (("base", comparison.base), ("new", comparison.new)):
        lines += [f"{name}: {escaped(_group_words(lives))}  "] if lives else []
    lines += ["", table_text(as_table(comparison)), ""]
    lines += [f"_{escaped(each)}_  " for each in _notes(comparison) if each]
    for result in comparison.conditions:
        sign = {"holds": "✅", "fails": "❌", "noise": "🟡", "unknown": "❔"}[result.outcome]
        lines.append(f"- {sign} `{result.condition.text.replace('`', '')}`: {escaped(result.words)}")
    return "\n".join(lines) + "\n"


def as_json(comparison: Comparison) -> str:
    """Write it for programs."""
    plain: dict[str, Any] = {
        name: [{"store": str(each.path), "name": each.name, "ended": each.ended, **each.values} for each in lives]
        for name, lives in (("base", comparison.base), ("new", comparison.new))
    }
    plain["figures"] = {each.name: {"unit": each.unit, **attrs.asdict(each.change)} for each in comparison.figures}
    plain["conditions"] = [
        {"text": each.condition.text, "outcome": each.outcome, "why": each.words} for each in comparison.conditions
    ]
    plain["failed"] = bool(comparison.failed)
    return json.dumps(plain, ensure_ascii=False, indent=1)


def _title(comparison: Comparison) -> str:
    changed = [_change_words(each) for each in comparison.figures if _is_changed(each)]
    newest = comparison.new[-1]
    is_bad = newest.outcome not in {"well", "live"}
    failed = f"it ended badly, {newest.ended}, and its figures go no further; " if is_bad else ""
    failed = "it is still running, and its figures go on; " if newest.outcome == "live" else failed
    return f"{newest.name}: {failed}{', '.join(changed) if changed else 'no change that can be told from noise'}"


def _change_words(each: FigureChange) -> str:
    change = each.change
    by = "" if change.ratio is None else f" by {100 * abs(change.ratio - 1):.1f} %"
    values = [number_text(value, each.unit) for value in (change.base, change.new)]
    return f"{each.title} {change.verdict}{by} ({values[0]}, now {values[1]})"


def _is_changed(each: FigureChange) -> bool:
    return each.change.verdict in {"more", "less"}


def _group_words(lives: Sequence[MeasuredLife]) -> str:
    names = sorted({each.name for each in lives})
    places = sorted({str(Path(each.path).parent) for each in lives})
    where = str(lives[0].path) if len(lives) == 1 else f"{', '.join(places)}"
    shown = printable(", ".join(names[:3]) + (" ..." if len(names) > 3 else ""))
    bad = [each for each in lives if each.outcome not in {"well", "live"}]
    ended = f", {len(bad)} of them ended badly ({bad[-1].ended})" if bad and len(lives) > 1 else ""
    ended = f", {bad[0].ended}" if bad and len(lives) == 1 else ended
    n_live = sum(each.outcome == "live" for each in lives)
    ended += f", {f'{n_live} of them ' if len(lives) > 1 else ''}still running" if n_live else ""
    return f"{len(lives)} {'life' if len(lives) == 1 else 'lives'} of {shown} in {printable(where)}{ended}"


def _notes(comparison: Comparison) -> Iterator[str]:
    if min(len(comparison.base), len(comparison.new)) and len(comparison.base) + len(comparison.new) < 5:
        yield "rondo: of so few runs the noise is not known; five of each tell a change of 10 % in CPU from it"
    methods = {_method(each) for each in (*comparison.base, *comparison.new)}
    if any(each.name == "cpu_seconds" and _is_changed(each) for each in comparison.figures):
        yield from _commands(comparison)
    if len(methods) > 1:
        yield f"rondo: measured in several ways ({', '.join(sorted(methods))}): peaks of memory do not compare"


def _commands(comparison: Comparison) -> Iterator[str]:
    """Say whose CPU it was that changed: the commands whose medians differ most, by the processes that were seen."""
    medians = []
    for command in sorted({name for life in (*comparison.base, *comparison.new) for name in life.commands}):
        sides = [[life.commands.get(command, 0.0) for life in lives] for lives in (comparison.base, comparison.new)]
        before, after = (statistics.median(each) for each in sides)
        medians.append((abs(after - before), command, before, after))
    total = sum(each[0] for each in medians)
    told = [each for each in sorted(medians, reverse=True)[:_MOST_COMMANDS] if each[0] > total / 10]
    if told:
        words = [f"{name} {number_text(a, 'seconds')}, now {number_text(b, 'seconds')}" for _, name, a, b in told]
        yield f"CPU by command: {'; '.join(words)}"


def _method(life: MeasuredLife) -> str:
    for method in ("cgroup2", "cgroup1", "tree"):
        if f"-{method}-" in Path(life.path).name:
            return method
    return "from within"
