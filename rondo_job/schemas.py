"""How a life is kept: three tiers, the finest of them as fine as was asked for, in about 3 MB."""

from __future__ import annotations

from rondo_core import Schema, Tier
from rondo_core.clock import NS_PER_S
from rondo_core.errors import UsageError
from rondo_core.model import OWN_SERIES, SELF_MATCH, SELF_SCHEMA
from rondo_core.units import format_duration

COUNTERS, GAUGES = 40, 32  # of the job's recorders, and as many again for `rondo set` and others' recorders
LEAST_NS = 50_000_000
_EXPORTER_SERIES = 10  # by which each exporter is counted


def job_schemas(every_ns: int, n_exporters: int = 0) -> tuple[Schema, ...]:
    """Give the schemas of a life that is measured so often.

    Raises: UsageError: more seldom than each second, more often than 50 ms, or no part of a second.
    """
    if not LEAST_NS <= every_ns <= NS_PER_S or NS_PER_S % every_ns:
        what = "a part of a second from 50ms on, such as 100ms, 200ms, 500ms or 1s"
        raise UsageError(f"--every {format_duration(every_ns)}: {what}")
    own = OWN_SERIES + _EXPORTER_SERIES * n_exporters
    return (
        Schema(SELF_SCHEMA, "counter", own, (Tier("10s", "10m"), Tier("5m", "2h", ("last",))), SELF_MATCH),
        Schema("counters", "counter", COUNTERS, _tiers(every_ns, ("last",), ("last",))),
        Schema("gauges", "gauge", GAUGES, _tiers(every_ns, ("min", "max", "sum"), ("max", "sum")), peaks=True),
    )


def _tiers(every_ns: int, kept: tuple[str, ...], coarse: tuple[str, ...]) -> tuple[Tier, ...]:
    middle = (Tier("1s", "10m", kept),) if every_ns < NS_PER_S else ()
    fine = Tier("1s", "10m") if not middle else Tier(every_ns, 120 * NS_PER_S)
    return (fine, *middle, Tier("10s", "3h", kept), Tier("5m", "7d", coarse))
