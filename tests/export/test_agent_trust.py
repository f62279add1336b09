"""What an agent deletes, archives, keeps, and whose samples it says that it sends, where stores are odd or change."""

import json
import os
import shutil
import sys

import attrs
import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import wall_ns
from rondo_core.errors import UsageError
from rondo_core.export.agent import Agent
from rondo_core.export.cursor import CursorLock, load_cursor
from rondo_core.export.runner import open_runner
from rondo_core.plugins.config_file import Config, read_config
from rondo_core.read.store_reader import StoreReader
from rondo_core.read.stores import find_stores
from rondo_core.storage.directory import create

S = 10**9
START = 1_700_000_000 * S
HOUR = 3600 * S
SECONDS = [Schema("c", "counter", 4, (Tier("1s", "60s"),))]
HOURS = [Schema("c", "counter", 4, (Tier("1h", "7d"),))]


def record(path, seconds=5, schemas=SECONDS, name="c_total", step_s=1, **labels):
    """Record a counter for a while, and close the store."""
    clock = ManualClock(START)
    with Store(path, schemas, clock=clock) as store:
        for _ in range(seconds):
            store.counter(name, labels).inc()
            store.tick()
            clock.advance(step_s)
    return path


@pytest.fixture
def stores(tmp_path):
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder


