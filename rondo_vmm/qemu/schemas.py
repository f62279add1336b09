"""How a store is kept that records a QEMU: room for what its disks and virtual CPUs bring."""

from __future__ import annotations

from rondo_core import Schema, Tier
from rondo_core.model import OWN_SERIES, SELF_MATCH, SELF_SCHEMA
from rondo_vmm.plugins.taps import PER_TAP

PER_DISK, PER_VCPU = 11, 6  # counters
COUNTERS, GAUGES = 20, 14


def qemu_schemas(vcpus: int = 1, disks: int = 1, taps: int = 0) -> tuple[Schema, ...]:
    """Give the schemas for a machine of that many virtual CPUs, disks and taps, with room for one disk more."""
    counters = COUNTERS + PER_VCPU * vcpus + PER_DISK * (disks + 1) + PER_TAP * taps
    return (
        Schema(SELF_SCHEMA, "counter", OWN_SERIES, (Tier("10s", "10m"), Tier("5m", "12h", ("last",))), SELF_MATCH),
        Schema("counters", "counter", counters, _tiers(("last",), ("last",)), reserve=0),
        Schema("gauges", "gauge", GAUGES, _tiers(("min", "max", "sum"), ("max", "sum")), reserve=0),
    )


def _tiers(middle: tuple[str, ...], coarse: tuple[str, ...]) -> tuple[Tier, ...]:
    return (Tier("1s", "10m"), Tier("10s", "6h", middle), Tier("5m", "7d", coarse))
