"""`rondo export`: send what a store still holds through exporter plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli.params import CONFIG, STORE, Duration, LabelSet, of_each, stores_below
from rondo_cli.printing import say
from rondo_core.clock import NS_PER_S
from rondo_core.errors import ExportError, RondoError, UsageError, make_logs_printable, one_line
from rondo_core.lazy import load_numpy
from rondo_core.model import META_FILE, is_there, store_name

if TYPE_CHECKING:
    from rondo_core.export import Outcome
    from rondo_core.hookspecs import Exporter

    Labels = dict[str, str] | None
    Through = dict[str, Exporter] | None  # dumps that are open, by name

OF_THE_ENDED = "a store of the ended, whose parts were sent as they were; send the others"
INSTANCE = "instance"  # the label that tells the stores of a directory apart, as an agent's


@click.command("export")
@STORE
@click.option("--to", "exporter", default=None, help="An exporter of the config, or a plugin; see `rondo plugins`.")
@CONFIG
@click.option("--url", default=None, help="Where to; the exporter's option url.")
@click.option("--external-labels", type=LabelSet(), default=None, help="Labels that every series gets on its way out.")
@click.option("--tier", type=int, default=None, help="The tier that is sent; default: 0, the finest.")
@click.option("--fn", default=None, metavar="FN,...", help="Send readings, such as avg,max, as series x_avg, x_max.")
@click.option("--match", default=None, metavar="SELECTOR", help="The series that are sent; default: all.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Any other option of the exporter.")
@click.option("--from-start", is_flag=True, help="Send again all that the store holds, acknowledged or not.")
@click.option("--deadline", type=Duration(), default=None, help="How long to retry; default: 60s.")
@click.option(
    "--dry-run", "dry", is_flag=True, help="Send nothing; show what would be sent, and what would not be taken."
)
@click.option("--format", "style", type=click.Choice(("table", "json")), default="table", help="Of a dry run.")
def command(
    store: Path,
    exporter: str | None,
    config: Path | None,
    url: str | None,
    external_labels: dict[str, str] | None,
    tier: int | None,
    fn: str | None,
    match: str | None,
    options: tuple[str, ...],
    from_start: bool,
    deadline: int | None,
    dry: bool,
    style: str,
) -> int:
    """Send what STORE holds and the exporter's receiver has not acknowledged yet.

    Where STORE is a directory of stores, each of them is sent, but for the stores of the ended, whose parts were, with
    the label instance, or what the config's agent.instance_label says. Without --to, through every exporter of the
    config file, each on its own. The cursor is kept in the store, so a second call sends only what is new, unless
    --from-start is given. Lines on standard output are a dump: each call writes all of it, the stores of the ended in
    the place of their parts, and no cursor is kept. Of a store that a process still writes, the buckets that have
    closed are sent. A dry run checks the limits of the receiver that the exporter's options name, and has the status 1
    where something would not be taken; `limits` are those that differ from the receiver's defaults.

    \b
    rondo export demo.rondo --to csv > demo.csv
    rondo export demo.rondo --to jsonl -o path=demo.jsonl
    rondo export demo.rondo --to prometheus --url http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    rondo export demo.rondo --config rondo.toml
    rondo export runs --to prometheus --url http://mimir/api/v1/push --dry-run -o receiver=mimir -o limits=window=24h
    """
    load_numpy()
    from rondo_core.export import check_exporters, is_dump
    from rondo_core.plugins import read_config

    named: dict[str, Any] = {"url": url, "external_labels": external_labels, "tier": tier, "fn": fn, "match": match}
    given = _given(named, options)
    make_logs_printable()
    known = read_config(config)
    below = stores_below(store)
    tables = _tables(known.exporters, exporter, given)
    label = str(known.agent.get("instance_label", INSTANCE)) if below else ""
    check_exporters(tables, {label} - {""})
    if dry:
        from rondo_cli.export_dry_run import run_dry

        return run_dry(_named(store, below, label), tables, from_start=from_start, as_json=style == "json")
    for table in tables.values():
        if deadline is not None:
            table["deadline"] = deadline / NS_PER_S
        table.setdefault("deadline", 60)
    if below:
        return _export_each(store, below, tables, label, from_start=from_start)
    if _is_ended(store) and not all(is_dump(name, table) for name, table in tables.items()):
        raise UsageError(f"{store}: {OF_THE_ENDED}")
    if len(tables) == 1:
        ((name, table),) = tables.items()
        outcome = _export(store, name, table, from_start=from_start)
        say(_summary(outcome), err=True)
        if outcome.error and (outcome.stopped or not outcome.n_sent):
            raise ExportError(f"{name}: {outcome.error}")
        return 0
    return _export_all(store, tables, from_start=from_start)


def _is_ended(store: Path) -> bool:
    """Say whether a store holds what others were folded into."""
    from rondo_core.storage import Folder, read_ended

    with Folder(store) as held:
        return read_ended(held) is not None


def _export_each(
    root: Path, below: list[Path], tables: dict[str, dict[str, Any]], label: str, *, from_start: bool
) -> int:
    """Export the stores of a directory, told apart by a label, as an agent does; a dump has each sample once."""
    from rondo_core.export import is_dump, open_dump
    from rondo_core.read import still_counted

    dumps = {name: table for name, table in tables.items() if is_dump(name, table)}
    sent = {name: table for name, table in tables.items() if name not in dumps}
    dumped = set(still_counted(below)) if dumps else set()

    def export(store: Path, name: str) -> int:
        mine = {**({} if _is_ended(store) else sent), **(dumps if store in dumped else {})}
        if not mine:
            return 0
        say(f"{name}:", err=True)
        labels = {label: store_name(store, root)} if label else None
        mine = {each: dict(table) for each, table in mine.items()}
        return _export_all(store, mine, from_start=from_start, labels=labels, through=through)

    through = {name: open_dump(name, table) for name, table in dumps.items()}
    try:
        return of_each(root, below, export)
    finally:
        for each in through.values():
            each.close()


def _tables(
    known: Mapping[str, Mapping[str, Any]], exporter: str | None, given: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Give the tables of the exporters that were asked for. Raises: UsageError: none was, or options are of no one."""
    tables = {name: dict(table) for name, table in known.items()}
    if exporter is not None:
        return {exporter: {**tables.get(exporter, {}), **given}}
    if given:
        raise UsageError("options of an exporter without --to; say which exporter they are for")
    if not tables:
        raise UsageError("no exporter; name one with --to, or in a config file as [exporters.NAME]")
    return tables


