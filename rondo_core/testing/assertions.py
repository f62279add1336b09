"""What a test says of a store: a counter's total, how it grew, a gauge's value, what was observed and marked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rondo_core.model.labels import Series, canonical_labels, format_series

if TYPE_CHECKING:
    from rondo_core.store import Store

_SHOWN = 8


class StoreAssertions:
    """Assertions about what a store that is open in this process holds by now, the second under way included.

    A series is named by its name and those of its labels that matter: counters and summaries that match are added up,
    and of gauges one may match. Labels that are no Python names are given as a mapping, after the value.
    """

    def __init__(self, store: Store) -> None:
        """Look at a store, whoever opened it."""
        self._of, self._seen = store, dict[Any, float]()

    def value(self, name: str, labels: Mapping[str, Any] | None = None, /, **more: Any) -> float | None:
        """Give a counter's total, a gauge's newest value, or how often a summary observed; None where there is none."""
        found = self._matching(name, labels, more)
        if not found:
            return None
        values = [self._newest(series, "total" if series.kind == "summary" else "last") for series in found]
        there = [value for value in values if value is not None]
        if found[0].kind == "gauge" and len(there) > 1:
            raise AssertionError(f"{self._asked(name, labels, more)}: {len(there)} gauges; {self._there(name)}")
        return sum(there) if there else None

    def assert_value(self, name: str, expected: Any, labels: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Say that `value` is what was expected, which may be pytest.approx; None: that nothing was recorded."""
        __tracebackhide__ = True
        found = self.value(name, labels, **more)
        if found != expected:
            asked = self._asked(name, labels, more)
            raise AssertionError(f"{asked}: {_written(found)}, not {_written(expected)}; {self._there(name)}")

    def assert_increased(
        self, name: str, by: Any = None, labels: Mapping[str, Any] | None = None, /, **more: Any
    ) -> None:
        """Say by how much a counter has grown since this was last said of it, at first since it began at 0.

        Args: `by`: None: by anything.
        """
        __tracebackhide__ = True
        asked, found = self._asked(name, labels, more), self._matching(name, labels, more)
        if any(series.kind == "gauge" for series in found):
            raise AssertionError(f"{asked}: a gauge, which has no growth; use assert_value")
        total = self.value(name, labels, **more) or 0.0
        key = (name, canonical_labels({**(labels or {}), **more}))
        grown, self._seen[key] = total - self._seen.get(key, 0.0), total
        if not grown > 0 if by is None else grown != by:
            wanted = "not at all" if by is None else f"by {_written(grown)}, not {_written(by)}"
            raise AssertionError(f"{asked}: increased {wanted}; {self._there(name)}")

    def assert_observed(
        self,
        name: str,
        count: Any = None,
        labels: Mapping[str, Any] | None = None,
        /,
        *,
        total: Any = None,
        least: Any = None,
        greatest: Any = None,
        **more: Any,
    ) -> None:
        """Say what a summary has observed: how often, in sum, the least and the greatest; None: whatever it was.

        With nothing but a name: that it has observed at all.
        """
        __tracebackhide__ = True
        asked, found = self._asked(name, labels, more), self._matching(name, labels, more)
        if any(series.kind != "summary" for series in found):
            raise AssertionError(f"{asked}: no summary; use assert_value")
        observed = self.value(name, labels, **more) or 0.0
        if not observed if count is None else observed != count:
            wanted = "at least one" if count is None else _written(count)
            raise AssertionError(f"{asked}: {_written(observed)} observations, not {wanted}; {self._there(name)}")
        for fn, merge, wanted in (("sum", sum, total), ("min", min, least), ("max", max, greatest)):
            if wanted is None:
                continue
            read = [self._of.query([each], fn=fn, agg=True)[0].values for each in found]
            values = [float(each[0]) for each in read if len(each)]
            if not values or merge(values) != wanted:
                what = _written(merge(values)) if values else "nothing"
                raise AssertionError(f"{asked}: {fn} of the observations is {what}, not {_written(wanted)}")

    def assert_marked(self, name: str, /, **facts: Any) -> None:
        """Say that a mark of this name was made, with these facts at least."""
        __tracebackhide__ = True
        marks = [event for event in self._of.view.events() if event.kind == "mark"]
        wanted = {key: str(value) for key, value in facts.items()}
        if not any(mark.text == name and wanted.items() <= dict(mark.facts).items() for mark in marks):
            there = ", ".join(str(mark) for mark in marks[-_SHOWN:]) or "none"
            raise AssertionError(f"mark {name!r} {wanted or ''}: not made; the marks are {there}")

    def _matching(self, name: str, labels: Mapping[str, Any] | None, more: Mapping[str, Any]) -> list[Series]:
        wanted = {*canonical_labels({**(labels or {}), **more})}
        return [each for each in self._of.registry if each.name == name and wanted <= {*each.labels}]

    def _newest(self, series: Series, fn: str) -> float | None:
        (data,) = self._of.query([series], fn=fn, open=True)
        return float(data.values[-1]) if len(data) else None

    def _asked(self, name: str, labels: Mapping[str, Any] | None, more: Mapping[str, Any]) -> str:
        return format_series(name, canonical_labels({**(labels or {}), **more}))

    def _there(self, name: str) -> str:
        """Say which series of that name there are, with their values; else which names are like it."""
        alike = [each for each in self._of.registry if each.name == name]
        if alike:
            values = [self._newest(each, "total" if each.kind == "summary" else "last") for each in alike[:_SHOWN]]
            told = [f"{each} {_written(value)}" for each, value in zip(alike, values, strict=False)]
            more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
            return f"there is {', '.join(told)}{more}"
        names = {each.name for each in self._of.registry if not each.name.startswith("rondo_")}
        near = get_close_matches(name, names, _SHOWN) or sorted(names)[:_SHOWN]
        return f"no such series; there are {', '.join(near)}" if near else "no such series; there are none"


def _written(value: Any) -> str:
    """Write a number as short as it is, whatever else as it shows itself."""
    return f"{value:g}" if isinstance(value, int | float) and float(f"{value:g}") == value else str(value)
