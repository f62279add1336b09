"""`rondo autopsy`: how a life, a program or a virtual machine ended, and what proves it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rondo_cli import render
from rondo_cli.params import Duration, stores_below
from rondo_cli.printing import data, say, show
from rondo_core.clock import NS_PER_S
from rondo_core.errors import RondoError, StoreNotFoundError, UsageError, one_line
from rondo_core.model import META_FILE, is_there, state_directory


@click.command("autopsy")
@click.argument("life", required=False)
@click.option("--last", is_flag=True, help="The life that began last; LIFE is then the directory of lives.")
@click.option("--flat", type=Duration(), default=60 * NS_PER_S, help="How long series stand still in a hang; 60s.")
@click.option("--format", "form", type=click.Choice(("text", "md", "json")), default="text", show_default=True)
def command(life: str | None, *, last: bool, flat: int, form: str) -> int:
    """Say how LIFE ended, and the evidence for it: a life of rondo run, a program's store, or a virtual machine's.

    LIFE is a path, or a name among the lives of rondo run. Of a directory of them each has a line. What still runs is
    looked at too: whether a process of it died, whether its own series stand still.

    The exit status is that of the verdict: 0 proven, 3 likely, 4 cannot tell; of a directory the worst of them. It is 1
    where nothing could be read, 2 for usage.

    \b
    rondo autopsy --last
    rondo autopsy lives/make-cgroup2-4711-....rondo --format md
    rondo autopsy lives
    """
    from rondo_job.autopsy.examine import examine
    from rondo_job.autopsy.wording import as_markdown, as_table, as_text

    if life is None and not last:
        raise UsageError("autopsy: no LIFE; name one, or ask for the --last")
    path = _last(life) if last else _found(life or "")
    below = [] if is_there(path / META_FILE) else stores_below(path)
    if below:
        return _of_directory(path, below, form, flat)
    found = examine(path, flat_ns=flat)
    if form == "json":
        data(json.dumps(as_table(found), indent=1))
    else:
        show(as_markdown(found) if form == "md" else as_text(found))
    return found.exit_status


def _last(directory: str | None) -> Path:
    from rondo_job import Life

    lives = Path(directory) if directory else state_directory() / "lives"
    found = Life.last(lives)
    if found is None:
        raise StoreNotFoundError(f"{lives}: no life of rondo run; name a directory that has some")
    return found.path


def _found(name: str) -> Path:
    """Give the path of what was named: as it is, or among the lives of `rondo run`."""
    path = Path(name)
    if is_there(path):
        return path
    for each in (name, f"{name}.rondo"):
        among = state_directory() / "lives" / each
        if "/" not in name and is_there(among):
            return among
    raise StoreNotFoundError(f"{name}: no life or store there; see rondo ls")


def _of_directory(directory: Path, stores: list[Path], form: str, flat: int) -> int:
    from rondo_job.autopsy.examine import examine
    from rondo_job.autopsy.wording import as_table, plain
    from rondo_job.life import holds_the_ended

    worst, rows, tables = 0, list[list[str]](), []
    for store in stores:
        try:
            if holds_the_ended(store):
                continue
            found = examine(store, flat_ns=flat)
        except RondoError as error:
            say(f"rondo: left out: {one_line(error)}", err=True)
            worst = max(worst, error.exit_status)
            continue
        worst = max(worst, found.exit_status)
        name = str(store.relative_to(directory))
        rows.append([name, found.diagnosis.verdict, found.diagnosis.cause, found.diagnosis.summary])
        tables.append(as_table(found))
    if form == "json":
        data(json.dumps(tables, indent=1))
    elif form == "md":
        head = ["| store | verdict | cause | how |", "|---|---|---|---|"]
        show("\n".join([*head, *(f"| {' | '.join(map(plain, row))} |" for row in rows)]))
    else:
        show(render.table(["store", "verdict", "cause", "how"], rows))
    return worst
