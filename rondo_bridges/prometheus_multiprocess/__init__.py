"""prometheus_client over several processes, its values in rondo stores in place of mapped files.

`install(directory)`, before the first instrument is made; `MultiProcessCollector(registry)` gives what all processes
counted, the ended ones included. What ended processes have left is added up in one store and removed: the directory
does not grow with their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_bridges.prometheus_multiprocess.collector import MultiProcessCollector as MultiProcessCollector
    from rondo_bridges.prometheus_multiprocess.ended import mark_process_dead as mark_process_dead
    from rondo_bridges.prometheus_multiprocess.values import install as install

_HOME = {"MultiProcessCollector": "collector", "install": "values", "mark_process_dead": "ended"}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
