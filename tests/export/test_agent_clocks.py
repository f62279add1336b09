"""A store that another machine writes, on a file system that both have: their clocks may be apart."""

import random

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export import store_state as module
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import read_config

TIERS = (Tier("1s", "30s"), Tier("5s", "2m"))
SCHEMAS = [
    Schema("c", "counter", 2, TIERS),
    Schema("g", "gauge", 2, (Tier("2s", "60s"),)),
    Schema("s", "summary", 2, TIERS),
]


@pytest.mark.parametrize("apart_s", [-3600, -3, 0, 3, 3600])
def test_clocks_that_are_apart_cost_no_sample_and_change_none(apart_s, site, tmp_path, ledger, held, monkeypatch):
    """What is sent is what the store holds in the end, each once, whatever the agent's machine takes the time to be."""
    monkeypatch.setattr(module, "boot_id", lambda: "this machine, and not the writer's")
    chance, clock, path = random.Random(apart_s), ManualClock(), tmp_path / "stores" / "one.rondo"
    (tmp_path / "rondo.toml").write_text(f'[exporters.ledger]\npath = "{tmp_path}/ledger"\n')
    store = Store(path, SCHEMAS, clock=clock)
    agent = Agent(tmp_path / "stores", read_config(tmp_path / "rondo.toml"), clock=lambda: clock() + apart_s * 10**9)
    early = 0
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            store.counter("c_total").inc()
            store.gauge("g").set(chance.random())
            store.summary("s").observe(chance.random())
            if chance.random() < 0.3:
                assert not agent.run_once().failures
        store.tick()
        clock.advance(chance.choice((0.2, 0.5, 1)))
        early = early or len(list(tmp_path.glob("ledger")))
    store.close()
    assert not agent.run_once().failures
    agent.close()
    assert early, "it does not wait for the end"
    found = [tuple(sample) for request in ledger() for sample in request if sample[1] != "ended"]
    got = {(series.replace('{instance="one"}', ""), stamp): value for series, stamp, value in found}
    assert len(got) == len(found), "none twice"
    want = {(series, stamp): value for (series, stamp), value in held(path).items() if not series.startswith("rondo_")}
    assert {key: got.get(key) for key in want} == want
