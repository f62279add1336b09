"""A backlog of what has ended, at a receiver that is slow, costs those that are alive nothing."""

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export import agent as agents
from rondo_core.export import exporter_thread
from rondo_core.export.agent import Agent
from rondo_core.export.cursor import load_cursor
from rondo_core.plugins import Config

START_NS = 1_700_000_000 * 10**9
RING_S, REQUEST_S, WALK_S, N_ENDED = 120, 10, 30, 40
SCHEMAS = [Schema("c", "counter", 2, (Tier("1s", f"{RING_S}s"),))]


class Slow:
    """A receiver that takes ten seconds for each request, while time goes on for everyone."""

    def __init__(self, passes):
        self.samples, self.passes = [], passes

    def send(self, batch):
        self.passes()
        for part in batch.parts:
            self.samples += [
                (dict(each.labels)["instance"], stamp) for each in part.series for stamp in part.timestamps_ns.tolist()
            ]

    def close(self):
        pass


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Forty stores that have ended and one, behind them by name, that is written each second of a slow receiver's time."""
    clock = ManualClock(START_NS)
    for number in range(N_ENDED):
        with Store(tmp_path / f"a{number:02}.rondo", SCHEMAS, clock=clock) as store:
            store.counter("c_total").inc()
    clock.advance(2)
    live = Store(tmp_path / "live.rondo", SCHEMAS, clock=clock)

    def passes():
        for _ in range(REQUEST_S):
            live.counter("c_total").inc()
            clock.advance(1)

    receiver = Slow(passes)
    monkeypatch.setattr(exporter_thread, "open_exporter", lambda *_: receiver)
    for module in (agents, exporter_thread):
        monkeypatch.setattr(module, "monotonic_ns", clock)
    monkeypatch.setattr(agents, "check_exporters", lambda *_: None)
    agent = Agent(tmp_path, Config(exporters={"slow": {}}, agent={"instance_label": "instance"}), clock=clock)
    yield agent, receiver, live, clock
    agent.close()
    live.close()


def test_the_living_lose_nothing_to_a_backlog_of_the_dead(world, tmp_path):
    """Each walk comes to those that are written when its interval is over; the backlog gets through."""
    agent, receiver, live, clock = world
    began_ns = clock()
    live.counter("c_total").inc()
    walks = 0
    while any(load_cursor(tmp_path / f"a{number:02}.rondo", "slow").ended_run < 1 for number in range(N_ENDED)):
        agent.run_once(WALK_S)
        for thread in agent._threads:
            thread._thread.join()
        walks += 1
        assert walks < 4 * N_ENDED
    took_s = (clock() - began_ns) // 10**9
    assert took_s > 3 * RING_S, "the ring of the living has gone round"
    assert load_cursor(live.path, "slow").overwritten == 0
    sent = {stamp for name, stamp in receiver.samples if name == "live"}
    oldest = min(sent)
    assert sent == set(range(oldest, max(sent) + 10**9, 10**9)), "each second of it, without a gap"
    assert {name for name, _ in receiver.samples} == {"live", *(f"a{number:02}" for number in range(N_ENDED))}


def test_what_is_deleted_leaves_nothing_behind(world, tmp_path):
    """An agent that has deleted a thousand lives remembers none of them."""
    agent, _, live, _ = world
    agent._finish._after = "delete"
    for _ in range(4 * N_ENDED):
        if agent.run_once().deleted:
            break
    assert [path.name for path in sorted(tmp_path.glob("*.rondo"))] == [live.path.name]
    agent.run_once()
    (thread,) = agent._threads
    key = {store.key for store in agent._scan(agents.Pass())}
    for memory in (thread._complete, thread._backoffs, thread._idle, agent._folds._done):
        assert set(memory) <= key
