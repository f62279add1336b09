"""Marks and notes of stores, through the runner, the agent and the command, to what keeps to Grafana's API."""

import subprocess
import sys

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier, open_store
from rondo_core.errors import UsageError
from rondo_core.export import Agent, export_status, load_cursor, open_runner, runner
from rondo_core.plugins import Config
from rondo_core.storage import Folder

S = 10**9
START = 1_700_000_000 * S
SCHEMAS = [Schema("g", "gauge", 4, (Tier("1s", "60s"),))]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Wait a moment where a runner waits half a second and more."""
    for name in ("BACKOFF_FIRST_S", "BACKOFF_LAST_S", "LONG_FIRST_S"):
        monkeypatch.setattr(runner, name, 0.001)


@pytest.fixture
def table(grafana):
    return {"plugin": "grafana", "url": grafana.url, "token": "hidden"}


def record(path, *marks, start=START):
    """Open a store, mark these a millisecond apart, and close it."""
    clock = ManualClock(start)
    with Store(path, SCHEMAS, clock=clock) as store:
        store.gauge("level").set(1.0)
        for mark in marks:
            store.mark(mark, step=len(mark))
            clock.advance(0.001)
    return path


def send(path, table, *, deadline_s=30, ended_run=1, **options):
    """Send a store's marks as `rondo export` does."""
    with StoreReader(path) as reader:
        return open_runner(reader, "marks", table, **options).finish(ended_run, deadline_s)


def names(count, prefix="m"):
    return [f"{prefix}{number}" for number in range(count)]


def there(grafana):
    return [text.split()[0] for text in grafana.texts()]


