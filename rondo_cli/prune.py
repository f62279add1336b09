"""`rondo prune`: fold what is beyond a bound into a directory's store of the ended."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import click

from rondo_cli.params import CONFIG, PATH
from rondo_cli.printing import data, say
from rondo_core.errors import StoreError, UsageError


@click.command("prune")
@click.argument("directory", type=PATH)
@click.option("--keep-last", type=click.IntRange(0), default=None, help="How many stores of dead processes are kept.")
@click.option("--keep-for", default=None, metavar="DURATION", help="For how long after their end, such as 1d.")
@click.option("--keep-bytes", default=None, metavar="SIZE", help="What all stores may take, such as 1GiB; sent or not.")
@CONFIG
@click.option("--dry-run", is_flag=True, help="Say what would be folded, and change nothing.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(
    directory: Path,
    keep_last: int | None,
    keep_for: str | None,
    keep_bytes: str | None,
    config: Path | None,
    dry_run: bool,
    form: str,
) -> int:
    """Fold the stores of dead processes beyond a bound into DIRECTORY/ended.rondo, and remove them.

    What the directory answers of rates, sums and quantiles stays as it was. Without options, the bound is that of the
    config file's [store]. --keep-last and --keep-for wait for the config's exporters, or, where it has none, for each
    that has begun with a store. Exits with 1 where something beyond the bound stays that no exporter is waited for.

    \b
    rondo prune stores --keep-last 50
    rondo prune stores --keep-for 1d --keep-bytes 1GiB --dry-run
    """
    from rondo_core.plugins import read_config
    from rondo_core.retention import Bound, prune

    known = read_config(config)
    given = {"keep_last": keep_last, "keep_for": keep_for, "keep_bytes": keep_bytes}
    if all(each is None for each in given.values()):
        given = {key: known.store.get(key) for key in given}
    bound = Bound.read(given, tuple(known.exporters) or None)
    if not bound:
        raise UsageError("prune: no bound; give --keep-last, --keep-for or --keep-bytes, or the same in [store]")
    done = prune(directory, bound, dry_run=dry_run)
    if done.busy:
        raise StoreError(f"{directory}: another process folds here now; try again when it has ended")
    if form == "json":
        data(json.dumps({**attrs.asdict(done), "dry_run": dry_run}, indent=1))
        return int(bool(done.left))
    verb = "would be folded" if dry_run else "folded"
    for name in done.folded:
        say(f"{name}: {verb}" + (", not sent whole" if name in done.unexported else ""))
    for name in done.waiting:
        say(f"{name}: stays, until its exporters have sent it")
    for line in done.left:
        say(f"rondo: stays: {line}", err=True)
    say(f"{len(done.folded)} {verb}, {len(done.waiting)} waiting")
    return int(bool(done.left))
