"""`rondo edit`: take series out of a store, or call them otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli.params import STORE, LabelSet, one_store
from rondo_cli.printing import say
from rondo_core.errors import UsageError

if TYPE_CHECKING:
    from rondo_core.maintain import Edit


class _NewLabels(LabelSet):
    """Labels as key=value,key=value; one without a value is to be taken away."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """Read them, or fail as click does."""
        found = super().convert(value, param, ctx)
        empty = [each.strip()[:-1].strip() for each in value.split(",") if each.strip().endswith("=")]
        return {**found, **dict.fromkeys(empty, "")}


@click.command("edit")
@STORE
@click.argument("action", type=click.Choice(["remove", "rename"]))
@click.argument("selector")
@click.argument("name", required=False)
@click.option("--labels", type=_NewLabels(), default=None, help="With rename: labels to give; key= takes one away.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
def command(
    store: Path, action: str, selector: str, name: str | None, labels: dict[str, Any] | None, dry_run: bool
) -> None:
    """Take the series that SELECTOR matches out of STORE, or give them another NAME.

    No process may write or export the store meanwhile. Killed at any moment, the old store is there, or the new one.
    What is removed leaves room for other series; the store's size on disk stays. What an exporter had not sent of it is
    said, and counted as refused in that exporter's cursor. A series that is renamed keeps its points, help, unit and
    birth; what was sent of it before was sent under its old name.

    \b
    rondo edit demo.rondo remove 'http_requests_total{route=~"/tmp/.*"}' --dry-run
    rondo edit demo.rondo remove 'http_requests_total{route=~"/tmp/.*"}'
    rondo edit demo.rondo rename jobs_total work_total --labels queue=mail
    """
    from rondo_core.maintain import remove_series, rename_series

    path = one_store(store)
    if action == "remove":
        if name is not None or labels is not None:
            raise UsageError("remove: takes no NAME and no --labels; write rondo edit STORE remove SELECTOR")
        _report(remove_series(path, selector, dry_run=dry_run), dry_run=dry_run)
        return
    if name is None:
        raise UsageError("rename: NAME is missing; write rondo edit STORE rename SELECTOR NAME")
    _report(rename_series(path, selector, name, labels, dry_run=dry_run), dry_run=dry_run)


def _report(done: Edit, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for series in done.removed:
        say(f"{series}: {would}removed")
    for old, new in done.renamed:
        say(f"{old}: {would}{new}")
    for schema, (had, has, room) in done.room.items():
        say(f"schema {schema}: room for {room} series, {had} taken before, {has} {'then' if dry_run else 'now'}")
    if done.removed:
        say(f"{done.points} points, over all tiers, {would}gone")
    for exporter, points in done.unsent.items():
        if points:
            say(f"exporter {exporter}: {points} of them were not sent, and {would}counted as refused")
