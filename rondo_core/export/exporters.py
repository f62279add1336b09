"""The configured exporters of a live store, each sending from a thread of its own beside whoever records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.errors import RondoError, one_line
from rondo_core.export.options import MISTAKES, check_exporters
from rondo_core.export.outcome import Outcome
from rondo_core.export.runner import Runner, open_runner
from rondo_core.record import selfmetrics

if TYPE_CHECKING:
    from rondo_core.store import Store

logger = logging.getLogger("rondo.export")


class Exporters:
    """The exporters of one store. One that is broken, or hangs, stops neither recording nor the others."""

    def __init__(
        self, store: Store, tables: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str] | None = None
    ) -> None:
        """Open every exporter, and start the threads of those that can be opened.

        Args: `tables`: name -> table, as of `exporters` in a config; `labels`: what every series gets on its way out,
            over its own.
        Attributes: `failed`: name -> why it could not be opened; it is logged, and counted as a plugin's failure.
        Raises: UsageError: a table is wrong; PluginNotFoundError: a plugin is not installed; nothing was started then.
        """
        check_exporters(tables, labels or ())
        self._runners: dict[str, Runner] = {}
        self.failed: dict[str, str] = {}
        try:
            for name, table in tables.items():
                try:
                    count = store.self_metrics.set_total
                    self._runners[name] = open_runner(
                        store.view, name, dict(table), clock=store.clock, count=count, labels=labels
                    )
                except MISTAKES:
                    raise
                except RondoError as error:
                    self.failed[name] = one_line(error)
                    store.self_metrics.set_total(selfmetrics.PLUGIN_FAILURES, 1, plugin=name)
                    what = "recording goes on without this exporter"
                    logger.warning("%s: exporters.%s: %s; %s", store.path, name, one_line(error), what)
        except BaseException:
            self.close(0)
            raise
        for runner in self._runners.values():
            runner.start()

    def close(self, ended_run: int) -> dict[str, Outcome]:
        """Let every exporter send what is left, all at the same time, each within its own deadline.

        Call it after the store was closed. Args: `ended_run`: the run that has ended; 0: none has.
        Returns: what each has done, by name.
        """
        for runner in self._runners.values():
            runner.begin_close(ended_run)
        return {name: runner.wait() for name, runner in self._runners.items()}