@pytest.fixture
def agent(site, tmp_path):
    """Make agents of one exporter, which are closed at the end."""
    made = []

    def make(clock=None, exporter=None, **settings):
        tables = {"ledger": {"path": str(tmp_path / "ledger"), **(exporter or {})}}
        config = Config(exporters=tables, agent={"instance_label": "instance", **settings})
        made.append(Agent(tmp_path / "stores", config, clock=clock or ManualClock(START + HOUR)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def calls(site):
    """What is called with each batch that the ledger is about to take."""
    import ledger_exporter

    yield ledger_exporter.calls
    ledger_exporter.calls.clear()
    sys.modules.pop("ledger_exporter", None)


@pytest.fixture
def samples(ledger, tmp_path):
    """Give all that the ledger holds, but for ends and a store's counts of itself: [(series, time in ns, value)]."""

    def samples():
        requests = ledger() if (tmp_path / "ledger").exists() else []
        return [
            tuple(each) for request in requests for each in request if each[1] != "ended" and each[0][:6] != "rondo_"
        ]

    return samples


# -- what may be deleted


def test_a_store_with_refused_samples_is_not_deleted_and_named(stores, agent, tmp_path, samples):
    """Deleting asks for every sample's acknowledgement: one that was refused keeps its store, in a later agent too."""
    record(stores / "old.rondo", 10)
    (tmp_path / "border").write_text(str(START + 4 * S))
    for _ in range(2):
        done = agent(after="delete", exporter={"match": "c_total"}).run_once()
        assert (done.complete, done.deleted, done.refused, done.doubtful) == (1, 0, 4, 0)
        assert done.notes == [
            f"{stores}/old.rondo: kept, and not acknowledged whole: ledger: 4 samples refused, 0 doubtful"
        ]
        assert done.failures == []
    assert len({each[1] for each in samples()}) == 6
    assert list(find_stores(stores)) == [stores / "old.rondo"]


def test_a_store_with_refused_samples_goes_to_the_archive_where_there_is_one(stores, agent, tmp_path, rondo, ledger):
    """Beside it a store that was acknowledged whole is deleted; the command says how many were refused, and of whom."""
    record(stores / "old.rondo", 10)
    with Store(stores / "new.rondo", SECONDS, clock=ManualClock(START + 100 * S)) as store:
        store.counter("c_total").inc()
    (tmp_path / "border").write_text(str(START + 4 * S))
    file = tmp_path / "rondo.toml"
    file.write_text(
        f'[agent]\nafter = "delete"\narchive = "stores/kept"\n[exporters.ledger]\nmatch = "c_total"\npath = "{tmp_path}/ledger"\n'
    )
    said = rondo("agent", "stores", "--config", file, "--once").stdout.splitlines()
    assert said[0].endswith("2 complete, 1 archived, 1 deleted; 4 samples refused, 0 doubtful")
    assert "stores/old.rondo: archived, and not acknowledged whole: ledger: 4 samples refused, 0 doubtful" in said
    assert sorted(path.name for path in (stores / "kept").iterdir()) == ["old.rondo"]
    assert rondo("agent", "stores", "--config", file, "--once").stdout.startswith("0 stores, 0 live; 0 samples sent")


@pytest.mark.parametrize("which", ["refused", "doubtful"])
@pytest.mark.parametrize("exporter", ["ledger", "former"])
def test_what_an_earlier_life_was_refused_keeps_a_store(stores, agent, which, exporter):
    """The counts are on the disk, in whatever exporter's cursor, and no later success makes them good."""
    path = record(stores / "one.rondo")
    agent().run_once()
    plain = json.loads((path / "cursor_ledger.json").read_text())
    (path / f"cursor_{exporter}.json").write_text(json.dumps(plain | {which: 7, "exporter": exporter}))
    done = agent(after="delete").run_once()
    assert (done.deleted, getattr(done, which)) == (0, 7)
    assert path.exists()


def test_a_store_is_not_deleted_while_anyone_sends_it(stores, agent):
    """Another process's exporter, of a name that this agent does not know, may not be through."""
    path = record(stores / "one.rondo")
    lock = CursorLock(path, "other")
    made = agent(after="delete")
    assert (made.run_once().deleted, path.exists()) == (0, True)
    lock.release()
    assert made.run_once().deleted == 1


def test_what_a_killed_agent_was_about_to_delete_is_deleted_only_if_it_is_acknowledged(stores, agent, samples):
    """Under the name of what is to go: one that is acknowledged goes, one that is not is exported, a rest is removed."""
    record(stores / "sent.rondo")
    agent().run_once()
    (stores / "sent.rondo").rename(stores / "sent.rondo.deleted.unfinished")
    record(stores / "unsent.rondo").rename(stores / "unsent.rondo.deleted.unfinished")
    record(stores / "twice.rondo").rename(stores / "twice.rondo.deleted.unfinished")
    record(stores / "twice.rondo")
    record(stores / "rest.rondo").rename(stores / "rest.rondo.deleted.unfinished")
    (stores / "rest.rondo.deleted.unfinished" / "meta").unlink()
    made = agent(after="delete")
    first = made.run_once()
    assert not (stores / "sent.rondo.deleted.unfinished").exists()
    assert not (stores / "rest.rondo.deleted.unfinished").exists()
    assert (first.failures, made.run_once().failures) == ([], [])
    assert not list(stores.iterdir())
    who = {series.partition('instance="')[2].rstrip('"}') for series, _, _ in samples()}
    assert who == {"sent", "unsent", "twice", "twice-2"}


# -- which store it is


def test_a_store_made_anew_at_the_same_path_is_another_one(stores, agent, samples):
    """It is sent whole before it goes, as often as it is made, whether its number of runs is the same or not."""
    made = agent(after="delete")
    for number in range(4):
        record(stores / "job.rondo", 3, name=f"job_{number}_total")
        if number == 2:
            with Store(stores / "job.rondo", clock=ManualClock(START + 50 * S)) as store:
                store.counter("job_2_total").inc()
        done = made.run_once()
        assert (done.complete, done.deleted) == (1, 1)
    assert [sum(f"job_{number}_" in series for series, _, _ in samples()) for number in range(4)] == [3, 3, 4, 3]


def test_a_copy_of_a_store_that_was_sent_is_sent_too(stores, agent, samples, tmp_path):
    """Its id is the same, even its directory's number may be; what it has of a cursor says what was sent of it."""
    path = record(stores / "one.rondo")
    shutil.copytree(path, tmp_path / "backup")
    made = agent(after="keep")
    assert made.run_once().complete == 1
    for _ in range(3):
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "backup", path)
        before = len(samples())
        assert made.run_once().complete == 1
        assert len(samples()) == before + 5


def test_a_store_that_is_replaced_while_it_is_sent_gets_nothing_of_the_others_cursor(stores, agent, calls, samples):
    """The cursor is written into the store that was sent, wherever it lies by then, and the new one is sent whole."""
    path = record(stores / "job.rondo", 6, name="first_total")
    other = record(stores.parent / "other", 3, name="second_total")

    def replace(_batch):
        if other.exists():
            path.rename(stores.parent / "moved")
            other.rename(path)

    calls.append(replace)
    made = agent(after="delete", exporter={"max_samples": 2})
    made.run_once()
    assert (stores.parent / "moved" / "cursor_ledger.json").exists()
    assert made.run_once().deleted == 1
    assert [sum(name in series for series, _, _ in samples()) for name in ("first", "second")] == [6, 3]
    assert (stores.parent / "moved" / "meta").exists()


def test_a_store_that_is_replaced_before_it_goes_is_neither_deleted_nor_archived(stores, agent, calls, monkeypatch):
    """At the last moment, between the last look and the renaming, another store comes to lie at the path."""
    from rondo_core import faults

    path = record(stores / "job.rondo")
    other = record(stores.parent / "other")

    def replace(name):
        if name == "agent.finish" and other.exists():
            path.rename(stores.parent / "moved")
            other.rename(path)

    monkeypatch.setattr(faults, "point", replace)
    assert agent(after="delete").run_once().deleted == 0
    assert sorted(each.name for each in stores.parent.iterdir()) == ["ledger", "moved", "site", "stores"]
    assert [len(list(find_stores(each))) for each in (stores, stores.parent)] == [1, 2]


@pytest.mark.parametrize("sending", ["a", "b"])
def test_a_store_that_is_opened_again_is_sent_as_a_live_one(stores, agent, calls, samples, sending):
    """Before its turn comes, or while it is being sent to its end: no bucket leaves whose value may still change."""
    record(stores / "a.rondo", 3)
    record(stores / "b.rondo", 4, HOURS, step_s=3600)
    now = ManualClock(START + 3 * HOUR + 60 * S)
    again = []

    def reopen(batch):
        if not again and any(dict(each.labels)["instance"] == sending for part in batch.parts for each in part.series):
            again.append(Store(stores / "b.rondo", clock=now))
            again[0].counter("c_total").inc(10)

    calls.append(reopen)
    done = agent(clock=now, after="delete", exporter={"max_samples": 1}).run_once()
    assert done.failures == []
    assert (done.complete, done.deleted) == (1, 1)
    again[0].counter("c_total").inc(100)
    again[0].close()
    hours = [int(value) for series, _, value in samples() if 'instance="b"' in series]
    assert hours == [1, 2, 3]
    assert agent(clock=now, after="delete").run_once().deleted == 1
    assert [value for series, _, value in samples() if 'instance="b"' in series][-1] == 114.0


def test_an_export_by_hand_says_that_the_store_was_opened_again(site, calls, stores, samples, tmp_path):
    """`rondo export` keeps to the same: what may still change stays for the next call."""
    from rondo_core.export.store_state import EndedReader, read_store_state
    from rondo_core.storage.files import Folder

    path = record(stores / "b.rondo", 4, HOURS, step_s=3600)
    now, again = ManualClock(START + 3 * HOUR + 60 * S), []
    calls.append(lambda _batch: again or again.append(Store(path, clock=now)))
    with Folder(path) as held:
        state = read_store_state(held)
        with EndedReader(held, state.run) as reader:
            table = {"path": str(tmp_path / "ledger"), "max_samples": 1}
            outcome = open_runner(reader, "ledger", table, clock=now).finish(state.run, 10.0)
        assert reader.reopened
    assert outcome.stopped
    assert "opened again while it was sent" in outcome.error
    assert [value for _, _, value in samples()] == [1.0]
    again[0].close()


# -- odd entries


def test_whether_a_store_is_live_is_not_guessed(stores, tmp_path, rondo, forbid, samples):
    """With a lock that cannot be read, only closed buckets leave, the store is not complete, and it is said why."""
    clock = ManualClock(wall_ns() - 2 * HOUR)
    file = tmp_path / "rondo.toml"
    file.write_text(f'[agent]\nafter = "delete"\n[exporters.ledger]\npath = "{tmp_path}/ledger"\n')
    with Store(stores / "b.rondo", HOURS, clock=clock) as store:
        for _ in range(3):
            store.counter("c_total").inc()
            store.tick()
            clock.advance(3600)
        forbid(store.path / "lock")
        done = rondo("agent", "stores", "--config", file, "--once", ordinary=True)
        assert "1 live" in done.stdout  # its series file is locked too, and tells
        assert [value for _, _, value in samples()] == [1.0, 2.0]
    done = rondo("agent", "stores", "--config", file, "--once", status=1, ordinary=True)
    assert "0 complete" in done.stdout
    assert "stores/b.rondo/lock: Permission denied" in done.stderr
    assert "is not known" in done.stderr
    assert len(samples()) == 2
    done = rondo("export", store.path, "--to", "ledger", "-o", f"path={tmp_path}/ledger", ordinary=True)
    assert "is not known" in done.stderr
    assert len(samples()) == 2


def test_a_store_whose_lock_is_missing_is_not_taken_for_dead(stores, agent, samples):
    """Its writer may hold a lock that was removed."""
    clock = ManualClock(START)
    store = Store(record(stores / "a.rondo") and stores / "b.rondo", HOURS, clock=clock)
    store.counter("c_total").inc()
    (stores / "b.rondo" / "lock").unlink()
    done = agent(clock=clock, after="delete").run_once()
    assert not [each for each in samples() if 'instance="b"' in each[0]]
    assert (stores / "b.rondo").exists()
    assert done.deleted == 1
    store.close()


def test_odd_entries_are_said_and_hold_up_no_store(stores, tmp_path, rondo, forbid, samples):
    """Forbidden, foreign, damaged, missing in part, no store at all: each is named, the good ones are sent and deleted."""
    for name in ("a.rondo", "z.rondo", "foreign.rondo", "half.rondo", "damaged.rondo", "runs.rondo", "torn.rondo"):
        record(stores / name)
    record(stores / "private" / "b.rondo")
    forbid(stores / "private")
    (stores / "barred" / "c.rondo").mkdir(parents=True)
    forbid(stores / "barred", 0o744)
    for file in (stores / "foreign.rondo").iterdir():
        forbid(file, 0o644)
    (stores / "half.rondo" / "series").unlink()
    (stores / "damaged.rondo" / "meta").write_bytes(b"nonsense")
    (stores / "runs.rondo" / "runs").write_bytes(b"nonsense")
    os.truncate(stores / "torn.rondo" / "c.0.slab", 100)
    (stores / "file.rondo").touch()
    (stores / "link.rondo").symlink_to(stores / "z.rondo")
    (stores / "loop").symlink_to("loop")
    (stores / "pipe.rondo").mkdir()
    os.mkfifo(stores / "pipe.rondo" / "meta")
    (stores / os.fsdecode(b"na\xefve")).mkdir()
    (stores / "line\n\x1b[2Jfeed.rondo").touch()
    file = tmp_path / "rondo.toml"
    file.write_text(f'[agent]\nafter = "delete"\n[exporters.ledger]\npath = "{tmp_path}/ledger"\n')
    done = rondo("agent", "stores", "--config", file, "--once", status=1, ordinary=True)
    said = done.stdout.splitlines() + [line.removeprefix("rondo: ") for line in done.stderr.splitlines()]
    assert all(line.isprintable() for line in said)
    assert said[0].startswith("5 stores, 0 live;")
    assert "2 deleted" in said[0]
    for entry in (
        "private",
        "barred",
        "foreign.rondo",
        "half.rondo",
        "damaged.rondo",
        "runs.rondo",
        "torn.rondo",
        "file.rondo",
        "link.rondo",
        "loop",
        "pipe.rondo",
        "na",
        "line",
    ):
        assert [line for line in said if line.startswith(f"stores/{entry}")], (entry, said)
    assert not (stores / "a.rondo").exists()
    assert not (stores / "z.rondo").exists()
    assert {series.partition('instance="')[2][:-2] for series, _, _ in samples()} == {"a", "z", "foreign"}


def test_a_store_that_vanishes_is_a_line_and_no_failure(stores, agent, calls, samples):
    """Between the look at it and its turn, and between its last sample and its end."""
    for name in ("a", "b", "c"):
        record(stores / f"{name}.rondo")

    def remove(_batch):
        shutil.rmtree(stores / "a.rondo", ignore_errors=True)
        shutil.rmtree(stores / "b.rondo", ignore_errors=True)

    calls.append(remove)
    done = agent(after="delete").run_once()
    assert (done.failures, done.deleted) == ([], 1)
    assert [line for line in done.notes if "b.rondo: gone" in line]
    assert not list(stores.iterdir())


def test_a_store_that_the_receiver_cannot_take_holds_up_no_other(stores, agent, calls, samples):
    """Whatever comes before and after it is sent, in the same walk; it alone is tried again, later and later."""
    from rondo_core.errors import RetryableExportError

    for name in ("a", "b", "c", "d"):
        record(stores / f"{name}.rondo")
    tried = []

    def refuse(batch):
        who = {dict(each.labels)["instance"] for part in batch.parts for each in part.series}
        tried.append(who)
        if "b" in who:
            raise RetryableExportError("500")

    calls.append(refuse)
    made = agent(after="delete")
    first = made.run_once()
    assert (first.deleted, first.failures) == (3, ["ledger: 500"])
    assert [path.name for path in stores.iterdir()] == ["b.rondo"]
    before = len(tried)
    assert made.run_once().failures == [f"{stores}/b.rondo: ledger: 500"]
    assert len(tried) == before  # left alone for a minute
    record(stores / "e.rondo")
    assert made.run_once().deleted == 1


def test_where_the_receiver_takes_nothing_two_stores_tell(stores, agent, calls):
    """It is asked twice in a walk and not once for each store, and each time about others."""
    from rondo_core.errors import RetryableExportError

    for number in range(10):
        record(stores / f"{number}.rondo")
    tried = []

    def refuse(batch):
        tried.append(next(dict(each.labels)["instance"] for part in batch.parts for each in part.series))
        raise RetryableExportError("503")

    calls.append(refuse)
    made = agent()
    for _ in range(3):
        made.run_once()
        made._threads[0]._not_before_ns = 0
    assert tried == list("012345")


# -- where stores and archives lie


@pytest.mark.parametrize("archive", ["stores", ".", "stores/../stores/.", "way"])
def test_an_archive_from_which_stores_would_come_back_is_refused(stores, agent, tmp_path, monkeypatch, archive):
    """The directory itself, or one that holds it, however it is written and whatever is done with stores."""
    (tmp_path / "way").symlink_to("stores")
    record(stores / "one.rondo")
    for after in ("archive", "delete", "keep"):
        with pytest.raises(UsageError, match=r"agent\.archive: .*; choose another, beside it or inside it"):
            agent(after=after, archive=str(tmp_path / archive))


def test_an_archive_inside_the_directory_is_left_out_of_every_walk(stores, agent, tmp_path):
    """Also by a link to it; stores of the same name get one of their own there."""
    (stores / "x" / "done").mkdir(parents=True)
    (tmp_path / "way").symlink_to(stores / "x" / "done")
    for archive in (stores / "x" / "done", tmp_path / "way"):
        record(stores / "one.rondo")
        made = agent(after="archive", archive=str(archive))
        assert (made.run_once().archived, made.run_once().stores) == (1, 0)
    assert sorted(path.name for path in (stores / "x" / "done").iterdir()) == ["one-2.rondo", "one.rondo"]


def test_places_that_cannot_be_are_said_in_one_line(stores, agent, tmp_path):
    """An archive that is a file, a loop, or in a store; a store in place of the directory."""
    record(stores / "one.rondo")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for archive, what in (
        ("file", "is a file, not a directory"),
        ("file/below", "is a file, not a directory|Not a directory"),
        ("loop", "there is no .*/loop; make it, or choose another"),
        ("stores/one.rondo", "is a store"),
        ("stores/one.rondo/below", "is a store"),
    ):
        with pytest.raises(UsageError, match=rf"agent\.archive: .*({what})"):
            agent(after="archive", archive=str(tmp_path / archive))
    stores.rename(tmp_path / "parent")
    (tmp_path / "parent" / "one.rondo").rename(stores)
    with pytest.raises(UsageError, match="a store, and not a directory of stores; give the agent the directory"):
        agent()


def test_stores_that_would_share_a_label_are_refused_and_the_others_are_sent(stores, agent, samples):
    """Nobody could tell their samples apart; without such a label they are sent all the same."""
    for name in ("a", "a.rondo", "b", "x/a.rondo", "c.rondo.rondo"):
        record(stores / name)
    done = agent(after="delete").run_once()
    assert (done.stores, done.deleted) == (3, 3)
    assert done.failures == [f'{stores}/a and {stores}/a.rondo: instance="a" would be the label of both; rename one']
    assert {series for series, _, _ in samples()} == {f'c_total{{instance="{who}"}}' for who in ("b", "x/a", "c.rondo")}
    assert agent(after="delete", instance_label="").run_once().deleted == 2


# -- whose labels win


def test_no_store_can_pass_itself_off_as_another(stores, agent, samples):
    """The label that tells stores apart wins over a store's own, which is kept under another name; ends too."""
    record(stores / "a.rondo", 2, instance="b", exported_instance="c", job="x")
    record(stores / "b.rondo", 1)
    (stores / ".rondo").mkdir()
    shutil.copytree(stores / "b.rondo", stores / "odd" / ".rondo")
    agent().run_once()
    assert {series for series, _, _ in samples()} == {
        'c_total{exported_exported_instance="b",exported_instance="c",instance="a",job="x"}',
        'c_total{instance="b"}',
        'c_total{instance="odd/.rondo"}',
    }


def test_the_labels_of_whoever_runs_a_program_win_over_its_own(site, stores, tmp_path, samples, ledger):
    """Beside a live store it is as in an agent: samples and ends have the operator's labels."""
    from rondo_core.export.exporters import Exporters

    with Store(stores / "a", SECONDS, clock=ManualClock(START)) as store:
        store.counter("c_total", instance="b").inc()
        exporters = Exporters(store, {"ledger": {"path": str(tmp_path / "ledger")}}, {"instance": "a"})
    exporters.close(store.run.number)
    named = 'c_total{exported_instance="b",instance="a"}'
    assert [named, "ended"] in [each[:2] for request in ledger() for each in request]
    assert {series for series, _, _ in samples() if series.startswith("c_")} == {named}


# -- memory, and several agents


def contents(thing, seen):
    """Count what an object holds, directly and through others of the project's own."""
    if id(thing) in seen or isinstance(thing, (type, str, bytes, int, float)) or thing is None:
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(contents(each, seen) for pair in thing.items() for each in pair)
    if isinstance(thing, (list, tuple, set, frozenset)):
        return len(thing) + sum(contents(each, seen) for each in thing)
    if type(thing).__module__.startswith("rondo_core.export"):
        names = [each.name for each in attrs.fields(type(thing))] if attrs.has(type(thing)) else vars(thing)
        return sum(contents(getattr(thing, name), seen) for name in names)
    return 0


def test_memory_does_not_grow_with_stores_that_have_gone(stores, agent, tmp_path, monkeypatch):
    """Hundreds of them, sent, failed, deleted and vanished: what the agent remembers is what is there."""
    template = record(tmp_path / "template", 1, [Schema("c", "counter", 1, (Tier("1s", "2s"),))])
    made = agent(after="delete")
    held = []
    for turn in range(15):
        for number in range(60):
            where = stores / f"{turn}-{number}"
            where.mkdir()
            for file in template.iterdir():
                os.link(file, where / file.name)
            (where / "lock").unlink()
            (where / "lock").touch()
            if number % 10 == 0:
                (where / "c.0.slab").unlink()  # fails, and is put to sleep
        done = made.run_once()
        assert (done.deleted, len(done.failures)) == (54, 6)
        for left in list(stores.iterdir()):
            shutil.rmtree(left)
        made.run_once()
        held.append(contents(made, set()))
    assert set(held[1:]) == {held[1]}


def test_two_agents_share_a_directory(stores, tmp_path, rondo, samples, site, agent):
    """Whoever comes first sends; both together send everything once, delete everything, and neither fails."""
    first, second = agent(after="delete"), agent(after="delete")
    for turn in range(5):
        for number in range(4):
            record(stores / f"{turn}-{number}.rondo", 3)
        a, b = first.run_once(), second.run_once()
        assert (a.failures, b.failures) == ([], [])
        assert (a.deleted, b.deleted) == (4, 0)
        first, second = second, first
    assert len(samples()) == len(set(samples())) == 60


def test_what_is_said_again_and_again_is_logged_once(stores, agent, caplog, monkeypatch):
    """And again when it comes back after it was over; however long an agent runs, what is new is logged."""
    (stores / "x.rondo").touch()
    made = agent(interval=0.001)
    turns = []

    def wait(_interval_s):
        turns.append(len(caplog.records))
        if len(turns) == 3:
            (stores / "x.rondo").unlink()
        if len(turns) == 5:
            (stores / "x.rondo").touch()
        if len(turns) == 7:
            made.stop.set()
        return True

    monkeypatch.setattr(made.stop, "wait", wait)
    made.run()
    assert turns == [1, 1, 1, 1, 1, 2, 2]


def test_a_config_file_with_an_impossible_archive_is_refused_before_anything_is_sent(stores, tmp_path, rondo, samples):
    """In one line, with the status of a wrong usage."""
    record(stores / "one.rondo")
    file = tmp_path / "rondo.toml"
    file.write_text(f'[agent]\nafter = "archive"\narchive = "."\n[exporters.ledger]\npath = "{tmp_path}/ledger"\n')
    assert read_config(file).agent["archive"]
    done = rondo("agent", "stores", "--config", file, "--once", status=2)
    assert done.stderr.startswith("rondo: agent.archive: ")
    assert len(done.stderr.splitlines()) == 1
    assert samples() == []


def test_a_reader_says_who_writes_a_store_that_cannot_be_asked(stores):
    """Nobody, as far as is known: readers wait for no one."""
    path = record(stores / "one.rondo")
    (path / "lock").unlink()
    with StoreReader(path) as reader:
        assert reader.writer_pid() is None


def test_a_store_in_which_nothing_was_recorded_is_through_at_once(stores, agent):
    """There is nothing to be acknowledged, so whoever deletes what is acknowledged does not keep it for ever."""
    path = stores / "a.rondo"
    Store(path, SECONDS, clock=ManualClock(START)).close()
    for slab in path.glob("rondo.*.slab"):
        assert slab.exists()
    done = agent(after="delete", exporter={"match": "c_total"}).run_once()
    assert (done.complete, done.deleted, done.failures) == (1, 1, [])
    assert not path.exists()


def unborn(path):
    """Make a store as a process leaves it that is killed before its run is on record."""
    create(path, SECONDS, START)
    return path


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_a_store_whose_process_was_killed_as_it_made_it_goes_like_any_other(stores, agent, tmp_path, after):
    """It has no run whose end could be acknowledged, and nothing else either."""
    path = unborn(stores / "a.rondo")
    done = agent(after=after, archive=str(tmp_path / "archive")).run_once()
    assert (done.complete, done.archived + done.deleted, done.failures) == (1, 1, [])
    assert not path.exists()


def test_a_store_whose_runs_are_lost_is_not_taken_for_one_that_was_just_made(stores, agent):
    """What was recorded in it stays."""
    path = record(stores / "a.rondo")
    shutil.copy(unborn(stores / "b.rondo") / "runs", path / "runs")
    assert agent(after="delete").run_once().deleted == 1
    assert path.exists()


def test_a_store_that_an_agent_deletes_as_it_is_made_is_made_again(stores, agent, monkeypatch):
    """The program that makes it learns nothing of that."""
    path, deletes = stores / "a.rondo", agent(after="delete")
    found = []

    def create_and_delete(*args, **options):
        create(*args, **options)
        if not found:
            found.append(deletes.run_once().deleted)

    monkeypatch.setattr("rondo_core.record.growing.create", create_and_delete)
    with Store(path, SECONDS, clock=ManualClock(START)) as store:
        store.counter("c_total").inc()
    assert found == [1]
    with StoreReader(path) as reader:
        assert len(reader.query("c_total")) == 1


def test_a_store_whose_series_are_lost_is_not_taken_for_an_empty_one(stores, agent, tmp_path):
    """Its rows belong to no series that is known: nothing of them was sent, so it stays."""
    full, empty = record(stores / "a.rondo"), tmp_path / "empty.rondo"
    Store(empty, SECONDS, clock=ManualClock(START)).close()
    shutil.copy(empty / "series", full / "series")
    with StoreReader(full) as reader:
        assert not any(each.name == "c_total" for each in reader.registry)
    done = agent(after="delete").run_once()
    assert done.deleted == 0
    assert full.exists()


# -- a full disk


@pytest.mark.parametrize("after", ["keep", "archive", "delete"])
def test_a_disk_that_takes_no_cursor_has_nothing_sent_twice(stores, agent, samples, tmp_path, caplog, after):
    """Whatever is on it is sent once, walk by walk, and its end; what is acknowledged is deleted, which makes room."""
    record(stores / "old.rondo", 5)
    (stores / "old.rondo" / "cursor_ledger.json").mkdir()  # which is as good as a disk without room
    walking = agent(after=after, archive=str(tmp_path / "archive"))
    done = [walking.run_once() for _ in range(3)]
    assert len(samples()) == 5
    assert len(caplog.records) == 1
    if after == "delete":
        assert (done[0].deleted, list(stores.iterdir())) == (1, [])
        return
    (stores / "old.rondo" / "cursor_ledger.json").rmdir()
    assert walking.run_once().archived == (after == "archive")
    folder = tmp_path / "archive" if after == "archive" else stores
    assert load_cursor(folder / "old.rondo", "ledger").ended_run == 1, "it is saved once there is room"
    assert len(samples()) == 5
