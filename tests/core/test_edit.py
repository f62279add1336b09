"""Taking series out of a store, or calling them otherwise: all else is as it was, and nothing is gone unsaid."""

import shutil
import signal
import subprocess
import sys

import attrs
import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Store, StoreReader
from rondo_core.errors import LabelError, StoreError, StoreLockedError, UnknownSeriesError, UsageError
from rondo_core.export.cursor import Cursor, CursorLock, Held, load_cursor, save_cursor
from rondo_core.maintain import check_store, remove_series, rename_series

START_S = 1_700_000_000


def points(path, names=None):
    """Every point of every series but rondo's own, in each tier, as bytes; and what the series is."""
    found = {}
    with StoreReader(path) as reader:
        for series in reader.series('{__name__!~"rondo_.*"}'):
            called = str(series) if names is None else names.get(str(series), str(series))
            for tier in (0, 1, 2):
                (data,) = reader.query([series], tier=tier, fn=None if series.kind != "summary" else "sum")
                arrays = (data.timestamps_ns, data.values, data.coverage)
                found[called, tier] = (series.help, series.created_ns, *(each.tobytes() for each in arrays))
    return found


def names(directory):
    return sorted(each.name for each in directory.iterdir())


def sound(path):
    return [finding for finding in check_store(path) if finding.severity != "note"] == []


@pytest.fixture
def filled(path, fill):
    fill(path)
    return path


