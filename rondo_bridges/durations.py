"""Summaries of durations in seconds, with quantiles where a store keeps sketches."""

from __future__ import annotations

from collections.abc import Mapping

from rondo_core import Store, Summary


def declare_summary(store: Store, name: str, labels: Mapping[str, str], help_text: str, *, quantiles: bool) -> Summary:
    """Declare a summary of seconds. Raises: as `Store.summary`."""
    return store.summary(name, labels, help=help_text, unit="seconds", quantiles=quantiles)
