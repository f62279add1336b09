"""Stores that were put back as a backup had them, beside a cursor that has gone on since: all that follows is sent."""

import shutil

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config

S = 10**9
START = 1_700_000_000 * S
HOUR = 3600 * S
SECONDS = [Schema("c", "counter", 4, (Tier("1s", "10m"),))]


def record(path, at_s, seconds=3):
    """Record a counter for a while, some time after START; gives the times."""
    clock = ManualClock(START + at_s * S)
    with Store(path, SECONDS, clock=clock) as store:
        for _ in range(seconds):
            store.counter("c_total").inc()
            store.tick()
            clock.advance(1)
    return [START + second * S for second in range(at_s, at_s + seconds)]


def put_back(backup, path):
    """Copy a backup's files over a store's own, as rsync does without --delete: what it did not have stays."""
    for file in backup.iterdir():
        shutil.copyfile(file, path / file.name)


@pytest.fixture
def agent(site, tmp_path):
    """Make agents of one exporter, which are closed at the end."""
    made = []
    (tmp_path / "stores").mkdir()

    def make(**settings):
        config = Config(exporters={"ledger": {"path": str(tmp_path / "ledger"), "match": "c_total"}}, agent=settings)
        made.append(Agent(tmp_path / "stores", config, clock=ManualClock(START + HOUR)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("same_agent", [True, False])
@pytest.mark.parametrize("runs_since", [0, 1, 2])
def test_what_is_recorded_after_a_store_was_put_back_is_sent(tmp_path, agent, ledger, same_agent, runs_since):
    """The run that it goes on with may have the number of one that was sent to its end; it is another one."""
    path, backup = tmp_path / "stores" / "s.rondo", tmp_path / "backup"
    times = record(path, 0)
    shutil.copytree(path, backup)
    for run in range(1, 2 + runs_since):
        times += record(path, run * 60)
    walking = agent()
    assert walking.run_once().complete == 1
    put_back(backup, path)
    times += record(path, 300)
    if not same_agent:
        walking = agent()
    deleting = agent(after="delete")
    assert walking.run_once().complete == 1
    sent = [each for request in ledger() for each in request]
    assert sorted(each[1] for each in sent if each[1] != "ended") == times
    assert sum(each[1] == "ended" for each in sent) == 2, "and its end, once for each"
    assert deleting.run_once().deleted == 1
