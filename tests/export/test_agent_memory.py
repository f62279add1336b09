"""An agent's memory does not grow with the lives that go through it: objects are counted, not bytes."""

import contextlib
import gc
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config
from rondo_core.testing import HttpReceiver

ROOT = Path(__file__).parents[2]
START_NS = 1_700_000_000 * 10**9
TIERS = (Tier("1s", "1m"), Tier("10s", "10m"))
SCHEMAS = [
    Schema("c", "counter", 4, TIERS),
    Schema("g", "gauge", 4, TIERS),
    Schema("s", "summary", 2, TIERS, sketch=True),
]
LIVES_A_WALK, WALKS = 4, 4
# What caches hold that are kept between lives, all of them together: at most so many entries, some 200 bytes each.
MOST_CACHED = 12_000


def live(path, clock):
    """Record a life of three seconds."""
    with Store(path, SCHEMAS, clock=clock) as store:
        for second in range(3):
            store.counter("done_total", phase="a").inc()
            store.gauge("level").set(second)
            store.summary("step_seconds", quantiles=True).observe(second + 0.5)
            store.tick()
            clock.advance(1)


def caches():
    """The caches of our own modules, by name."""
    found = {}
    for name, module in tuple(sys.modules.items()):
        if name.startswith("rondo_"):
            for each in vars(module).values():
                if hasattr(each, "cache_info"):
                    found[f"{each.__module__}.{each.__qualname__}"] = each
    return found


_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType)


def held(agent):
    """How many objects an agent and the globals of our modules hold, texts and numbers among them, but for caches."""
    for each in caches().values():
        each.cache_clear()
    gc.collect()
    roots = [vars(module) for name, module in tuple(sys.modules.items()) if name.startswith("rondo_")]
    known, left = {id(agent): agent}, [agent, *roots]
    while left:
        for each in gc.get_referents(left.pop()):
            if id(each) not in known and not isinstance(each, _CODE):
                known[id(each)] = each
                left.append(each)
    return len(known)


def test_nothing_is_kept_of_a_life_that_was_sent_and_deleted(tmp_path):
    """Every life has a label value, a store and an end of its own. An agent holds as many objects after many lives as
    after some; and what caches keep for the next life is bounded by a number that is stated, however many lives come."""
    pytest.importorskip("rondo_exporter_prometheus", reason="rondo-exporter-prometheus is not installed")
    program = f"from tests.export.test_agent_memory import look; look({str(tmp_path)!r})"  # no module of others' there
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def look(directory):
    """Let lives go through an agent of this process, which does nothing else, and look at what it holds."""

    class Receiver(HttpReceiver):
        def take(self, path, headers, body):
            return 204, {}, b""

    stores, clock, n_lives, counts = Path(directory) / "stores", ManualClock(START_NS), 0, []
    stores.mkdir()
    with contextlib.closing(Receiver()) as receiver:
        config = Config(
            exporters={"prometheus": {"url": receiver.url, "protocol": "1.0"}},
            agent={"instance_label": "instance", "after": "delete"},
        )
        with contextlib.closing(Agent(stores, config, clock=clock)) as agent:
            for _ in range(3):
                for _ in range(WALKS):
                    for _ in range(LIVES_A_WALK):
                        live(stores / f"life-{n_lives}.rondo", clock)
                        n_lives += 1
                    done = agent.run_once()
                    assert (done.deleted, done.failures) == (LIVES_A_WALK, [])
                counts.append(held(agent))
    assert counts[2] - counts[1] < LIVES_A_WALK * WALKS / 2, counts
    bounds = {name: each.cache_info().maxsize for name, each in caches().items()}
    endless = {name for name, size in bounds.items() if size is None}
    assert {name for name in endless if caches()[name].__wrapped__.__code__.co_argcount} == set()
    assert sum(size for size in bounds.values() if size) <= MOST_CACHED, bounds
