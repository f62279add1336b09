"""What a store will take and keep, before it is made: bytes of each tier and file, how long export may fail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from rondo_core.export.runner import SETTLE_NS
from rondo_core.model.schema import Schema, Tier, check_schemas
from rondo_core.record.growing import default_schemas, read_bound
from rondo_core.storage.directory import file_sizes


@attrs.frozen
class TierPlan:
    """One tier of one schema: `statistics` are those that queries of it can read, `size_bytes` its file's."""

    schema: Schema
    index: int
    file: str
    size_bytes: int

    @property
    def tier(self) -> Tier:
        """The tier itself."""
        return self.schema.tiers[self.index]

    @property
    def statistics(self) -> tuple[str, ...]:
        """What a row keeps of each series; of the finest tier the samples themselves."""
        return self.schema.cells(self.index)


@attrs.frozen
class StorePlan:
    """All of a store: its schemas, rondo's own among them, and every file with its size in bytes."""

    schemas: tuple[Schema, ...]
    files: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """What the store takes on disk, from its making on; the small cursors of exporters come on top."""
        return sum(self.files.values())

    @property
    def max_series(self) -> int:
        """How many series the store has room for, rondo's own counted."""
        return sum(schema.max_series for schema in self.schemas)

    def tiers(self) -> list[TierPlan]:
        """Give every tier of every schema."""
        return [
            TierPlan(schema, index, name := schema.slab_name(index), self.files[name])
            for schema in self.schemas
            for index in range(len(schema.tiers))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Describe it in plain values."""
        schemas = [
            {
                "name": schema.name,
                "kind": schema.kind,
                "max_series": schema.max_series,
                "match": schema.match,
                "sketch": schema.sketch,
                "reserve": schema.reserve,
                "peaks": schema.peaks,
                "size_bytes": schema.size_bytes(),
                "outage_ns": outage_ns(schema),
                "tiers": [
                    {
                        "interval_ns": each.tier.interval_ns,
                        "retention_ns": each.tier.retention_ns,
                        "slots": each.tier.slot_count,
                        "statistics": list(each.statistics),
                        "file": each.file,
                        "size_bytes": each.size_bytes,
                    }
                    for each in self.tiers()
                    if each.schema is schema
                ],
            }
            for schema in self.schemas
        ]
        return {"schemas": schemas, "files": self.files, "total_bytes": self.total_bytes, "max_series": self.max_series}


def plan_store(schemas: Iterable[Schema] | None, max_bytes: int | str | None = None) -> StorePlan:
    """Plan a store with these schemas; rondo's own is added where they do not have it.

    Args: `schemas`: None: those of a store that is made without any, with as much room as `max_bytes` holds.
    Raises: SchemaError: two have one name; UsageError: `max_bytes` is no size.
    """
    whole = default_schemas(read_bound(max_bytes)) if schemas is None else check_schemas(schemas)
    return StorePlan(whole, file_sizes(whole))


def outage_ns(schema: Schema) -> int:
    """Give the longest time between two exports that get through, by which no bucket of the finest tier is lost, ns.

    The ring holds as many buckets as it has slots, the open one included. An export sends those that ended a settling
    time ago: when it fails from then on, up to one whole bucket and the settling time were not sent yet.
    """
    finest = schema.tiers[0]
    return max(0, finest.retention_ns - finest.interval_ns - SETTLE_NS)
