"""The conformance suite of consolidators: what queries rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rondo_core.clock import ManualClock
from rondo_core.model.consolidator import Consolidator
from rondo_core.model.labels import KINDS
from rondo_core.model.schema import Schema, Tier
from rondo_core.model.statistics import coarse_statistics
from rondo_core.plugins.manager import Plugins
from rondo_core.store import Store
from rondo_core.testing.stores import START_NS

TIERS = (Tier("1s", "2m"), Tier("10s", "10m"))


class ConsolidatorTests:
    """Subclass it and name the plugin.

    Attributes:
        plugin: the module or object with the hooks; name: what the plugin is called.
        standing: readings of summaries that are there between samples too, as a running total is.
    """

    plugin: ClassVar[Any]
    name: ClassVar[str]
    standing: ClassVar[tuple[str, ...]] = ()

    def test_it_defines_readings_that_can_be_chosen(self) -> None:
        """Each has a name that `--fn` takes, a line of help, known kinds, and needs what those kinds keep."""
        defined = self._defined()
        assert defined
        for each in defined:
            assert each.name
            assert each.name == each.name.strip()
            assert each.help, f"{each.name}: no help"
            for kind in each.kinds:
                assert kind in KINDS
                known = {*coarse_statistics(kind, sketched=kind == "summary"), "min", "max"}
                assert set(each.needs) <= known, f"{each.name} of a {kind}: needs {set(each.needs) - known}"

    def test_no_name_and_kind_comes_twice(self) -> None:
        """The first would stand and the second never be seen."""
        pairs = [(each.name, kind) for each in self._defined() for kind in each.kinds]
        assert len(set(pairs)) == len(pairs)

    def test_a_reading_has_a_value_per_row_and_series(self, tmp_path: Path) -> None:
        """In every tier, for one series and for several, and none at all for none."""
        with self._filled(tmp_path / "s") as store:
            for kind, each in self._pairs():
                for tier in (0, 1):
                    found = store.query(f"{kind}", "all", tier=tier, fn=each.name)
                    assert len(found) == 2
                    for data in found:
                        assert len(data.values) == len(data.timestamps_ns)
                        assert np.isfinite(data.values).all(), f"{each.name} of a {kind}: {data.values}"

    def test_what_is_absent_stays_absent(self, tmp_path: Path) -> None:
        """A bucket without a sample has no value, whatever the reading: never 0, and no warning from numpy."""
        with self._filled(tmp_path / "s") as store:
            for kind, each in self._pairs():
                if kind == "counter" or each.name in self.standing:
                    continue  # a total stands while its process lives
                stamps = store.query(f"{kind}{{n=1}}", "all", tier=0, fn=each.name)[0].timestamps_ns
                assert not [ns for ns in stamps.tolist() if (ns - START_NS) // 10**9 % 3], each.name

    def test_a_reading_changes_nothing_that_it_is_given(self, tmp_path: Path) -> None:
        """Two readings of one query see the same statistics."""
        with self._filled(tmp_path / "s") as store:
            for kind, each in self._pairs():
                once, again = (store.query(kind, "all", tier=1, fn=each.name)[0].values.tolist() for _ in range(2))
                assert once == again

    def _defined(self) -> list[Consolidator]:
        plugins = self._plugins()
        found = plugins.bind("rondo_consolidator_define")
        assert plugins.failures == {}, "the hook raises"
        assert len(found) == 1, "implement rondo_consolidator_define"
        defined: list[Consolidator] = found[0][1]
        assert all(isinstance(each, Consolidator) for each in defined)
        return defined

    def _pairs(self) -> list[tuple[str, Consolidator]]:
        return [(kind, each) for each in self._defined() for kind in each.kinds]

    def _plugins(self) -> Plugins:
        plugins = Plugins()
        plugins.register(self.plugin, self.name)
        return plugins

    def _filled(self, path: Path) -> Store:
        clock = ManualClock(START_NS)
        schemas = [Schema(f"{kind}s", kind, 2, TIERS, sketch=kind == "summary") for kind in KINDS]
        store = Store(path, schemas, clock=clock)
        counters = [store.counter("counter", n=n) for n in range(2)]
        gauges = [store.gauge("gauge", n=n) for n in range(2)]
        summaries = [store.summary("summary", n=n) for n in range(2)]
        for second in range(40):
            for n in range(2):
                if second % 3 and n:
                    continue
                counters[n].inc(second % 5)
                gauges[n].set(second + 0.5)
                summaries[n].observe(second + 1.0)
            store.tick()
            clock.advance(1)
        store.view.consolidators = self._plugins().consolidators()
        return store
