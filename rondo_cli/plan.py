"""`rondo plan`: what a store will take and keep, to the byte, before it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli import render
from rondo_cli.params import PATH, of_each, stores_below
from rondo_cli.printing import data, say, show
from rondo_core.errors import UsageError
from rondo_core.model import DEFAULT_SCHEMAS, DEFAULT_TIERS, SELF_SCHEMA, SELF_SCHEMAS, Kind, Schema, Tier, is_directory
from rondo_core.units import format_duration, format_size

if TYPE_CHECKING:
    from rondo_core.maintain import StorePlan

_GROWTH = (
    "Its size never changes while it is open; it grows when it is opened after a run that had too little room, and by "
    "60 KiB with its eighth run."
)
NUMBERS: tuple[tuple[str, Kind], ...] = (("counters", "counter"), ("gauges", "gauge"), ("summaries", "summary"))


@click.command("plan")
@click.argument("source", required=False, type=PATH)
@click.option("--counters", type=click.IntRange(0), default=None, help="Room for that many counters.")
@click.option("--gauges", type=click.IntRange(0), default=None, help="Room for that many gauges.")
@click.option("--summaries", type=click.IntRange(0), default=None, help="Room for that many summaries.")
@click.option(
    "--tier", "tiers", multiple=True, metavar="INTERVAL/RETENTION", help="A tier, finest first; once for each."
)
@click.option("--max-bytes", metavar="SIZE", help="The store that is made without schemas and with this max_bytes.")
@click.option("--vmm", is_flag=True, help="The store of `rondo vmm`.")
@click.option("--vcpus", type=click.IntRange(1), default=1, show_default=True, help="With --vmm: its virtual CPUs.")
@click.option("--format", "form", type=click.Choice(("table", "json", "toml")), default="table", show_default=True)
def command(
    source: Path | None,
    counters: int | None,
    gauges: int | None,
    summaries: int | None,
    tiers: tuple[str, ...],
    max_bytes: str | None,
    vmm: bool,
    vcpus: int,
    form: str,
) -> int:
    """Show every tier and file of a store with its size in bytes, and how long export may fail without loss.

    SOURCE is a TOML file of schemas, a store, or a directory of stores, of which each has a line; without it the
    numbers of series count, or else the defaults. The format toml writes the schemas as a file, to change and to give
    to `rondo migrate` or `read_schemas`.

    \b
    rondo plan --counters 20 --gauges 10 --summaries 2
    rondo plan --max-bytes 4MiB
    rondo plan --gauges 100 --tier 1s/10m --tier 1m/1d --format toml > schemas.toml
    rondo plan schemas.toml
    rondo plan demo.rondo
    rondo plan --vmm
    """
    from rondo_core.maintain import plan_store

    numbers = (counters, gauges, summaries)
    numbered = bool(tiers) or any(number is not None for number in numbers)
    if sum((source is not None, vmm, numbered, max_bytes is not None)) > 1:
        raise UsageError("plan: a SOURCE, --vmm, --max-bytes, or numbers of series; give one of them")
    below = stores_below(source) if source is not None else []
    if below and source is not None:
        return _plan_many(source, below, form)
    schemas: tuple[Schema, ...] | None
    if source is not None:
        schemas = _from_source(source)
    elif vmm:
        from rondo_vmm.schemas import vmm_schemas

        schemas = vmm_schemas(vcpus)
    else:
        schemas = _from_numbers(numbers, tiers) if max_bytes is None else None
    plan = plan_store(schemas, max_bytes)
    if form == "toml":
        from rondo_core.model import write_schemas

        own = [schema for schema in plan.schemas if schema.name != SELF_SCHEMA or schema not in SELF_SCHEMAS]
        data(write_schemas(own).rstrip("\n"))
    elif form == "json":
        data(json.dumps(plan.to_dict(), indent=1))
    else:
        show(_table(plan))
    return 0


def _plan_many(directory: Path, stores: list[Path], form: str) -> int:
    """Say of each store of a directory what it takes, and of all of them together."""
    from rondo_core.maintain import plan_store
    from rondo_core.storage import read_meta

    if form == "toml":
        raise UsageError(f"{directory}: a directory of stores; name one for --format toml")
    plans: dict[str, StorePlan] = {}

    def plan(store: Path, name: str) -> int:
        plans[name] = plan_store(read_meta(store).schemas)
        return 0

    worst = of_each(directory, stores, plan)
    if form == "json":
        data(json.dumps({name: each.to_dict() for name, each in plans.items()}, indent=1))
        return worst
    for name, each in plans.items():
        say(f"{name}: {each.total_bytes} bytes ({format_size(each.total_bytes)}), room for {each.max_series} series")
    total = sum(each.total_bytes for each in plans.values())
    say(f"{len(plans)} stores: {total} bytes ({format_size(total)})")
    return worst


def _from_source(source: Path) -> tuple[Schema, ...]:
    if is_directory(source):
        from rondo_core.storage import read_meta

        return read_meta(source).schemas
    from rondo_core.model import read_schemas

    return read_schemas(source)


def _from_numbers(numbers: tuple[int | None, ...], tiers: tuple[str, ...]) -> tuple[Schema, ...]:
    kept = tuple(_tier(text) for text in tiers) or DEFAULT_TIERS
    if all(number is None for number in numbers):
        return tuple(schema._replace(tiers=kept) for schema in DEFAULT_SCHEMAS)
    found = [Schema(name, kind, number, kept) for (name, kind), number in zip(NUMBERS, numbers, strict=True) if number]
    if not found:
        raise UsageError("plan: room for no series at all; give --counters, --gauges or --summaries a number above 0")
    return tuple(found)


def _tier(text: str) -> Tier:
    interval, sign, retention = text.partition("/")
    if not sign:
        raise UsageError(f"--tier {text}: no retention; write INTERVAL/RETENTION, such as 10s/6h")
    return Tier(interval, retention)


def _table(plan: StorePlan) -> str:
    rows = []
    for each in plan.tiers():
        first = not each.index
        schema, tier = each.schema, each.tier
        names = [schema.name, schema.kind, str(schema.max_series), str(schema.reserve)] if first else [""] * 4
        kept = ", ".join(each.statistics) if each.index else "every sample's bucket: " + _finest(schema)
        spans = [format_duration(tier.interval_ns), format_duration(tier.retention_ns), str(tier.slot_count)]
        rows.append([*names, str(each.index), *spans, kept, str(each.size_bytes)])
    heads = ["schema", "kind", "series", "reserve", "tier", "interval", "kept", "buckets", "statistics", "bytes"]
    tiers = render.table(heads, rows, [False, False, True, True, True, True, True, True, False, True])
    slabs = {each.file for each in plan.tiers()}
    others = [[name, str(size)] for name, size in plan.files.items() if name not in slabs]
    others += [[f"{len(slabs)} slabs", str(sum(plan.files[name] for name in slabs))], ["all", str(plan.total_bytes)]]
    files = render.table(["file", "bytes"], others, [False, True])
    total = f"{plan.total_bytes} bytes ({format_size(plan.total_bytes)}) on disk, room for {plan.max_series} series"
    return "\n".join([tiers, "", files, "", f"{total}, rondo's own among them.", _GROWTH, *_outages(plan)])


def _finest(schema: Schema) -> str:
    if schema.kind != "summary":
        return "last, min, max" if schema.peaks else "last"
    return "count, sum, min, max, totals" + (", sketch" if schema.sketch else "")


def _outages(plan: StorePlan) -> list[str]:
    """Say what an exporter loses when its receiver is away, schemas of the same tiers together."""
    from rondo_core.maintain import outage_ns

    alike: dict[tuple[Tier, ...], list[Schema]] = {}
    for schema in plan.schemas:
        spans = tuple(Tier(tier.interval_ns, tier.retention_ns) for tier in schema.tiers)
        alike.setdefault(spans, []).append(schema)
    lines = []
    for spans, schemas in alike.items():
        names = ", ".join(schema.name for schema in schemas)
        longest = outage_ns(schemas[0])
        if longest:
            said = f"{names}: export may fail for {format_duration(longest)} and loses nothing"
        else:
            said = f"{names}: export may lose buckets at any time: tier {spans[0]} is shorter than its delay"
        later = ", ".join(
            f"{format_duration(tier.interval_ns)} for {format_duration(tier.retention_ns)}" for tier in spans[1:]
        )
        lines.append(said + (f"; after that queries still have {later}." if later else "; after that it is gone."))
    return lines
