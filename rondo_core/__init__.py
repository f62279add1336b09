"""rondo: a process's metrics inside the process, at one-second resolution, and beyond its end.

Names are loaded when they are first used, so that a program that only records pays for nothing else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.builtin.event_loop import watch_loop as watch_loop
    from rondo_core.clock import ManualClock as ManualClock
    from rondo_core.errors import RondoError as RondoError
    from rondo_core.export.batch import Batch as Batch
    from rondo_core.export.batch import Part as Part
    from rondo_core.hookspecs import hookimpl as hookimpl
    from rondo_core.hookspecs import hookspec as hookspec
    from rondo_core.model.consolidator import Consolidator as Consolidator
    from rondo_core.model.labels import Series as Series
    from rondo_core.model.ranges import Range as Range
    from rondo_core.model.schema import Schema as Schema
    from rondo_core.model.schema import Tier as Tier
    from rondo_core.model.schema_file import read_schemas as read_schemas
    from rondo_core.opening import open_store as open_store
    from rondo_core.plugins.manager import Plugins as Plugins
    from rondo_core.plugins.options import Option as Option
    from rondo_core.read.query import SeriesData as SeriesData
    from rondo_core.read.store_reader import StoreReader as StoreReader
    from rondo_core.read.stores import StoresReader as StoresReader
    from rondo_core.record.batches import CounterBatch as CounterBatch
    from rondo_core.record.batches import GaugeBatch as GaugeBatch
    from rondo_core.record.gauges import Gauge as Gauge
    from rondo_core.record.handles import Counter as Counter
    from rondo_core.record.handles import Summary as Summary
    from rondo_core.store import Store as Store

if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError("rondo: this interpreter runs without the GIL, which recording needs; start it with PYTHON_GIL=1")

_HOME = {
    "Batch": "export.batch",
    "Consolidator": "model.consolidator",
    "Counter": "record.handles",
    "CounterBatch": "record.batches",
    "Gauge": "record.gauges",
    "GaugeBatch": "record.batches",
    "ManualClock": "clock",
    "Option": "plugins.options",
    "Part": "export.batch",
    "Plugins": "plugins.manager",
    "Range": "model.ranges",
    "RondoError": "errors",
    "Schema": "model.schema",
    "Series": "model.labels",
    "SeriesData": "read.query",
    "Store": "store",
    "StoreReader": "read.store_reader",
    "StoresReader": "read.stores",
    "Summary": "record.handles",
    "Tier": "model.schema",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
    "open_store": "opening",
    "read_schemas": "model.schema_file",
    "watch_loop": "builtin.event_loop",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
_load, __dir__ = names_of(__name__, _HOME)


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-tsdb")
    return _load(name)
