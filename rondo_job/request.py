"""A run as it is asked for, and what became of it, with the line that says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.plugins import Config
from rondo_core.units import format_size
from rondo_job.facts import LifeEnd, Method


@attrs.frozen
class RunRequest:
    """What was asked for.

    Attributes:
        command: what is run; directory: of lives; name: of the life, empty: by the command.
        every_ns: how often it is measured after the first ten seconds.
        timeout_s: after which it is ended; memory_max: bytes that it may have, None: as ever.
        copied: whether its output is copied, so that there is a tail of it.
        methods: of measuring that may be used, before the tree.
        config: of the file; keep: the bound of the directory, see `Bound.read`.
    """

    command: tuple[str, ...]
    directory: Path
    name: str = ""
    every_ns: int = NS_PER_S
    timeout_s: float | None = None
    memory_max: int | None = None
    copied: bool = True
    methods: tuple[Method, ...] = ("cgroup2", "cgroup1")
    config: Config = attrs.field(factory=Config)
    keep: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class RunResult:
    """What became of it.

    Attributes:
        exit_status: the job's own; 128 and the signal that ended it; 124: the timeout; 127, 126: it could not be begun,
            and `end.not_begun` says why.
        life: where its store is; None: it was not recorded, and `unrecorded` says why.
        wall_s; method.
    """

    exit_status: int
    wall_s: float
    end: LifeEnd
    life: Path | None = None
    method: str = ""
    unrecorded: str = ""

    def summary(self) -> str:
        """Say on one line how it ended, what it took, where its life lies, and what to ask where it went wrong."""
        end = self.end
        if end.not_begun:
            return end.not_begun if self.life is None else f"{end.not_begun}; life {self.life}"
        timed_out = " (timed out)" if end.timed_out else ""
        parts = [f"{end}{timed_out} after {self.wall_s:.2f} s"]
        least = "at least " if end.left_group else ""
        if end.cpu_s is not None:
            parts.append(f"{least}{end.cpu_s:.2f} s CPU")
        if end.memory_peak_bytes is not None:
            parts.append(f"peak {least}{format_size(end.memory_peak_bytes)} with page cache")
        elif end.usage is not None and end.usage.max_rss_bytes and self.life is not None:
            parts.append(f"largest process {format_size(end.usage.max_rss_bytes)}")
        own = next((each for each in end.after.levels if each.own), None) if end.after is not None else None
        if own is not None and own.oom_kill:
            limit = f" (limit {format_size(own.limit_bytes)})" if own.limit_bytes else ""
            parts.append(f"{own.oom_kill} of its processes killed for want of memory{limit}")
        if self.life is None:
            return ", ".join(parts)
        what = "life" if self.exit_status == 0 else "see rondo autopsy"
        method = f"{self.method}, which processes of it left" if end.left_group else self.method
        return f"{', '.join(parts)} ({method}); {what} {self.life}"