def _named(store: Path, below: list[Path], label: str) -> list[tuple[Path, Labels]]:
    """Give a store, or those of a directory but for stores of the ended, each with what its series all get.

    Raises: UsageError: it is a store of the ended itself.
    """
    if not below:
        if is_there(store / META_FILE) and _is_ended(store):
            raise UsageError(f"{store}: {OF_THE_ENDED}")
        return [(store, None)]
    return [(each, {label: store_name(each, store)} if label else None) for each in below if not _is_ended(each)]


def _given(named: dict[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """Give an exporter's options, those that have one of their own and those of --option. Raises: BadParameter."""
    given = {key: value for key, value in named.items() if value is not None}
    for option in options:
        key, sign, value = option.partition("=")
        if not sign:
            raise click.BadParameter(f"{option!r}: write KEY=VALUE", param_hint="--option")
        if key in given:
            raise click.BadParameter(f"{key}: given twice; keep one", param_hint="--option")
        given[key] = value
    return given


def _export(
    store: Path, name: str, table: dict[str, Any], *, from_start: bool, labels: Labels = None, through: Through = None
) -> Outcome:
    from rondo_core.export import EndedReader, dump, fold_dead, is_dump, open_runner, read_store_state, runner_options
    from rondo_core.read import StoreReader
    from rondo_core.storage import Folder, read_meta

    read_meta(store)  # which says best what is wrong with a path
    with Folder(store) as held:
        state = read_store_state(held)
        if state.unknown:
            say(f"rondo: {state.unknown}", err=True)
        if state.ended and runner_options(name, table)[0].get("tier"):
            fold_dead(held)
            state = read_store_state(held)
        with EndedReader(held, state.run) if state.ended else StoreReader(held) as reader:
            if is_dump(name, table) if through is None else name in through:
                return dump(reader, name, table, ended=state.ended, labels=labels, exporter=(through or {}).get(name))
            runner = open_runner(reader, name, table, from_start=from_start, labels=labels)
            return runner.finish(state.run if state.ended else 0, runner.deadline_s)


def _export_all(
    store: Path,
    tables: dict[str, dict[str, Any]],
    *,
    from_start: bool,
    labels: Labels = None,
    through: Through = None,
) -> int:
    """Run each exporter in a thread of its own, so that one that hangs or fails holds up no other."""
    from concurrent.futures import ThreadPoolExecutor

    failed = 0
    with ThreadPoolExecutor(len(tables)) as pool:
        waiting = {
            name: pool.submit(_export, store, name, table, from_start=from_start, labels=labels, through=through)
            for name, table in tables.items()
        }
    for name, future in waiting.items():
        try:
            outcome = future.result()
        except RondoError as error:
            failed = 1
            say(f"rondo: {name}: {one_line(error)}", err=True)
            continue
        say(f"{name}: {_summary(outcome)}", err=True)
        if outcome.error and (outcome.stopped or not outcome.n_sent):
            failed = 1
            say(f"rondo: {name}: {outcome.error}", err=True)
    return failed


def _summary(outcome: Outcome) -> str:
    said = [_summary_of_samples(outcome)] if outcome.takes_samples else []
    if outcome.takes_events:
        said.append(
            f"{outcome.events} marks and notes sent{'' if said else f' in {outcome.requests} requests'};"
            f" {outcome.refused_events} refused, {outcome.overwritten_events} overwritten before they were sent"
        )
        if outcome.doubtful_events:
            said.append(f"{outcome.doubtful_events} doubtful: no answer came, and they were refused when sent again")
    return "; ".join(said)


def _summary_of_samples(outcome: Outcome) -> str:
    said = (
        f"{outcome.samples} samples sent in {outcome.requests} requests; {outcome.refused_samples} refused,"
        f" {outcome.overwritten_buckets} buckets overwritten before they were sent"
    )
    if outcome.coarse_buckets:
        said += f", {outcome.coarse_buckets} coarser windows sent in their place"
    if outcome.doubtful_samples:
        said += f"; {outcome.doubtful_samples} doubtful: no answer came, and they were refused when sent again"
    if outcome.held_series:
        said += f"; {outcome.held_series} series wait: the receiver answers not now to them while it takes others"
    return said
