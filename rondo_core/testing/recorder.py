"""The conformance suite of recorders: what a store's owner relies on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rondo_core.clock import ManualClock
from rondo_core.model.labels import Series
from rondo_core.model.schema import DEFAULT_SCHEMAS, SELF_PREFIX
from rondo_core.plugins.manager import Plugins
from rondo_core.store import Store
from rondo_core.testing.stores import START_NS

SECONDS = 5


class RecorderTests:
    """Subclass it and name the plugin.

    Attributes:
        plugin: the module or object with the hooks.
        name: what the plugin is called; config: its table.
        sparse: names of metrics that need not have a sample in every second.
    """

    plugin: ClassVar[Any]
    name: ClassVar[str]
    config: ClassVar[Mapping[str, Any]] = {}
    sparse: ClassVar[tuple[str, ...]] = ()

    def test_every_tick_leaves_a_sample_of_every_series(self, tmp_path: Path) -> None:
        """From the first tick on, at the time that the tick was given."""
        with Store(tmp_path / "s", DEFAULT_SCHEMAS, clock=(clock := ManualClock(START_NS))) as store:
            self._ticked(store, clock)
            declared = self._declared(store)
            assert declared, "it declares no series"
            for series in declared:
                if series.name in self.sparse:
                    continue
                stamps = store.view.query([series], "all", tier=0)[0].timestamps_ns.tolist()
                assert stamps == [START_NS + second * 10**9 for second in range(SECONDS)], series

    def test_every_series_says_what_it_is(self, tmp_path: Path) -> None:
        """Help for people; counters end in _total, as receivers expect."""
        with Store(tmp_path / "s", DEFAULT_SCHEMAS, clock=(clock := ManualClock(START_NS))) as store:
            self._ticked(store, clock)
            for series in self._declared(store):
                assert series.help, f"{series}: no help"
                assert (series.kind == "counter") == series.name.endswith("_total"), series
                assert not series.name.startswith(SELF_PREFIX), f"{series}: {SELF_PREFIX} is rondo's own"

    def test_it_goes_on_in_the_next_process(self, tmp_path: Path) -> None:
        """Bound again to the same store it finds its series, and no total steps back."""
        clock = ManualClock(START_NS)
        with Store(tmp_path / "s", DEFAULT_SCHEMAS, clock=clock) as store:
            self._ticked(store, clock)
            before = self._declared(store)
        with Store(tmp_path / "s", clock=clock) as store:
            self._ticked(store, clock)
            assert self._declared(store)[: len(before)] == before
            for series in before:
                if series.kind == "counter":
                    totals = store.view.query([series], "all", tier=0)[0].values.tolist()
                    assert totals == sorted(totals), series

    def test_it_declares_the_same_series_every_time(self, tmp_path: Path) -> None:
        """Labels are bounded: two processes of a kind have the same series."""
        names = []
        for each in ("one", "two"):
            clock = ManualClock(START_NS)
            with Store(tmp_path / each, DEFAULT_SCHEMAS, clock=clock) as store:
                self._ticked(store, clock)
                names.append(sorted(map(str, self._declared(store))))
        assert names[0] == names[1]

    def test_it_never_raises_in_a_tick(self, tmp_path: Path) -> None:
        """Nor when the clock stands still, jumps or steps back."""
        clock = ManualClock(START_NS)
        with Store(tmp_path / "s", DEFAULT_SCHEMAS, clock=clock) as store:
            plugins = self._ticked(store, clock)
            for step_s in (0, 0, 3600, -30, 1, 86_400):
                clock.advance(step_s)
                store.tick()
            assert plugins.failures == {}

    def _ticked(self, store: Store, clock: ManualClock) -> Plugins:
        plugins = Plugins(config={self.name: self.config})
        plugins.register(self.plugin, self.name)
        assert store.bind_recorders(plugins) == [self.name], "it stays out, or raises; see the log"
        for _ in range(SECONDS):
            store.tick()
            clock.advance(1)
        assert plugins.failures == {}
        return plugins

    def _declared(self, store: Store) -> list[Series]:
        return [series for series in store.view.series() if not series.name.startswith(SELF_PREFIX)]
