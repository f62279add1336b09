"""What tests use: a store in memory with assertions, for programs; a conformance suite for each family of plugins.

A suite is subclassed in a test module and given what it asks for; pytest does the rest. `HttpReceiver` is what an
exporter by HTTP sends to in a test. Needs pytest; nothing of rondo imports this package.
"""

# ruff: noqa: E402 - pytest is told of the suites before they are imported
import pytest

# So that what fails says what it got and what it wanted, as a test's own assertions do.
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in ("consolidator", "exporter", "recorder")))

from rondo_core.testing.assertions import StoreAssertions as StoreAssertions
from rondo_core.testing.consolidator import ConsolidatorTests as ConsolidatorTests
from rondo_core.testing.exporter import ExporterTests as ExporterTests
from rondo_core.testing.exporter import Receiver as Receiver
from rondo_core.testing.http import HttpReceiver as HttpReceiver
from rondo_core.testing.recorder import RecorderTests as RecorderTests
from rondo_core.testing.stores import START_NS as START_NS
from rondo_core.testing.stores import fill_store as fill_store
from rondo_core.testing.stores import make_part as make_part
from rondo_core.testing.stores import read_batches as read_batches
from rondo_core.testing.temporary import TemporaryStore as TemporaryStore

__all__ = [
    "START_NS",
    "ConsolidatorTests",
    "ExporterTests",
    "HttpReceiver",
    "Receiver",
    "RecorderTests",
    "StoreAssertions",
    "TemporaryStore",
    "fill_store",
    "make_part",
    "read_batches",
]
