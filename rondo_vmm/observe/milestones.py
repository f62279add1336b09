"""How far a guest has come: its first instruction, its first byte on the console, init, and what it names there itself.

A guest names the phases of its workload on the console, as rondo's own guests do: `rondo-guest phase cpu`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rondo_vmm.hookspecs import MILESTONES, OnMilestone

MARK = b"rondo-guest "
PHASE = MARK + b"phase "
LINUX_INIT = b" as init process"  # Linux: "Run /init as init process"


class Milestones:
    """What was reached when; each counts once, and what a guest may make up beside MILESTONES does not count."""

    def __init__(self, began_ns: int, observers: Sequence[OnMilestone]) -> None:
        """Count from `began_ns`, by the wall clock."""
        self._began_ns, self._observers = began_ns, observers
        self._reached: set[str] = set()

    def reach(self, name: str, now_ns: int) -> None:
        """Tell of a milestone."""
        if name in MILESTONES and name not in self._reached:
            self._reached.add(name)
            for observe in self._observers:
                observe(name, now_ns - self._began_ns, now_ns)

    def on_line(self, line: bytes, now_ns: int) -> None:
        """Look for milestones in a line of the console, whose first byte came at `now_ns`."""
        self.reach("first_byte", now_ns)
        if LINUX_INIT in line or line.startswith(MARK):
            self.reach("init", now_ns)
        if line.startswith(PHASE):
            self.reach("phase_" + line.removeprefix(PHASE).decode("ascii", "replace").strip(), now_ns)
        elif line.strip() == MARK + b"done":
            self.reach("done", now_ns)
