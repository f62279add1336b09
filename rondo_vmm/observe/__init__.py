"""What observes a run: its exits added up, its milestones, what its console says, its ticks, and how it ended."""