def test_a_mark_is_an_annotation_with_its_time_text_and_tags(tmp_path, grafana, table):
    """The text has all of it; tags are the mark's name, the store's labels and what it says, as far as Grafana goes."""
    clock = ManualClock(START + 1_234_567)
    with Store(tmp_path / "s", SCHEMAS, clock=clock) as store:
        store.mark("deploy", version="1.4.2", at="x.py:12", long="é" * 90, **{f"k{n}": "v" * 90 for n in range(4)})
        store.note("stage transform began")
        store.mark("deploy", version="1.4.2")
        store.mark("deploy", version="1.4.2")
    told = {**table, "dashboard_uid": "abc", "external_labels": {"site": "b"}}
    assert send(tmp_path / "s", told, labels={"instance": "vm1"}).events == 4
    first, note, *alike = grafana.annotations
    whole = ["rondo", "deploy", "instance:vm1", "site:b", "version:1.4.2", "at:x.py", "long:" + "é" * 90]
    assert first["tags"] == [*whole, "k0:" + "v" * 90, "k1:" + "v" * 90]
    assert first["text"].startswith("deploy version=1.4.2 at=x.py:12 long=é")
    assert first["text"].endswith("k3=" + "v" * 90)
    assert (note["text"], note["tags"]) == ("stage transform began", ["rondo", "instance:vm1", "site:b"])
    assert {(each["time"], each["dashboardUID"]) for each in grafana.annotations} == {(START // 10**6 + 1, "abc")}
    assert [each["text"] for each in alike] == ["deploy version=1.4.2"] * 2  # alike, in one millisecond, and both there


def test_each_mark_is_there_once_whatever_is_answered(tmp_path, grafana, table):
    """500 with and without it kept, lost answers likewise, too many requests, and a receiver that is away meanwhile."""
    path = record(tmp_path / "s", *names(8))
    grafana.faults = [(500, True), (200, True), (0, True), (502, False), (0, False), (429, False), (503, True)]
    outcome = send(path, table)
    assert there(grafana) == names(8)
    assert (outcome.events, outcome.refused_events, outcome.doubtful_events, outcome.overwritten_events) == (8, 0, 0, 0)
    posts, questions = grafana.posts, grafana.questions
    assert send(path, table).requests == 0
    assert (grafana.posts, grafana.questions) == (posts, questions)
    assert load_cursor(path, "marks").ended_run == 1


def test_what_is_not_in_doubt_is_not_asked_for(tmp_path, grafana, table):
    """Once there is a cursor, Grafana is asked only where no answer came, or one that leaves a doubt."""
    path = record(tmp_path / "s", "first")
    send(path, table)
    record(path, "second", "third", start=START + 5 * S)
    grafana.faults, grafana.questions = [(429, False)], 0
    send(path, table, ended_run=2)
    assert (there(grafana), grafana.questions) == (["first", "second", "third"], 0)


KILLS = """
import os, sys
from pathlib import Path
from rondo_core import ManualClock, Schema, Store, StoreReader, Tier, faults
from rondo_core.export import load_cursor, open_runner
folder, url = Path(sys.argv[1]), sys.argv[2]
def send(path, fault):
    pid = os.fork()
    if not pid:
        faults.arm(fault)
        with StoreReader(path) as reader:
            table = {"plugin": "grafana", "url": url, "token": "hidden"}
            outcome = open_runner(reader, "marks", table).finish(1, 30)
        os._exit(bool(outcome.error))
    return os.waitpid(pid, 0)[1]
for n in range(1, 100):
    path = folder / f"{n}.rondo"
    with Store(path, [Schema("g", "gauge", 4, (Tier("1s", "60s"),))], clock=ManualClock(1_700_000_000 * 10**9)) as store:
        for mark in range(3):
            store.mark(f"m{n}-{mark}")
    killed = send(path, f"*:{n}")
    assert send(path, "") == 0
    cursor = load_cursor(path, "marks")
    assert (cursor.events.sent, cursor.events.doubtful, cursor.ended_run) == (3, 0, 1), cursor
    if not killed:
        break
print(n)
"""


def test_a_kill_at_any_point_leaves_each_mark_there_once(tmp_path, grafana):
    """SIGKILL of the sender before and after each request, and in the middle of its own cursor; then it is started anew."""
    run = subprocess.run(
        [sys.executable, "-c", KILLS, tmp_path, grafana.url], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    points = int(run.stdout) - 1
    assert points >= 10
    assert there(grafana) == [f"m{n}-{mark}" for n in range(1, points + 2) for mark in range(3)]


def test_what_the_ring_gave_away_is_counted_and_said(tmp_path, grafana, table, caplog):
    """A flood of marks takes the place of those that were not sent yet: how many is known by their numbers."""
    path = record(tmp_path / "s", *names(3))
    send(path, table)
    record(path, *names(500, "flood"), start=START + 5 * S)
    with StoreReader(path) as reader:
        kept = [event.text for event in reader.events() if event.text.startswith("flood")]
    assert len(kept) < 500
    outcome = send(path, table, ended_run=2)
    assert there(grafana) == names(3) + kept
    assert (outcome.events, outcome.overwritten_events) == (len(kept), 500 - len(kept))
    assert f"marks: {500 - len(kept)} marks and notes were overwritten before they were sent" in caplog.text
    assert [each.overwritten_events for each in export_status(path)] == [500 - len(kept)]


def test_no_sample_is_read_for_it(tmp_path, grafana, table, monkeypatch):
    """A store may hold any number of samples: of what is sent here none is one."""
    path = record(tmp_path / "s", *names(2))

    def fail(*_):
        raise AssertionError("a sample was read")

    monkeypatch.setattr(StoreReader, "reader", fail)
    assert send(path, table).events == 2


def test_what_is_refused_is_counted_when_another_is_taken(tmp_path, grafana, table):
    """A receiver that refuses everything moves nothing; one that refuses a mark has the others."""
    path = record(tmp_path / "s", *names(4))
    grafana.refuse = lambda _: 400
    outcome = send(path, table, deadline_s=5)
    assert outcome.stopped
    assert "everything is refused" in outcome.error
    assert load_cursor(path, "marks").events.number == 0
    grafana.refuse = lambda text: 400 if text.startswith(("m1", "m3")) else None
    outcome = send(path, table)
    assert there(grafana) == ["m0", "m2"]
    assert (outcome.events, outcome.refused_events, outcome.doubtful_events) == (2, 2, 0)
    assert load_cursor(path, "marks").ended_run == 1


def test_a_mark_that_is_answered_with_not_now_alone_holds_up_no_other(tmp_path, grafana, table):
    """After 16 tries the next one is tried; the first is refused for good once that is taken, and not before."""
    path = record(tmp_path / "s", *names(3))
    grafana.refuse = lambda _: 429
    with StoreReader(path) as reader:
        sender = open_runner(reader, "marks", table)
        for _ in range(20):
            sender.send_now(1, 30, retry=False)
        assert (sender.cursor.events.number, sender.complete) == (0, False)
        grafana.refuse = lambda text: 429 if text.startswith("m0") else None
        outcome = sender.finish(1, 30)
    assert there(grafana) == ["m1", "m2"]
    assert (outcome.events, outcome.refused_events, sender.complete) == (2, 1, True)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "check token"), (403, "annotations:create"), (404, "check url and dashboard_uid")]
)
def test_what_says_nothing_of_a_mark_moves_nothing(tmp_path, grafana, table, status, said):
    """The token, or the dashboard, is wrong, which is said with the mend and without the token."""
    path = record(tmp_path / "s", *names(2))
    grafana.refuse = lambda _: status
    outcome = send(path, table, deadline_s=3)
    assert said in outcome.error
    assert "hidden" not in outcome.error
    assert (grafana.annotations, load_cursor(path, "marks").events.number) == ([], 0)


