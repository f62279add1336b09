"""Consolidators: named readings of statistics, such as avg, last and p99."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from rondo_core.errors import ConsolidatorError, meant
from rondo_core.model.labels import Kind

DEFAULT_FN: dict[Kind, str] = {"counter": "last", "gauge": "avg", "summary": "avg"}


@attrs.frozen(eq=False)
class Consolidator:
    """A named reading of statistics.

    Attributes:
        name: what `--fn` takes.
        kinds: of which series it can be read.
        needs: the statistics that `read` is given.
        read: statistics -> values. Each statistic is float64 [rows, series], NaN where absent; `timestamps_ns`
            int64 [rows] and `interval_ns` int64 [rows] are passed beside them. The result has the same shape.
        help: one line for people.
        of_one: that the reading of a bucket with one sample is the sample itself, as the mean's is; such a reading
            of the finest tier of counters and gauges is had without a call.
        error: statistics -> the most by which a value can be off, as a share of it; None: values are exact.
        grows: that a reading is of what a point has more than the one before it, as a rate is: a range then has the
            points whose buckets begin in it, the first one read against the point before the range, so that ranges
            side by side add up. `read` is given one more statistic, "birth": 0 where a series was born in the bucket,
            else NaN.
        accumulates: that a reading of the bucket that is still recorded into is of a part of it, as a count is: it is
            left out until the bucket is over, unless it is asked for; so is one that `grows`.
        adds_up: that the readings of several series for a whole range add up to that of all of them, as increases do.
        family: name -> consolidator, or None: makes those of other names that belong with this one, as p42 with p99.
    """

    name: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...]
    read: Callable[[Mapping[str, Any], Any, Any], Any]
    help: str = ""
    of_one: bool = False
    error: Callable[[Mapping[str, Any]], Any] | None = None
    grows: bool = False
    accumulates: bool = False
    adds_up: bool = False
    family: Callable[[str], Consolidator | None] | None = None

    @property
    def waits(self) -> bool:
        """Whether the bucket that is still recorded into is left out, unless it is asked for."""
        return self.grows or self.accumulates


Consolidators = Mapping[tuple[str, Kind], Consolidator]


def pick_consolidator(name: str | None, kind: Kind, consolidators: Consolidators) -> Consolidator:
    """Find the consolidator by name, or the kind's default.

    Raises: ConsolidatorError: there is none of that name, or it does not read this kind.
    """
    wanted = name or DEFAULT_FN[kind]
    found = consolidators.get((wanted, kind)) or _of_a_family(wanted, kind, consolidators)
    if found is not None:
        return found
    fitting = sorted(known for known, fits in consolidators if fits == kind)
    what = f"not for a {kind}" if any(known == wanted for known, _ in consolidators) else "no such consolidator"
    raise ConsolidatorError(f"fn {wanted}: {what}; {meant(str(wanted), fitting)}choose {', '.join(fitting)}")


def _of_a_family(name: str, kind: Kind, consolidators: Consolidators) -> Consolidator | None:
    families = dict.fromkeys(each.family for (_, fits), each in consolidators.items() if fits == kind and each.family)
    return next((found for make in families if (found := make(name)) is not None and kind in found.kinds), None)


def is_known(name: str, consolidators: Consolidators) -> bool:
    """Say whether some kind of series can be read by this name."""
    kinds = {kind for _, kind in consolidators}
    return any((name, kind) in consolidators or _of_a_family(name, kind, consolidators) for kind in kinds)
