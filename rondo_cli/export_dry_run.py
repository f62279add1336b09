"""`rondo export --dry-run`: what would be sent, and what of it no receiver would have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_cli import render
from rondo_cli.printing import data, say, show

if TYPE_CHECKING:
    from rondo_core.export import Forecast, Outcome
    from rondo_core.hookspecs import DryRun

    Labels = Mapping[str, str] | None

_SHOWN = 5  # series of each reason


def run_dry(
    stores: Sequence[tuple[Path, Labels]], tables: Mapping[str, dict[str, Any]], *, from_start: bool, as_json: bool
) -> int:
    """Look at what each exporter would send of the stores, and show what would not be taken.

    Args: `stores`: with what every series of each gets. Returns: 1 where something would not be taken, else 0.
    Raises: RondoError: a store does not read, or an exporter cannot be used as its table says.
    """
    from rondo_core.export import open_dry_run

    status, shown = 0, []
    for name, table in tables.items():
        into = open_dry_run(name, table)
        try:
            outcome = _dry_run_stores(stores, name, table, into, from_start=from_start)
            forecast = into.forecast()
        finally:
            into.close()
        status |= bool(forecast.refusals)
        if as_json:
            shown.append(_plain(name, outcome, forecast))
        else:
            _show(name, outcome, forecast)
    if as_json:
        import json

        data(json.dumps(shown, indent=1))
    return status


def _dry_run_stores(
    stores: Sequence[tuple[Path, Labels]], name: str, table: dict[str, Any], into: DryRun, *, from_start: bool
) -> Outcome:
    from rondo_core.export import EndedReader, Outcome, dry_run, read_store_state
    from rondo_core.read import StoreReader
    from rondo_core.storage import Folder, read_meta

    total = Outcome()
    for store, labels in stores:
        read_meta(store)  # which says best what is wrong with a path
        with Folder(store) as held:
            state = read_store_state(held)
            with EndedReader(held, state.run) if state.ended else StoreReader(held) as reader:
                run = state.run if state.ended else 0
                found = dry_run(reader, name, table, into, ended_run=run, from_start=from_start, labels=labels)
        total = Outcome(
            samples=total.samples + found.samples,
            requests=total.requests + found.requests,
            overwritten_buckets=total.overwritten_buckets + found.overwritten_buckets,
            events=total.events + found.events,
            overwritten_events=total.overwritten_events + found.overwritten_events,
            takes_samples=found.takes_samples,
            takes_events=found.takes_events,
        )
    return total


def _plain(name: str, outcome: Outcome, forecast: Forecast) -> dict[str, Any]:
    import attrs

    counts = {"samples": outcome.samples, "requests": outcome.requests, "overwritten": outcome.overwritten_buckets}
    events = {"events": outcome.events, "overwritten_events": outcome.overwritten_events}
    return {"exporter": name, **counts, **(events if outcome.takes_events else {}), **attrs.asdict(forecast)}


def _show(name: str, outcome: Outcome, forecast: Forecast) -> None:
    size = "" if forecast.sent_bytes is None else f", {forecast.sent_bytes} bytes"
    lost = f"; {outcome.overwritten_buckets} buckets were overwritten" if outcome.overwritten_buckets else ""
    if outcome.overwritten_events:
        lost += f"; {outcome.overwritten_events} marks and notes were overwritten"
    kinds = [f"{outcome.samples} samples"] if outcome.takes_samples else []
    kinds += [f"{outcome.events} marks and notes"] if outcome.takes_events else []
    say(f"{name}: {', '.join(kinds)} in {outcome.requests} requests{size}{lost}; nothing was sent")
    reasons: dict[str, list[tuple[str, int]]] = {}
    for each in forecast.refusals:
        reasons.setdefault(each.reason, []).append((each.series, each.samples))
    if reasons:
        counts = [[str(len(found)), str(sum(each for _, each in found)), reason] for reason, found in reasons.items()]
        show(render.table(["series", "samples", "would not be taken, because"], counts, [True, True, False]))
    for reason, found in reasons.items():
        say(f"{reason}:")
        for series, samples in found[:_SHOWN]:
            say(f"  {samples} of {series}")
        if len(found) > _SHOWN:
            say(f"  and {len(found) - _SHOWN} series more; --format json has all")
    for note in forecast.notes:
        say(f"{name}: {note}")
