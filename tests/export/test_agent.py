"""`rondo agent`: a directory of stores, live and dead, is exported whole, whatever happens to the agent."""

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import ExportError, StoreError, UsageError
from rondo_core.export import Exporters, exporter_thread
from rondo_core.export.agent import Agent
from rondo_core.export.fold import fold_dead
from rondo_core.export.store_state import read_store_state
from rondo_core.plugins.config_file import read_config
from rondo_core.read.stores import find_stores
from rondo_core.storage.lock import WriterLock

TIERS = (Tier("1s", "60s"), Tier("5s", "5m"), Tier("30s", "1h"))
SCHEMAS = [Schema("c", "counter", 2, TIERS), Schema("g", "gauge", 2, TIERS), Schema("s", "summary", 2, TIERS)]
START_S = 1_700_000_000


def record(path, seconds=40, *, close=True):
    """Record all three kinds for a while."""
    clock = ManualClock(START_S * 10**9)
    store = Store(path, SCHEMAS, clock=clock)
    for second in range(seconds):
        store.counter("c_total").inc()
        store.gauge("g").set(second + 0.5)
        store.summary("s").observe(second)
        store.tick()
        clock.advance(1)
    if close:
        store.close()
    return store, clock


def record_and_die(path, seconds=40):
    """Record in a process that is killed in the end."""
    pid = os.fork()
    if not pid:
        try:
            record(path, seconds, close=False)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def sent(requests, instance):
    """Give the samples that were sent under an instance, its label taken off."""
    label = f'instance="{instance}"'
    found = {}
    for request in requests:
        for series, stamp, value in request:
            if label in series and stamp != "ended":
                found[
                    series.replace("{" + label + "}", "").replace(label + ",", "").replace("," + label, ""), stamp
                ] = value
    return found


@pytest.fixture
def config(tmp_path):
    """Write a rondo.toml, and give its path."""

    def write(agent="", exporters='[exporters.ledger]\npath = "{0}/ledger"\n'):
        file = tmp_path / "rondo.toml"
        file.write_text(f"[agent]\n{agent}\n" + exporters.format(tmp_path))
        return file

    return write