def test_a_token_that_may_not_read_sends_again_what_is_in_doubt(tmp_path, grafana, table, caplog):
    """Nothing is lost: a mark whose answer was lost may be there twice, and that is said."""
    path = record(tmp_path / "s", *names(2))
    grafana.finds, grafana.faults = 403, [(0, True)]
    send(path, table)
    assert there(grafana) == ["m0", "m0", "m1"]
    assert "may be there twice" in caplog.text


def test_what_lost_its_cursor_or_was_put_back_is_not_there_twice(tmp_path, grafana, table):
    """Without a cursor, from the start, or in a store that numbers other marks anew: Grafana knows what it has."""
    path = record(tmp_path / "s", *names(3))
    send(path, table)
    send(path, table, from_start=True)
    (path / "cursor_marks.json").unlink()
    send(path, table)
    assert there(grafana) == names(3)
    (path / "events").unlink()
    record(path, "other0", "other1", start=START + 9 * S)
    send(path, table, ended_run=2)
    record(path, *names(4, "more"), start=START + 20 * S)
    send(path, table, ended_run=3)
    assert there(grafana) == [*names(3), *names(2, "other"), *names(4, "more")]


def test_a_live_store_sends_marks_as_they_come_and_at_its_end(tmp_path, grafana):
    """Beside a program, at every interval, and the rest when it closes."""
    config = tmp_path / "rondo.toml"
    config.write_text(
        f'[store]\npath = "live.rondo"\n[exporters.marks]\nplugin = "grafana"\nurl = "{grafana.url}"\n'
        'token = "hidden"\ninterval = "20ms"\n'
    )
    with open_store(config) as store:
        store.mark("begun")
        assert grafana.added.wait(30)
        store.mark("done")
    assert there(grafana) == ["begun", "done"]


def test_an_agent_sends_the_dead_and_the_live_and_deletes_no_unsent_sample(tmp_path, grafana, table):
    """Each with its label instance; a live one again when it marks something, also where no sample is recorded."""
    (tmp_path / "stores").mkdir()
    record(tmp_path / "stores" / "dead.rondo", *names(2))
    clock = ManualClock(START)
    config = Config(exporters={"marks": table}, agent={"instance_label": "instance"})
    with Store(tmp_path / "stores" / "live.rondo", SCHEMAS, clock=clock) as store:
        store.mark("one")
        agent = Agent(tmp_path / "stores", config, clock=clock)
        try:
            done = agent.run_once()
            assert (done.failures, done.events, done.samples, done.complete) == ([], 3, 0, 1)
            agent.run_once()
            store.mark("two")
            agent.run_once()
            agent.run_once()
        finally:
            agent.close()
    tags = {each["text"].split()[0]: each["tags"][-1] for each in grafana.annotations if "step" not in each["text"]}
    assert tags == {"one": "instance:live", "two": "instance:live"}
    assert sorted(there(grafana)) == ["m0", "m1", "one", "two"]
    with pytest.raises(UsageError, match="would be deleted unsent"):
        Agent(tmp_path / "stores", Config(exporters={"marks": table}, agent={"after": "delete"}))


def test_the_commands_send_a_dead_store(tmp_path, grafana):
    """`rondo export --dry-run`, `rondo export`, and `rondo agent --once` after it, which has nothing left to send."""
    path = record(tmp_path / "s.rondo", *names(3), "a:b:c")
    (tmp_path / "token").write_text("hidden\n")
    (tmp_path / "token").chmod(0o600)
    to = ["--to", "grafana", "--url", grafana.url, "-o", f"token_file={tmp_path / 'token'}"]

    def rondo(*words):
        given = [sys.executable, "-m", "rondo_cli", *map(str, words)]
        run = subprocess.run(given, capture_output=True, text=True, check=False)
        return run.returncode, run.stdout + run.stderr

    status, said = rondo("export", path, *to, "--dry-run")
    assert status == 0, said
    assert "4 marks and notes in 4 requests" in said
    assert "tags of 1 marks and notes are cut or left out" in said
    assert grafana.posts == grafana.questions == 0
    status, said = rondo("export", path, *to)
    assert (status, said.strip()) == (
        0,
        "4 marks and notes sent in 4 requests; 0 refused, 0 overwritten before they were sent",
    )
    (tmp_path / "rondo.toml").write_text(
        f'[exporters.grafana]\nurl = "{grafana.url}"\ntoken_file = "{tmp_path / "token"}"\n'
    )
    status, said = rondo("agent", tmp_path, "--once", "--config", tmp_path / "rondo.toml")
    assert status == 0, said
    assert "1 complete" in said
    assert there(grafana) == [*names(3), "a:b:c"]
    with Folder(path) as held:
        assert load_cursor(held, "grafana").events.sent == 4
