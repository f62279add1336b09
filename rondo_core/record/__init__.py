"""The write path: handles, the writer behind them, consolidation; numpy nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of
from rondo_core.record import compiled

if TYPE_CHECKING:
    from rondo_core.record import cython_shadow as cython_shadow
    from rondo_core.record import handles as handles
    from rondo_core.record.compiled import prefer_compiled as prefer_compiled
    from rondo_core.record.consolidation import load_fold as load_fold
    from rondo_core.record.gauges import Gauge as Gauge
    from rondo_core.record.handles import Counter as Counter
    from rondo_core.record.handles import Summary as Summary

compiled.prefer_compiled(*__path__)
_HOME = {
    "Counter": "handles",
    "Gauge": "gauges",
    "Summary": "handles",
    "handles": "",
    "cython_shadow": "",
    "prefer_compiled": "compiled",
    "load_fold": "consolidation",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