@pytest.fixture
def agent(site, config, tmp_path):
    """Make agents that are closed at the end."""
    made = []

    def make(*arguments, **options):
        made.append(Agent(tmp_path / "stores", read_config(config(*arguments)), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def stores(tmp_path):
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder


def test_dead_stores_are_folded_and_sent_to_their_end(stores, agent, ledger, held):
    """The one that was closed and the one whose process was killed: every sample, the end, and whole coarse tiers."""
    record(stores / "closed.rondo")
    record_and_die(stores / "killed.rondo")
    done = agent().run_once()
    assert (done.stores, done.live, done.complete, done.failures) == (2, 0, 2, [])
    for name in ("closed", "killed"):
        assert sent(ledger(), name) == held(stores / f"{name}.rondo")
        assert [1 for request in ledger() for each in request if each[1] == "ended" and f'"{name}"' in each[0]]
    with StoreReader(stores / "killed.rondo") as reader:
        (data,) = reader.query("g", tier=1)
        assert len(data) == 8
        assert [run.ended for run in reader.runs()] == [""]


class ToldLock:
    """A lock that sets an event where it has to be waited for."""

    def __init__(self, waited_for):
        self._lock, self._waited_for = threading.Lock(), waited_for

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            self._waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def test_a_store_is_sent_to_its_end_by_who_looks_at_it_while_another_exporter_folds_it(stores, agent, monkeypatch):
    """To fold a dead store an exporter's thread has its lock: no other takes that for a process that writes it."""
    record_and_die(stores / "killed.rondo")
    two = "".join(f'[exporters.{name}]\nplugin = "ledger"\npath = "{{0}}/{name}"\n' for name in ("near", "far"))
    made, folding, looked = agent("", two), threading.Event(), threading.Event()

    def fold(held):
        lock = WriterLock(held / "lock")
        folding.set()
        assert looked.wait(60)
        lock.release()
        return fold_dead(held)

    def look(held):
        state = read_store_state(held)
        if folding.is_set():
            looked.set()
        return state

    def export_later(*arguments, export=made._threads[1]._export):
        assert folding.wait(60)
        return export(*arguments)

    monkeypatch.setattr(exporter_thread, "fold_dead", fold)
    monkeypatch.setattr(exporter_thread, "read_store_state", look)
    monkeypatch.setattr(made._threads[1], "_export", export_later)
    made._folds._lock = ToldLock(looked)
    done = made.run_once(last=True)
    assert (done.stores, done.complete, done.failures) == (1, 1, [])


def test_the_dead_are_sent_oldest_first_whatever_they_are_called(stores, agent, ledger):
    """So a receiver that takes nothing an hour behind its newest sample takes a backlog whole."""
    for name, late_s in (("b", 7200), ("a", 14400), ("d", 0), ("c", 3600)):
        clock = ManualClock((START_S + late_s) * 10**9)
        with Store(stores / f"{name}.rondo", SCHEMAS, clock=clock) as store:
            store.gauge("g").set(1.0)
            clock.advance(3)
    agent().run_once()
    order = [series.partition('instance="')[2][0] for request in ledger() for series, *_ in request]
    assert list(dict.fromkeys(order)) == ["d", "c", "b", "a"]
    assert sorted(order, key="dcba".index) == order


def test_of_a_live_store_closed_buckets_leave_and_nothing_is_written(stores, agent, ledger, held):
    """The open bucket stays; the store's own files are as they were; when it ends, the rest follows."""
    store, clock = record(stores / "live.rondo", close=False)
    files = {file: file.read_bytes() for file in store.path.glob("*.slab")}
    made = agent("", clock=clock)
    done = made.run_once()
    assert (done.live, done.complete) == (1, 0)
    assert {file: file.read_bytes() for file in files} == files
    first = sent(ledger(), "live")
    assert max(stamp for _, stamp in first) // 10**9 == START_S + 38
    store.close()
    assert made.run_once().complete == 1
    assert sent(ledger(), "live") == held(store.path)


def test_a_process_that_exports_itself_is_left_alone(stores, agent, config, rondo, tmp_path):
    """Its cursor is held: the agent stands back, and one walk by hand says of how many stores, and of which."""
    from rondo_core.export.cursor import CursorLock

    store, clock = record(stores / "own.rondo", close=False)
    lock = CursorLock(store.path, "ledger")
    done = agent("", clock=clock).run_once()
    assert (done.samples, done.failures, done.held) == (0, [], [str(store.path)])
    assert not (tmp_path / "ledger").exists()
    said = rondo("agent", stores, "--once", "--config", config("")).stdout
    assert f"1 store left to whoever exports them now, the program itself or another agent: {store.path}\n" in said
    lock.release()
    store.close()


@pytest.mark.parametrize("after", ["archive", "delete", "keep"])
def test_a_store_goes_only_when_every_exporter_has_all_of_it(stores, agent, tmp_path, after):
    """While one receiver is away nothing goes; afterwards it is archived, deleted or kept, as the policy says."""
    record(stores / "a" / "one.rondo")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "down").touch()
    both = '[exporters.near]\nplugin = "ledger"\npath = "{0}/near"\n[exporters.far]\nplugin = "ledger"\npath = "{0}/far/ledger"\n'
    made = agent(f'after = "{after}"\narchive = "archive"\n', both)
    first = made.run_once()
    assert (first.complete, first.archived, first.deleted) == (0, 0, 0)
    assert "503" in first.failures[0]
    assert list(find_stores(stores)) == [stores / "a" / "one.rondo"]
    (tmp_path / "far" / "down").unlink()
    made._threads[1]._not_before_ns = 0
    second = made.run_once()
    assert second.complete == 1
    assert sent_count(tmp_path / "near") == sent_count(tmp_path / "far" / "ledger") == 1
    assert (second.archived, second.deleted) == (after == "archive", after == "delete")
    assert list(find_stores(stores)) == ([stores / "a" / "one.rondo"] if after == "keep" else [])
    assert (tmp_path / "archive" / "a-one.rondo" / "meta").exists() == (after == "archive")


def test_an_archive_on_another_mount_is_named_and_the_store_stays(stores, agent, tmp_path, monkeypatch):
    """Also where both are of one file system, as a unit's ReadWritePaths= makes them: the kernel moves nothing over."""
    record(stores / "one.rondo")
    rename = Path.rename

    def refusing(path, target):
        if Path(target).is_relative_to(tmp_path / "archive"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    done = agent('after = "archive"\narchive = "archive"\n').run_once()
    assert (done.complete, done.archived) == (1, 0)
    [line] = done.failures
    assert line.endswith(f"archive is another mount, into which nothing can be moved; put it below {stores}")
    assert list(find_stores(stores)) == [stores / "one.rondo"]


def sent_count(path):
    """Count the ends that a ledger was told of one series."""
    return path.read_text().count('["g{instance=\\"a/one\\"}", "ended"')


def test_a_broken_exporter_holds_up_no_other(stores, agent, ledger, held):
    """One that raises in every send is reported; the other has everything."""
    record(stores / "one.rondo")
    both = '[exporters.ledger]\npath = "{0}/ledger"\n[exporters.bad]\nplugin = "ledger"\nmode = "broken"\npath = "{0}/bad"\n'
    done = agent("", both).run_once()
    assert sent(ledger(), "one") == held(stores / "one.rondo")
    assert "bad: ZeroDivisionError: a bug" in done.failures[0]
    assert done.complete == 0


def test_what_cannot_be_read_holds_up_no_other(stores, agent, ledger, held):
    """A damaged store is reported; the others go through."""
    record(stores / "good.rondo")
    record(stores / "bad.rondo")
    (stores / "bad.rondo" / "runs").write_bytes(b"nonsense")
    done = agent().run_once()
    assert (done.complete, len(done.failures)) == (1, 1)
    assert sent(ledger(), "good") == held(stores / "good.rondo")


def test_a_store_that_is_opened_again_is_taken_up_again(stores, agent, ledger):
    """Complete is what its last run left; another run is another end."""
    record(stores / "one.rondo")
    made = agent()
    made.run_once()
    with Store(stores / "one.rondo", clock=ManualClock((START_S + 100) * 10**9)) as store:
        store.gauge("g").set(7.0)
    assert made.run_once().complete == 1
    assert sent(ledger(), "one")["g", (START_S + 100) * 10**9] == 7.0


def test_a_config_that_an_agent_cannot_follow_is_refused(stores, agent, tmp_path):
    """No exporter, an archive without a place, a directory that is not there."""
    with pytest.raises(UsageError, match="no exporter"):
        agent("", "")
    with pytest.raises(UsageError, match=r"agent\.archive: missing"):
        agent('after = "archive"')
    with pytest.raises(UsageError, match=r"after: 'burn': choose from keep, archive, delete"):
        agent('after = "burn"')
    stores.rmdir()
    with pytest.raises(StoreError, match="no such directory"):
        agent()


def test_an_agent_that_is_killed_again_and_again_loses_and_doubles_nothing(
    stores, config, rondo, ledger, tmp_path, held
):
    """SIGKILL at ever later moments: in the end every store is archived, every sample is there, none was changed.

    What was sent twice was sent as one request that is equal to the one before.
    """
    for number in range(3):
        record(stores / f"closed{number}.rondo")
        record_and_die(stores / f"killed{number}.rondo")
    file = config('after = "archive"\narchive = "archive"\n')
    kills = 0
    for fault in [*range(1, 60, 5), *range(60, 800, 23)]:
        done = rondo("agent", stores, "--once", "--config", file, fault=f"*:{fault}", status=None)
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        kills += done.returncode != 0
        if not done.returncode:
            break
    else:
        pytest.fail("it never came to an end")
    assert kills > 10
    assert not list(find_stores(stores))
    archived = sorted((tmp_path / "archive").iterdir())
    assert len(archived) == 6
    seen = {}
    for request in ledger():
        for series, stamp, _ in request:
            assert seen.setdefault((series, stamp), request) == request
    for path in archived:
        assert sent(ledger(), path.stem) == held(path)


class Rotating:
    """An exporter whose receiver refuses the sender itself for so many requests."""

    def __init__(self, n_refusals):
        self.n_refusals, self.n_samples = n_refusals, 0

    def send(self, batch):
        if self.n_refusals:
            self.n_refusals -= 1
            raise ExportError("answered 401")
        self.n_samples += batch.n_samples

    def close(self):
        pass


@pytest.mark.parametrize("n_refusals", [1, 2])
def test_a_token_that_is_rotated_costs_the_last_walk_nothing(agent, tmp_path, monkeypatch, n_refusals):
    """What a receiver refuses the sender for a moment is sent in the same walk, where that is the last."""
    record(tmp_path / "stores" / "a.rondo")
    receiver = Rotating(n_refusals)
    monkeypatch.setattr("rondo_core.export.exporter_thread.open_exporter", lambda *_: receiver)
    done = agent().run_once(last=True)
    assert not done.failures
    assert done.samples == receiver.n_samples > 0
    assert done.complete == 1


def test_a_store_that_was_refused_is_tried_again_at_growing_intervals(agent, tmp_path, monkeypatch):
    """The first time after a second, then after twice as long each time, up to an hour; and it is sent as soon as it can be."""
    record(tmp_path / "stores" / "a.rondo")
    receiver, now_s, waits = Rotating(1 << 30), [1000.0], []
    monkeypatch.setattr("rondo_core.export.exporter_thread.open_exporter", lambda *_: receiver)
    monkeypatch.setattr("rondo_core.export.exporter_thread.monotonic_ns", lambda: round(now_s[0] * 1e9))
    walking = agent()
    for _ in range(14):
        assert walking.run_once().failures
        asked = receiver.n_refusals
        waits.append(walking._threads[0].next_try_s() - now_s[0])
        assert walking.run_once().failures
        assert receiver.n_refusals == asked
        now_s[0] += waits[-1]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600])
    receiver.n_refusals = 0
    assert not walking.run_once().failures
    assert receiver.n_samples > 0


def test_one_label_is_not_given_twice(agent, config, tmp_path):
    """Where an operator's labels meet under one name, nothing says which was meant: it is refused, before anything starts."""
    (tmp_path / "stores").mkdir()
    for labels in ('{ instance = "x" }', '"a=b, instance=x"'):
        table = '[exporters.prometheus]\nurl = "http://127.0.0.1:1/"\nexternal_labels = ' + labels.replace(
            "{", "{{"
        ).replace("}", "}}")
        with pytest.raises(
            UsageError, match=r"exporters\.prometheus\.external_labels: instance: is given to every series"
        ):
            agent("", table)
        agent('instance_label = "store"', table)
        with Store(tmp_path / "s") as store, pytest.raises(UsageError, match="external_labels: instance"):
            Exporters(store, read_config(config("", table)).exporters, {"instance": "y"})
    with pytest.raises(UsageError, match="a table of texts, such as a=b, each name once"):
        agent("", '[exporters.prometheus]\nurl = "http://127.0.0.1:1/"\nexternal_labels = "a=b,a=c"')
    with pytest.raises(UsageError, match=r"agent\.instance_label: 'a b': not a label name"):
        agent('instance_label = "a b"')
