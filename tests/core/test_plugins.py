"""Plugins: found, bound once, isolated from one another."""

import logging

import numpy as np
import pytest

from rondo_core import Consolidator, Plugins, Store, hookimpl
from rondo_core.errors import HookError, PluginError, PluginLoadError, PluginNotFoundError
from rondo_core.plugins.inventory import list_plugins
from rondo_core.plugins.manager import CONSOLIDATORS, EXPORTERS, RECORDERS


class Recorder:
    """Sets a gauge to the tick's second."""

    @hookimpl
    def rondo_recorder_bind(self, declare, config):
        gauge = declare.gauge(config.get("name", "ticked"))
        return lambda now_ns: gauge.set(now_ns // 10**9, now_ns)


class Broken:
    """Raises on every tick."""

    @hookimpl
    def rondo_recorder_bind(self, declare):
        def tick(now_ns):
            raise RuntimeError("no tick today")

        return tick


class BrokenAtStart:
    """Raises when it is bound."""

    @hookimpl
    def rondo_recorder_bind(self, declare):
        raise ValueError("no start today")


def test_hook_rondo_recorder_bind(store, clock):
    """A recorder declares once, and its tick runs in the store's."""
    plugins = Plugins(config={"mine": {"name": "renamed"}})
    plugins.register(Recorder(), "mine")
    assert store.bind_recorders(plugins) == ["mine"]
    store.tick()
    assert store.query("renamed")[0].values.tolist() == [clock() // 10**9]


def test_a_recorder_that_raises_stops_neither_recording_nor_the_others(store, clock, caplog):
    """It is logged once per kind of failure, counted in a self-metric, and the others go on."""
    plugins = Plugins()
    for plugin, name in ((BrokenAtStart(), "at_start"), (Broken(), "broken"), (Recorder(), "good")):
        plugins.register(plugin, name)
    with caplog.at_level(logging.WARNING):
        assert set(store.bind_recorders(plugins)) == {"broken", "good"}
        for _ in range(5):
            store.tick()
            clock.advance(1)
    assert len(store.query("ticked")[0]) == 5
    assert store.query("rondo_plugin_failures_total{plugin=broken}")[0].values[-1] == 5
    assert store.query("rondo_plugin_failures_total{plugin=at_start}")[0].values[-1] == 1
    assert sum("no tick today" in record.message for record in caplog.records) == 1


def test_hook_rondo_consolidator_define(store):
    """A consolidator of a plugin reads statistics like rondo's own; one that is none is reported and left out."""

    class Mine:
        @hookimpl
        def rondo_consolidator_define(self):
            span = Consolidator("span", ("gauge",), ("min", "max"), lambda stats, *_: stats["max"] - stats["min"])
            return [span, "nonsense"]

    plugins = Plugins()
    plugins.register(Mine(), "mine")
    plugins.load(CONSOLIDATORS)
    store.view.consolidators = plugins.consolidators()
    store.gauge("g").set(3.0)
    assert store.query("g", fn="span")[0].values.tolist() == [0.0]
    assert store.query("g", fn="max")[0].values.tolist() == [3.0]
    assert plugins.failures == {"mine": 1}


def test_hook_rondo_exporter_open():
    """An exporter is opened by name with its own table; what it raises names it."""

    class Mine:
        @hookimpl
        def rondo_exporter_open(self, config):
            return config["answer"]

    plugins = Plugins(config={"mine": {"answer": 42}})
    plugins.register(Mine(), "mine")
    assert plugins.open("rondo_exporter_open", "mine") == 42
    unset = Plugins()
    unset.register(Mine(), "mine")
    with pytest.raises(HookError, match="plugin mine: rondo_exporter_open: KeyError"):
        unset.open("rondo_exporter_open", "mine")
    plugins.register(Recorder(), "other")
    with pytest.raises(PluginError, match="other: does not implement"):
        plugins.open("rondo_exporter_open", "other")


def test_hook_rondo_lake_open():
    """A lake is opened by the exporter that is named, at a location; one that fills none is refused in words."""

    class Mine:
        @hookimpl
        def rondo_lake_open(self, location):
            return f"lake at {location}"

    plugins = Plugins()
    plugins.register(Mine(), "mine")
    plugins.register(Recorder(), "other")
    assert plugins.open("rondo_lake_open", "mine", location="/x") == "lake at /x"
    with pytest.raises(PluginError, match="other: does not implement rondo_lake_open"):
        plugins.open("rondo_lake_open", "other", location="/x")


def test_a_misspelt_hook_is_refused():
    """A hook that no specification knows, or an argument that it does not have, is an error that names the plugin."""

    class Misspelt:
        @hookimpl
        def rondo_recorder_bnid(self, declare):
            return None

    class WrongArgument:
        @hookimpl
        def rondo_recorder_bind(self, declaration):
            return None

    for plugin in (Misspelt(), WrongArgument(), object()):
        plugins = Plugins()
        with pytest.raises(PluginLoadError, match="plugin bad"):
            plugins.register(plugin, "bad")
        plugins.register(Recorder(), "bad")


def test_a_plugin_that_is_not_installed_is_named_with_those_that_are():
    """Asking for a plugin by a wrong name says which there are."""
    with pytest.raises(PluginNotFoundError, match=r"installed: .*process"):
        Plugins().load(RECORDERS, ["proccess"])
    with pytest.raises(PluginNotFoundError, match=r"rondo\.exporters"):
        Plugins().load(EXPORTERS, ["nowhere"])


def test_rondos_own_plugins_are_installed_and_usable():
    """The builtin recorders and consolidators load through the same door as anyone's."""
    infos = {info.name: info for info in list_plugins()}
    assert {"standard", "process", "vcpu_exits", "vmm_uptime"} <= set(infos)
    assert all(not info.error for info in infos.values())


def test_the_process_recorder_records_this_process(store, clock):
    """Memory, CPU time, descriptors and threads, under the names that Prometheus clients give them."""
    plugins = Plugins()
    plugins.load(RECORDERS, ["process"])
    store.bind_recorders(plugins)
    for _ in range(3):
        store.tick()
        clock.advance(1)
    assert (store.query("process_resident_memory_bytes")[0].values > 2**20).all()
    cpu = store.query("process_cpu_seconds_total")[0].values
    assert (np.diff(cpu) >= 0).all()
    assert cpu[0] > 0
    assert (store.query("process_open_fds")[0].values > 2).all()
    assert store.query("process_threads")[0].values[0] >= 1


def test_a_store_ticks_from_a_thread_of_its_own(path):
    """With tick_interval_s the recorders run without the owner's help; closing ends the thread."""
    import threading

    ticked = threading.Event()

    class Signalling:
        @hookimpl
        def rondo_recorder_bind(self, declare):
            return lambda now_ns: ticked.set()

    plugins = Plugins()
    plugins.register(Signalling(), "signalling")
    before = set(threading.enumerate())
    with Store(path, tick_interval_s=0.01) as store:
        store.bind_recorders(plugins)
        assert ticked.wait(30)
    assert before.issuperset(threading.enumerate())
