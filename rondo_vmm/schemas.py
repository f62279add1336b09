"""How a monitor's store is kept unless asked otherwise: three tiers and room for 16 series in under 1.5 MB.

Milestones are beside them, in tiers as coarse as they are rare: what counts is their value. A receiver takes a point
that is some minutes behind, and none that is hours behind.

What the coarse tiers leave out is what can be had otherwise: a counter's first total is the last one of the window
before, a gauge's first and last are in the finer tiers, a summary's running totals are those of its finest tier.
"""

from __future__ import annotations

from rondo_core import Schema, Tier
from rondo_core.model import OWN_SERIES, SELF_MATCH, SELF_SCHEMA
from rondo_vmm.config import VmConfig
from rondo_vmm.errors import ConfigError
from rondo_vmm.hookspecs import EXIT_REASONS, MILESTONES

OUTCOMES = 4  # of a line that the guest hands in

COUNTERS, GAUGES, SUMMARIES = 11, 3, 2
TIMES = 2  # counters of a virtual CPU beside its exits: CPU time and steal
MILESTONE_SCHEMA = "milestones"
BALLOON_COUNTERS, BALLOON_GAUGES, MEMORY_GAUGES = 4, 6, 2
GUEST_SERIES = 16
ROOM_OF_A_RECORDER = {"counters": 32, "gauges": 16, "summaries": 4}


def vmm_schemas(
    vcpus: int = 1, disks: int = 0, *, memory: bool = False, balloon: bool = False, guest_samples: bool = False
) -> tuple[Schema, ...]:
    """Give the schemas for a machine: room for the exits and durations of each virtual CPU, and for its devices.

    What a machine declares is known before, so nothing is kept for an overflow: what has no room is not recorded.
    Args: `memory`: guest memory is recorded; `guest_samples`: the guest hands in series of its own, at most 16
        counters and 16 gauges.
    Raises: ConfigError: less than one virtual CPU.
    """
    if vcpus < 1:
        raise ConfigError(f"{vcpus} virtual CPUs: at least 1")
    more = vcpus - 1
    counters = COUNTERS + (len(EXIT_REASONS) + TIMES) * more
    if disks:
        from rondo_vmm.devices.virtio.block.request import OPS

        counters += (len(OPS) + 3) * disks  # requests by op, bytes read and written, errors
    gauges = GAUGES + disks + (MEMORY_GAUGES if memory else 0)
    if balloon:
        counters, gauges = counters + BALLOON_COUNTERS, gauges + BALLOON_GAUGES
    if guest_samples:
        counters, gauges = counters + GUEST_SERIES + OUTCOMES, gauges + GUEST_SERIES
    summary = ("count", "sum", "max")
    return (
        Schema(SELF_SCHEMA, "counter", OWN_SERIES, (Tier("10s", "10m"), Tier("5m", "2h", ("last",))), SELF_MATCH),
        Schema(
            MILESTONE_SCHEMA,
            "gauge",
            len(MILESTONES),
            (Tier("5m", "6h"), Tier("3h", "7d", ("max",))),
            "vmm_milestone_seconds",
            reserve=0,
        ),
        Schema("counters", "counter", counters, _tiers(("last",), ("last",)), reserve=0),
        Schema("gauges", "gauge", gauges, _tiers(("min", "max", "sum"), ("max", "sum")), reserve=0),
        Schema("summaries", "summary", SUMMARIES * vcpus + disks, _tiers(summary, summary), reserve=0),
    )


def schemas_for(config: VmConfig) -> tuple[Schema, ...]:
    """Give the schemas for the machine that was asked for."""
    if config.machine == "qemu":
        from rondo_vmm.qemu.schemas import qemu_schemas

        return qemu_schemas(config.vcpus, len(config.disks))
    return vmm_schemas(
        config.vcpus,
        disks=len(config.disks),
        memory=config.has_virtio,
        balloon=config.balloon,
        guest_samples=config.guest_samples,
    )


def with_recorders(schemas: tuple[Schema, ...], more: int) -> tuple[Schema, ...]:
    """Make room for the series of so many recorders beside the machine's own: `ROOM_OF_A_RECORDER` of each."""
    return tuple(
        schema._replace(max_series=schema.max_series + ROOM_OF_A_RECORDER.get(schema.name, 0) * more)
        for schema in schemas
    )


def _tiers(middle: tuple[str, ...], coarse: tuple[str, ...]) -> tuple[Tier, ...]:
    return (Tier("1s", "10m"), Tier("10s", "6h", middle), Tier("5m", "7d", coarse))


VMM_SCHEMAS = vmm_schemas()
