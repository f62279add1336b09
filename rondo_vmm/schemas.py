"""How a monitor's store is kept unless asked otherwise: three tiers and room for 16 series in under 1.5 MB.

Milestones are beside them, in one tier that is as coarse as they are rare: what counts is their value.

What the coarse tiers leave out is what can be had otherwise: a counter's first total is the last one of the window
before, a gauge's first and last are in the finer tiers, a summary's running totals are those of its finest tier.
"""

from __future__ import annotations

from rondo_core import Schema, Tier
from rondo_core.schema import SELF_MATCH, SELF_SCHEMA
from rondo_vmm.errors import ConfigError
from rondo_vmm.machine import REASONS
from rondo_vmm.milestones import NAMES

COUNTERS, GAUGES, SUMMARIES = 11, 3, 2
TIMES = 2  # counters of a virtual CPU beside its exits: CPU time and steal
MILESTONES = "milestones"


def vmm_schemas(vcpus: int = 1) -> tuple[Schema, ...]:
    """Give the schemas for a machine of that many virtual CPUs: room for the exits and durations of each.

    Raises: ConfigError: less than one.
    """
    if vcpus < 1:
        raise ConfigError(f"{vcpus} virtual CPUs: at least 1")
    more = vcpus - 1
    return (
        Schema(SELF_SCHEMA, "counter", 16, (Tier("10s", "10m"), Tier("5m", "6h", ("last",))), SELF_MATCH),
        Schema(MILESTONES, "gauge", len(NAMES), (Tier("3h", "7d"),), "vmm_milestone_seconds"),
        Schema("counters", "counter", COUNTERS + (len(REASONS) + TIMES) * more, _tiers(("last",), ("last",))),
        Schema("gauges", "gauge", GAUGES, _tiers(("min", "max", "sum"), ("max", "sum"))),
        Schema("summaries", "summary", SUMMARIES * vcpus, _tiers(("count", "sum", "max"), ("count", "sum", "max"))),
    )


def _tiers(middle: tuple[str, ...], coarse: tuple[str, ...]) -> tuple[Tier, ...]:
    return (Tier("1s", "10m"), Tier("10s", "6h", middle), Tier("5m", "7d", coarse))


VMM_SCHEMAS = vmm_schemas()
