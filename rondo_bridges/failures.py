"""Failures of a bridge: counted, and warned of once a kind; they never reach the program that is measured."""

from __future__ import annotations

import logging

_KINDS = 32  # that are warned of; whatever comes beyond is counted only


class Failures:
    """How often something could not be recorded.

    Attributes: `count`: all of them. Threads may share it.
    """

    def __init__(self, bridge: str) -> None:
        """Count for a bridge, by the name that its warnings carry."""
        self._bridge = bridge
        self._known: set[str] = set()
        self.count = 0

    def take(self, error: BaseException, what: str = "") -> None:
        """Count a failure; the first of its kind is a warning, of one line."""
        from rondo_core.errors import one_line

        self.count += 1
        line = f"{what}: {one_line(error)}" if what else one_line(error)
        kind = f"{type(error).__name__} {what}"
        if kind not in self._known and len(self._known) < _KINDS:
            self._known.add(kind)
            logging.getLogger("rondo.bridges").warning("%s: %s; the program goes on", self._bridge, line)
