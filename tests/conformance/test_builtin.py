"""rondo's own plugins pass the suites that it gives to others."""

from typing import ClassVar

from rondo_core.builtin import (
    cgroup,
    consolidators,
    event_loop,
    host,
    interpreter,
    process,
    python_threads,
    quantiles,
)
from rondo_core.testing import ConsolidatorTests, RecorderTests


class TestProcess(RecorderTests):
    """The process's own memory, CPU time, descriptors and threads."""

    plugin = process
    name = "process"


class TestPython(RecorderTests):
    """Garbage collections, allocated blocks; a second without a collection has no pause, and blocks may be spared."""

    plugin = interpreter
    name = "python"
    sparse = ("python_gc_pause_seconds", "python_allocated_blocks")


class TestAsyncio(RecorderTests):
    """Event loops, of which there may be none."""

    plugin = event_loop
    name = "asyncio"
    sparse = ("asyncio_loop_lag_seconds", "asyncio_loop_blocked_seconds", "asyncio_tasks")


class TestThreads(RecorderTests):
    """Python's threads by name; of hundreds, the counting may be spared."""

    plugin = python_threads
    name = "threads"
    sparse = ("python_threads",)
    config: ClassVar[dict[str, int]] = {"max_groups": 8}


class TestHost(RecorderTests):
    """The machine; the numbers of a very large one may be spared."""

    plugin = host
    name = "host"
    config: ClassVar[dict[str, int]] = {"max_disks": 1, "max_interfaces": 1}


class TestCgroup(RecorderTests):
    """The process's control group."""

    plugin = cgroup
    name = "cgroup"


class TestStandard(ConsolidatorTests):
    """The readings that everyone knows."""

    plugin = consolidators
    name = "standard"
    standing = ("total",)


class TestQuantiles(ConsolidatorTests):
    """Quantiles from sketches."""

    plugin = quantiles
    name = "quantiles"
