"""A dump: all that a store holds, written by an exporter to whom nobody answers, such as standard output.

No cursor is kept, so each dump is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.clock import Clock, wall_ns
from rondo_core.export.drain import Drain
from rondo_core.export.labelled import Labelled
from rondo_core.export.options import open_exporter, runner_options
from rondo_core.export.outcome import Outcome
from rondo_core.export.runner import MAX_SAMPLES, SETTLE_NS
from rondo_core.export.sources import FOR_EVER
from rondo_core.plugins.inventory import declared_options
from rondo_core.plugins.manager import EXPORTERS

if TYPE_CHECKING:
    from rondo_core.hookspecs import Exporter
    from rondo_core.read.store_reader import View

STDOUT = "-"
_OF_A_DUMP = {"tier", "fn", "match"}


def is_dump(name: str, table: dict[str, Any]) -> bool:
    """Say whether an exporter's table sends to standard output: its plugin has a `path`, and that is `-`."""
    mine, rest = runner_options(name, table)
    for option in declared_options(EXPORTERS, mine["plugin"]) or ():
        if option.name == "path":
            return bool(rest.get("path", option.default) == STDOUT)
    return False


def open_dump(name: str, table: dict[str, Any]) -> Exporter:
    """Open the exporter of a dump, for the dumps of several stores. Raises: as `open_exporter`."""
    mine, rest = runner_options(name, table)
    return open_exporter(name, mine["plugin"], rest)


def dump(
    view: View,
    name: str,
    table: dict[str, Any],
    *,
    ended: bool,
    clock: Clock = wall_ns,
    labels: Mapping[str, str] | None = None,
    exporter: Exporter | None = None,
) -> Outcome:
    """Write the samples of all buckets that have closed, of a run that has ended all, oldest first.

    Args: `table`: the exporter's, as in rondo.toml; `labels`: what every series gets on its way out; `exporter`: open
        already, and left so. Returns: how many samples in how many batches.
    Raises: as `open_exporter` and its `send`; UsageError: as `Drain`.
    """
    mine, _ = runner_options(name, table)
    drain = Drain(view, **{key: value for key, value in mine.items() if key in _OF_A_DUMP}, backfill=ended)
    opened = exporter or open_dump(name, table)
    into = Labelled(opened, labels) if labels else opened
    closed_ns = FOR_EVER if ended else clock() - SETTLE_NS
    positions: dict[str, int] = {}
    samples = requests = 0
    try:
        while (drained := drain.next(positions, closed_ns, mine.get("max_samples", MAX_SAMPLES))) is not None:
            into.send(drained.batch)
            positions |= drained.positions
            samples, requests = samples + drained.batch.n_samples, requests + 1
    finally:
        if exporter is None:
            opened.close()
    return Outcome(samples=samples, requests=requests)
