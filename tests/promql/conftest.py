"""A source over plain lists, and how a truth is written down: labels and values, series by series."""

import struct

import numpy as np
import pytest

from rondo_promql import STALE_BITS, Histograms, evaluate, evaluate_instant

STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
MINUTE = 60_000


class Lists:
    """A source over a list of series; it keeps the hints that it was given."""

    def __init__(self, *series):
        self.series, self.hints, self.asked = list(series), [], []

    def select(self, matchers, start_ms, end_ms, hint):
        self.hints.append(hint)
        self.asked.append((start_ms, end_ms))
        found = []
        for labels, timestamps, values, *more in self.series:
            if all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers):
                stamps = np.asarray(timestamps, dtype=np.int64)
                kept = (stamps >= start_ms) & (stamps <= end_ms)
                inside = values.rows(kept) if isinstance(values, Histograms) else np.asarray(values, dtype=float)[kept]
                found.append((labels, stamps[kept], inside, *(np.asarray(each)[kept] for each in more)))
        return found


def series(name, values, every_ms=MINUTE, start_ms=0, **labels):
    """Make a series of samples at even distances; None is no sample."""
    kept = [(start_ms + place * every_ms, value) for place, value in enumerate(values) if value is not None]
    return {"__name__": name, **labels}, [at for at, _ in kept], [value for _, value in kept]


def written(labels):
    """Write labels as PromQL does."""
    name = labels.get("__name__", "")
    rest = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__")
    return f"{name}{{{rest}}}" if rest else name or "{}"


@pytest.fixture(name="lists")
def _lists():
    """Make a source of series: `lists(series("up", [1, 2]))`."""
    return Lists


@pytest.fixture(name="series")
def _series():
    return series


@pytest.fixture(name="stale")
def _stale():
    """The mark that ends a series."""
    return STALE


@pytest.fixture
def at():
    """Ask at one time, and give {written labels: value}."""

    def ask(source, query, at_ms):
        return {written(labels): value for labels, value in evaluate_instant(query, source, at_ms).plain()}

    return ask


@pytest.fixture
def over():
    """Ask at steps, and give {written labels: values at each step, None where there is none}."""

    def ask(source, query, start_ms, end_ms, step_ms):
        found = {}
        for labels, stamps, values in evaluate(query, source, start_ms, end_ms, step_ms).plain():
            held = dict(zip(stamps.tolist(), values.tolist(), strict=True))
            found[written(labels)] = [held.get(each) for each in range(start_ms, end_ms + 1, step_ms)]
        return found

    return ask
