"""`rondo set`: a gauge in the life that a shell is part of."""

from __future__ import annotations

import click

from rondo_core.clock import wall_ns
from rondo_core.errors import UsageError
from rondo_core.model import canonical_labels, check_metric_name


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value", type=float)
@click.argument("labels", nargs=-1, metavar="[LABEL=VALUE] ...")
def command(name: str, value: float, labels: tuple[str, ...]) -> None:
    """Set a gauge of the life that this shell is part of: that of `rondo run`; it stays until it is set anew.

    \b
    rondo set epoch 3
    rondo set queue_depth 120 queue=mail
    """
    from rondo_job.files.inbox import Entry, life_inbox, pairs_of, post

    check_metric_name(name)
    pairs = pairs_of(labels)
    if any("=" not in label for label in labels):
        raise UsageError(f"{' '.join(labels)}: write LABEL=VALUE")
    canonical_labels(dict(pairs))
    post(life_inbox(), Entry("set", name, value, pairs, wall_ns()))
