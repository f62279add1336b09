"""rondo's own plugins pass the suites that it gives to others."""

from rondo_core.builtin import consolidators, process, quantiles
from rondo_core.testing import ConsolidatorTests, RecorderTests


class TestProcess(RecorderTests):
    """The process's own memory, CPU time, descriptors and threads."""

    plugin = process
    name = "process"


class TestStandard(ConsolidatorTests):
    """The readings that everyone knows."""

    plugin = consolidators
    name = "standard"
    standing = ("total",)


class TestQuantiles(ConsolidatorTests):
    """Quantiles from sketches."""

    plugin = quantiles
    name = "quantiles"
