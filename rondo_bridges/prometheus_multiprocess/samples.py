"""What a value of prometheus_client is called in a store, and how its family is known again.

A counter, and each count, sum and bucket, is a counter of the sample's own name and labels. A gauge has its mode as a
label. What is taken away from a total (a sum of observations below nought, a reset) is a counter beside it; when a
gauge of a `mostrecent` mode was set is a gauge beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rondo_core.model import Labels, Series

MODE = "multiprocess_mode"
PART = "rondo_part"
LESS = "less"  # the part that is taken away from a total
SET_AT = "set_at"  # the part that says when a gauge was set, s since the epoch
SLOT = "rondo_slot"  # which of the ended processes a gauge of mode `all` is of


class Identity(NamedTuple):
    """A sample's name, its labels as prometheus_client has them, and a gauge's mode; a total has none."""

    name: str
    labels: Labels
    mode: str = ""


class Reading(NamedTuple):
    """A sample's value in one process; `set_at` where its mode asks when, s since the epoch; its help."""

    value: float
    set_at: float = 0.0
    help: str = ""


def labels_of(identity: Identity, part: str = "") -> dict[str, str]:
    """Give the labels with which a store has the sample, or a part of it."""
    more = {MODE: identity.mode, PART: part}
    return {**dict(identity.labels), **{name: value for name, value in more.items() if value}}


def readings_of(found: Iterable[tuple[Series, float]]) -> dict[Identity, Reading]:
    """Put together what one store holds."""
    readings: dict[Identity, Reading] = {}
    for series, value in found:
        labels = dict(series.labels)
        part, mode = labels.pop(PART, ""), labels.pop(MODE, "")
        if (series.kind == "gauge") != bool(mode) or series.name.startswith("rondo_"):
            continue  # a series of the store's own, or of another's in it
        identity = Identity(series.name, tuple(labels.items()), mode)
        known = readings.get(identity, Reading(0.0))
        if part == LESS:
            readings[identity] = known._replace(value=known.value - value)
        elif part == SET_AT:
            readings[identity] = known._replace(set_at=value)
        else:
            readings[identity] = known._replace(value=known.value + value, help=series.help)
    return readings


def families(names: Iterable[Identity]) -> Mapping[Identity, tuple[str, str]]:
    """Tell each sample's family and kind of metric, as prometheus_client names them, from all the samples there are."""
    names = list(names)
    buckets = {each.name.removesuffix("_bucket") for each in names if _is_bucket(each)}
    return {each: family for each in names for family in _family(each, buckets)}


def _is_bucket(identity: Identity) -> bool:
    return not identity.mode and identity.name.endswith("_bucket") and any(name == "le" for name, _ in identity.labels)


def _family(identity: Identity, histograms: set[str]) -> Iterator[tuple[str, str]]:
    name = identity.name
    if identity.mode:
        yield name, "gauge"
    elif _is_bucket(identity):
        yield name.removesuffix("_bucket"), "histogram"
    elif name.endswith("_total"):
        yield name.removesuffix("_total"), "counter"
    elif name.endswith("_sum") and name.removesuffix("_sum") in histograms:
        yield name.removesuffix("_sum"), "histogram"
    elif name.endswith(("_sum", "_count")):
        yield name.rpartition("_")[0], "summary"
