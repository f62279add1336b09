"""What observes a run: its exits added up, its milestones, what its console says, its ticks, and how it ended."""

from rondo_core.record import prefer_compiled

prefer_compiled(*__path__)
