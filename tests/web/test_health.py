"""Health: told at once, whoever reads what meanwhile, and of many stores without opening them all."""

import itertools
import shutil
import threading

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import StoreNotFoundError
from rondo_web.reading import health as health_module
from rondo_web.reading.health import Health, HealthCheck, StoresHealth
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.shared_reader import SharedReader
from rondo_web.reading.workers import Workers

START_S = 1_700_000_000
SCHEMAS = [Schema("levels", "gauge", 4, (Tier("1s", "1m"),))]


def record(path, at_s):
    """Record one sample, and end a second later: rondo's own series have their newest sample then."""
    with Store(path, SCHEMAS, clock=(clock := ManualClock(at_s * 10**9))) as store:
        store.gauge("level").set(1)
        clock.advance(1)


@pytest.fixture
def opened(monkeypatch):
    """The names of the stores that are opened for reading, in order."""
    names = []
    whole = health_module.StoreReader

    def counted(path):
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(health_module, "StoreReader", counted)
    return names


def test_health_of_many_stores_waits_for_none_of_them(tmp_path, monkeypatch):
    """What it told last is told again while a look at all of them takes its time, and what is new once it is over."""
    record(tmp_path / "s", START_S)
    shared = SharedReader(tmp_path)
    health = HealthCheck(shared)
    goes_on = threading.Event()
    goes_on.set()
    newest = itertools.count(1)

    def slow(_):
        assert goes_on.wait(60)
        return Health(next(newest), None)

    monkeypatch.setattr(StoresHealth, "look", slow)
    while health.look() is None:
        pass
    health._looker.join(60)
    told = health._last.newest_ns
    goes_on.clear()
    assert health.look().newest_ns == told
    goes_on.set()
    health._looker.join(60)
    assert health._last.newest_ns == told + 1
    shared.close()


def test_health_of_the_dead_opens_the_one_that_ended_last_and_of_the_living_each(tmp_path, opened):
    """The newest sample of all is told, and what a dead store says is looked for once."""
    for number in range(5):
        record(tmp_path / f"{number}.rondo", START_S + 100 * (number % 3))
    health = StoresHealth(tmp_path)
    assert health.look() == ((START_S + 201) * 10**9, None)
    assert opened == ["2.rondo"]
    assert health.look() == ((START_S + 201) * 10**9, None)
    assert opened == ["2.rondo"]
    clock = ManualClock((START_S + 150) * 10**9)
    with Store(tmp_path / "5.rondo", SCHEMAS, clock=clock) as store:
        store.gauge("level").set(1)
        assert health.look() == ((START_S + 201) * 10**9, health.look().writer_pid)
        assert health.look().writer_pid is not None
        clock.advance(70)
        store.gauge("level").set(2)
        assert health.look().newest_ns == (START_S + 220) * 10**9
    assert health.look() == ((START_S + 220) * 10**9, None)
    record(tmp_path / "0.rondo", START_S + 400)
    assert health.look() == ((START_S + 401) * 10**9, None)
    assert "1.rondo" not in opened


def test_health_leaves_out_what_cannot_be_read_and_says_where_nothing_can(tmp_path):
    """A damaged store is none of which anything is told; where each is, that is the error."""
    record(tmp_path / "a", START_S)
    record(tmp_path / "b", START_S + 9)
    (tmp_path / "b" / "meta").write_bytes(b"no meta")
    health = StoresHealth(tmp_path)
    assert health.look() == ((START_S + 1) * 10**9, None)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(StoreNotFoundError, match=r"no store here or below; .*meta"):
        health.look()


def test_stores_of_a_directory_are_opened_once_a_request_is_of_them(tmp_path, monkeypatch):
    """To serve opens the newest alone, whose turn it is; a directory of which none can be read is not served."""
    for number in range(3):
        record(tmp_path / f"{number}.rondo", START_S + number)
    (tmp_path / "2.rondo" / "meta").write_bytes(b"no meta")
    shared = SharedReader(tmp_path)
    assert shared.is_directory()
    assert not shared.is_open()
    with shared.reader(reopen=False) as reader:
        assert [*reader.paths] == ["0.rondo", "1.rondo"]
    assert shared.is_open()
    shared.close()
    for number in range(2):
        (tmp_path / f"{number}.rondo" / "meta").write_bytes(b"no meta")
    with pytest.raises(StoreNotFoundError, match=r"no store here or below; .*meta"):
        ServedStore(tmp_path, Workers())
