"""A live store that has nothing new is passed over by a look at a few of its words, and never for too long."""

import random

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export import exporter_thread
from rondo_core.export.agent import Agent
from rondo_core.export.cursor import cursor_path
from rondo_core.plugins.config_file import read_config

START_NS = 1_700_000_000 * 10**9
TIERS = (Tier("1s", "20s"), Tier("5s", "2m"))
SCHEMAS = [Schema("c", "counter", 3, TIERS), Schema("g", "gauge", 3, (Tier("2s", "40s"),))]
ONE = '[exporters.ledger]\npath = "{0}/ledger"\n'
FRESH = '[exporters.fresh]\nplugin = "ledger"\npath = "{0}/fresh"\n'
TIERS_SENT = "tier = {0}\n"


@pytest.fixture
def clock():
    """The clock of the stores and of the agents."""
    return ManualClock(START_NS)


@pytest.fixture
def agent(site, tmp_path, clock):
    """Make an agent over `stores` with these exporters."""
    made = []

    def make(exporters=ONE):
        file = tmp_path / "rondo.toml"
        file.write_text(exporters.format(tmp_path))
        made.append(Agent(tmp_path / "stores", read_config(file), clock=clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def opened(monkeypatch):
    """The live stores that an agent has opened to read them."""
    paths = []
    whole = exporter_thread.StoreReader

    def open_store(held):
        paths.append(str(held))
        return whole(held)

    monkeypatch.setattr(exporter_thread, "StoreReader", open_store)
    return paths


def test_an_idle_store_is_not_opened_again(agent, tmp_path, clock, opened, ledger):
    """Once all of it is sent; as soon as a bucket is over, or its cursor is gone, it is."""
    with Store(tmp_path / "stores" / "one.rondo", SCHEMAS, clock=clock) as store:
        store.counter("c_total").inc()
        walking = agent()
        walking.run_once()
        assert len(opened) == 1, "the bucket is open"
        walking.run_once()
        assert len(opened) == 1
        clock.advance(2)
        walking.run_once()
        walking.run_once()
        assert (len(opened), len(ledger())) == (2, 1)
        clock.advance(3600)
        walking.run_once()
        assert len(opened) == 2
        store.counter("c_total").inc()
        clock.advance(2)
        walking.run_once()
        assert (len(opened), len(ledger())) == (3, 2)
        cursor_path(tmp_path / "stores" / "one.rondo", "ledger").unlink()
        walking.run_once()
        assert len(opened) == 4
        assert len(ledger()) > 2, "all of it once more, as after any cursor that is lost"


def test_a_store_with_something_pending_is_opened_in_every_walk(agent, tmp_path, clock, opened, ledger):
    """What the receiver did not take is no reason to pass it over."""
    (tmp_path / "down").touch()
    with Store(tmp_path / "stores" / "one.rondo", SCHEMAS, clock=clock) as store:
        store.counter("c_total").inc()
        clock.advance(2)
        walking = agent()
        assert walking.run_once().failures
        (tmp_path / "down").unlink()
        for thread in walking._threads:
            thread._not_before_ns = 0
        walking.run_once()
        assert len(opened) == 2
        assert len(ledger()) == 1


@pytest.mark.parametrize("tier", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_passed_over_is_what_an_agent_without_memory_finds_empty(seed, tier, agent, tmp_path, clock, ledger):
    """Through records, new series, ticks, clock steps, runs and lost cursors, in any order, walk by walk."""
    chance, path = random.Random(seed), tmp_path / "stores" / "one.rondo"
    option = TIERS_SENT.format(tier) if tier else ""
    held = [Store(path, SCHEMAS, clock=clock)]
    remembering = agent(ONE + option)

    def opened_again():
        held[0].close()
        held[0] = Store(path, SCHEMAS, clock=clock)

    steps = {
        "record": lambda: held[0].counter("c_total").inc(),
        "declare": lambda: held[0].gauge("g", n=chance.randrange(3)).set(chance.random()),
        "tick": lambda: held[0].tick(),  # noqa: PLW0108 - of whichever store is open then
        "wait": lambda: clock.advance(chance.choice((0.3, 1, 2, 7, 30))),
        "step back": lambda: clock.advance(-4),
        "reopen": opened_again,
        "lose": lambda: [cursor_path(path, name).unlink(missing_ok=True) for name in ("ledger", "fresh")],
    }
    for number in range(60):
        name = chance.choices([*steps], weights=[8, 3, 8, 8, 1, 1, 1])[0]
        steps[name]()
        for each in (remembering, agent(FRESH + option)):
            assert not each.run_once().failures
        both = [{tuple(sample) for request in sent(ledger, kind) for sample in request} for kind in ("ledger", "fresh")]
        assert both[0] == both[1], (number, name)
    assert len(sent(ledger, "ledger")) > 5
    held[0].close()


def sent(ledger, name):
    """Give the requests that a ledger holds, none where there is none yet."""
    try:
        return ledger(name)
    except FileNotFoundError:
        return []