@pytest.mark.parametrize("selector", ["g{n=1}", "q_seconds", '{n="0"}', '{__name__!~"rondo_.*"}'])
def test_what_is_removed_is_gone_and_all_else_is_as_it_was(filled, selector):
    """Of one kind or of all; each point in each tier; the store is sound, and what is free is given to others, empty."""
    before = points(filled)
    edit = remove_series(filled, selector)
    gone = {str(series) for series in edit.removed}
    assert gone
    assert points(filled) == {key: of for key, of in before.items() if key[0] not in gone}
    assert edit.points == sum(len(of[2]) // 8 for key, of in before.items() if key[0] in gone)
    assert sound(filled)
    with Store(filled, clock=ManualClock((START_S + 300) * 10**9)) as store:
        for series in edit.removed:
            made = getattr(store, series.kind)(series.name, dict(series.labels))
            assert made.series.schema == series.schema
            assert not any(len(store.query([made.series], f"..{START_S + 299}", tier=tier)[0]) for tier in (0, 1, 2))
            assert series.kind != "counter" or made.value == 0
    for name, (had, has, room) in edit.room.items():
        assert had - has == sum(series.schema == name for series in edit.removed)
        assert room >= had
    assert sound(filled)


def test_a_killed_process_has_left_its_last_second_and_rows_that_are_set_aside(path, small_schemas):
    """Both are there afterwards, and mean what they meant."""
    code = f"""
import os
from rondo_core import ManualClock, Store, Schema, Tier
tiers = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))
clock = ManualClock({START_S} * 10**9)
store = Store({str(path)!r}, [Schema(f"{{kind}}s", kind, 8, tiers) for kind in ("counter", "gauge")], clock=clock)
a, b, g = store.counter("a_total"), store.counter("b_total"), store.gauge("g")
for second in range(50):
    a.inc(); b.inc(2); g.set(second); store.tick(); clock.advance(1)
clock.advance(-20)
b.inc(1)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    remove_series(path, "a_total")
    clock = ManualClock((START_S + 60) * 10**9)
    for each in (path, copy):
        with Store(each, clock=clock) as store:
            store.counter("b_total").inc(4)
    kept = points(copy)
    assert points(path) == {key: of for key, of in kept.items() if key[0] != "a_total"}
    assert sound(path)


def test_a_series_that_is_renamed_goes_on_under_its_new_name(filled):
    """Each point, help and birth; a program that declares it so goes on with its total."""
    before = points(filled, {f'c_total{{n="{n}"}}': f'work_total{{n="{n}",queue="a"}}' for n in range(3)})
    edit = rename_series(filled, "c_total", "work_total", {"queue": "a"})
    assert [str(new) for _, new in edit.renamed] == [f'work_total{{n="{n}",queue="a"}}' for n in range(3)]
    assert points(filled) == before
    assert sound(filled)
    with Store(filled, clock=ManualClock((START_S + 300) * 10**9)) as store:
        total = store.query("work_total{n=1}", fn="last")[0].values[-1]
        counter = store.counter("work_total", n=1, queue="a")
        counter.inc()
        assert counter.value == total + 1
    rename_series(filled, "work_total{n=1}", "work_total", {"n": "", "queue": ""})
    assert sum(key[0] == "work_total" for key in points(filled)) == 3


def test_cursors_stand_where_they_stood_and_what_was_not_sent_is_counted(filled):
    """As refused, which no agent takes for sent; a series that waits waits under its new name."""
    with StoreReader(filled) as reader:
        (series,) = reader.series("g{n=1}")
        newest = reader.newest_ns() // 10**9
        (data,) = reader.query([series], tier=0)
        pending = int((data.timestamps_ns // 10**9 > newest - 10).sum())
        whole = len(data)
    stood = Cursor(
        "some", {"gauges.0": newest - 9, "counters.0": newest}, 1, 77, refused=5, sent={"gauges.0": ((3, 9),)}
    )
    name = 'c_total{n="1"}'
    stood = attrs.evolve(stood, suspects=(name,), held={name: Held("counters.0", 4)})
    save_cursor(filled, stood)
    save_cursor(filled, Cursor("none"))
    shown = remove_series(filled, "g{n=1}", dry_run=True)
    edit = remove_series(filled, "g{n=1}")
    assert shown.unsent == edit.unsent == {"none": whole, "some": pending, "test": shown.unsent["test"]}
    assert 0 < pending < whole
    rename_series(filled, "c_total{n=1}", "d_total")
    found = load_cursor(filled, "some")
    assert (found.positions, found.sent, found.samples, found.ended_run) == (stood.positions, stood.sent, 77, 1)
    assert found.refused == 5 + pending
    assert (found.suspects, list(found.held)) == (('d_total{n="1"}',), ['d_total{n="1"}'])
    assert load_cursor(filled, "none").refused == whole


REFUSED = (
    (lambda path: remove_series(path, "none_total"), UnknownSeriesError, "none_total"),
    (lambda path: remove_series(path, "rondo_samples_refused_total"), UsageError, "a count of rondo's own"),
    (lambda path: rename_series(path, "c_total", "g"), LabelError, "another series is, or would be, g"),
    (lambda path: rename_series(path, "c_total", "d_total", {"n": ""}), LabelError, "would be, d_total"),
    (lambda path: rename_series(path, "c_total", "0d"), LabelError, "0d"),
    (lambda path: rename_series(path, "c_total", "rondo_x"), LabelError, "rondo's own"),
)


def test_what_cannot_be_done_is_refused_and_nothing_is_changed(filled):
    """Also not in the names of files beside it."""
    with Store(filled, clock=ManualClock((START_S + 300) * 10**9)) as store:
        store.gauge("late").set(1, (START_S - 9000) * 10**9)
    before, beside = points(filled), names(filled.parent)
    for call, error, said in REFUSED:
        with pytest.raises(error) as caught:
            call(filled)
        assert said in str(caught.value)
    assert points(filled) == before
    assert names(filled.parent) == beside


def test_a_store_that_is_written_or_exported_is_left_alone(filled):
    """Each with who has it."""
    with Store(filled, clock=ManualClock((START_S + 300) * 10**9)), pytest.raises(StoreLockedError):
        remove_series(filled, "g")
    lock = CursorLock(filled, "some")
    with pytest.raises(StoreError, match="exports it through some"):
        remove_series(filled, "g")
    lock.release()
    remove_series(filled, "g", dry_run=True)
    assert any(name.startswith("g{") for name, _ in points(filled))


@pytest.mark.parametrize("point", ["grow.slab", "grow.whole", "grow.replaced"])
def test_a_kill_in_the_middle_leaves_the_one_store_or_the_other(filled, point):
    """Whole; and the next edit removes what was left beside it."""
    before = points(filled)
    code = f"from rondo_core import faults; from rondo_core.maintain import remove_series; faults.arm('{point}:1')"
    command = [sys.executable, "-c", f"{code}; remove_series({str(filled)!r}, 'g')"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = {key for key in before if not key[0].startswith("g{")}
    assert points(filled).keys() in (before.keys(), left)
    with_g = any(key[0].startswith("g{") for key in points(filled))
    assert with_g == (point != "grow.replaced")
    if with_g:
        remove_series(filled, "g")
    else:
        remove_series(filled, "s_seconds")
    assert names(filled.parent) == [filled.name]
    assert sound(filled)


def test_the_command_says_what_it_frees(filled, capsys):
    """Series, room, points, and what was not sent; a dry run the same, of what would be."""
    assert run(["edit", str(filled), "remove", "g{n=0}", "--dry-run"]) == 0
    assert 'g{n="0"}: would be removed' in capsys.readouterr().out
    assert run(["edit", str(filled), "remove", "g{n=0}"]) == 0
    said = capsys.readouterr().out
    assert 'g{n="0"}: removed\nschema gauges: room for 4 series, 3 taken before, 2 now\n' in said
    assert "points, over all tiers, gone" in said
    assert "exporter test: " in said
    assert run(["edit", str(filled), "rename", "g{n=1}", "h", "--labels", "n=,m=2"]) == 0
    assert capsys.readouterr().out == 'g{n="1"}: h{m="2"}\n'
    assert run(["edit", str(filled), "rename", "h"]) == 2
    assert run(["edit", str(filled), "remove", "h", "x"]) == 2
    assert run(["check", str(filled)]) == 0
