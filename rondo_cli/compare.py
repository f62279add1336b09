"""`rondo compare`: what changed between lives, told apart from noise, and an exit status for CI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli.params import PATH
from rondo_cli.printing import data, say, show
from rondo_core.errors import RondoError, StoreNotFoundError, UsageError, one_line
from rondo_core.model import state_directory

if TYPE_CHECKING:
    from rondo_job.comparison.groups import Expression, MeasuredLife

FAILS = 1


@click.command("compare")
@click.argument("lives", nargs=-1, type=PATH, metavar="[BASE] [NEW]")
@click.option("--against", type=PATH, default=None, help="A directory of lives: those of NEW's name are the base.")
@click.option("--last", "newest", is_flag=True, help="NEW is the newest run of a directory; those before are the base.")
@click.option("--figure", "figures", multiple=True, metavar="NAME=EXPR", help="A figure more, in PromQL; repeatable.")
@click.option("--fail-if", "conditions", multiple=True, metavar="CONDITION", help="Fail where it is met; repeatable.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="How many lives of a directory.")
@click.option("--all", "with_failed", is_flag=True, help="Take lives that ended badly into the base, too.")
@click.option("--format", "form", type=click.Choice(["terminal", "md", "json"]), default="terminal", show_default=True)
def command(
    lives: tuple[Path, ...],
    against: Path | None,
    newest: bool,
    figures: tuple[str, ...],
    conditions: tuple[str, ...],
    runs: int,
    with_failed: bool,
    form: str,
) -> int:
    """Compare lives with those before: BASE and NEW are each a life, or a directory of lives.

    A change is told where it is more than the noise of the runs; five runs on each side tell 10 % more CPU and 5 % more
    memory. The exit status is 1 where a condition of --fail-if is met, and 0 otherwise. In a condition, base is the
    base's median; a bound that has it in it is only met by a change that is more than noise. In an expression $life
    stands for how long the life lasted.

    \b
    rondo compare lives/main lives/branch
    rondo compare --last lives --fail-if 'cpu_seconds > 1.2 * base'
    rondo compare new.rondo --against lives --fail-if 'memory_peak > 4GiB'
    rondo compare old new --figure 'queue=max_over_time(queue_depth[$life])' --fail-if 'queue > base + 10'
    """
    from rondo_job.comparison import comparing
    from rondo_job.comparison.conditions import read_fail_if
    from rondo_job.comparison.groups import lives_at, measure, read_expression
    from rondo_job.reports.figures import FIGURES

    new_at, base_at = _places(lives, against, newest=newest)
    expressions = [read_expression(each) for each in figures]
    units = {each.name: each.unit for each in FIGURES} | {each.name: each.unit for each in expressions}
    asked = [read_fail_if(each, units, has_base=base_at is not None) for each in conditions]
    if base_at is None and not asked:
        raise UsageError(f"{new_at}: nothing to compare it with; give BASE too, --against DIR, or --fail-if")
    new = [measure(each, expressions) for each in lives_at(new_at, last=1 if newest else runs)]
    base: list[MeasuredLife] = []
    if base_at is not None:
        name = new[-1].name if newest or against is not None else ""
        try:
            found = lives_at(base_at, name=name, without=[each.path for each in new], last=runs)
        except StoreNotFoundError as error:
            if not name or not base_at.is_dir():
                raise
            say(f"rondo: nothing to compare it with yet: {one_line(error)}", err=True)
            found = []
        base = _measured(found, expressions, with_failed=with_failed or found == [base_at])
        if found and not base:
            say(f"rondo: {base_at}: no life there ended well; --all takes the others, too", err=True)
    comparison = comparing.compare_lives(base, new, expressions, asked)
    if form == "terminal":
        show("\n".join(comparing.as_lines(comparison)))
    else:
        data(comparing.as_json(comparison) if form == "json" else comparing.as_markdown(comparison).rstrip("\n"))
    _append_to_summary(comparing.as_markdown(comparison))
    return FAILS if comparison.failed else 0


def _places(lives: tuple[Path, ...], against: Path | None, *, newest: bool) -> tuple[Path, Path | None]:
    """Give where the new lives are and where the base is. Raises: UsageError: that is not clear."""
    if newest:
        if len(lives) > 1 or against is not None:
            raise UsageError("--last: compares within one directory of lives; give that alone")
        directory = lives[0] if lives else state_directory() / "lives"
        return directory, directory
    if not lives:
        raise UsageError("no life; give BASE and NEW, or NEW and --against DIR, or --last")
    if len(lives) > 2 or (len(lives) == 2 and against is not None):
        raise UsageError("too many lives; give BASE and NEW, or NEW and --against DIR")
    return lives[-1], lives[0] if len(lives) == 2 else against


def _measured(paths: Sequence[Path], expressions: Sequence[Expression], *, with_failed: bool) -> list[MeasuredLife]:
    """Read the figures of the base's lives; one that does not read is said and left out."""
    from rondo_job.comparison.groups import measure

    found = []
    for path in paths:
        try:
            measured = measure(path, expressions)
        except UsageError:
            raise
        except RondoError as error:
            say(f"rondo: left out: {one_line(error)}", err=True)
            continue
        if with_failed or measured.outcome == "well":
            found.append(measured)
    return found


def _append_to_summary(text: str) -> None:
    from rondo_job.reports.markdown import SUMMARY

    path = os.environ.get(SUMMARY)
    if path:
        try:
            with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"\n{text}")
        except OSError as error:
            say(f"rondo: {path}: {error.strerror}; the comparison is not in the step's summary", err=True)
