"""Record how far the guest came, and when: one gauge per milestone, set once."""

from __future__ import annotations

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import MILESTONES, OnMilestone

HELP = "When the guest came this far, counted from when its monitor began."


@hookimpl
def rondo_vmm_milestone_bind(declare: Declare) -> OnMilestone:
    """Declare the gauges."""
    reached = {
        name: declare.gauge("vmm_milestone_seconds", help=HELP, unit="seconds", milestone=name).set
        for name in MILESTONES
    }

    def on_milestone(name: str, since_ns: int, now_ns: int) -> None:
        reached[name](since_ns / NS_PER_S, now_ns)

    return on_milestone
