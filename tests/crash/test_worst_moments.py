"""What the kill soak found once, each on its own: a kill at the one point where it mattered."""

import signal
import subprocess
import sys

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export.cursor import Cursor, CursorLock, load_cursor, save_cursor
from rondo_core.maintain.check import check_store

TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
SCHEMAS = [Schema("c", "counter", 2, TIERS), Schema("g", "gauge", 2, TIERS), Schema("s", "summary", 2, TIERS)]
START_S = 1_700_000_001  # the first second of a window of tier 1
HEAD = f"""
import sys
from rondo_core import ManualClock, Schema, Store, Tier, faults
tiers = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
clock = ManualClock({START_S} * 10**9)
schemas = [Schema("c", "counter", 2, tiers), Schema("g", "gauge", 2, tiers), Schema("s", "summary", 2, tiers)]
store = Store(sys.argv[1], schemas, clock=clock)
counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
def record(value):
    counter.inc(value), gauge.set(value), summary.observe(value)
"""


def killed(path, code):
    """Run the code, which arms its own fault; say whether it was killed there."""
    done = subprocess.run([sys.executable, "-c", HEAD + code, str(path)], check=False, capture_output=True, text=True)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def points(view, selector, tier=0, fn=None):
    """Give value by second, counted from the start."""
    (data,) = view.query(selector, tier=tier, fn=fn)
    return dict(zip((data.timestamps_ns // 10**9 - START_S).tolist(), data.values.tolist(), strict=True))


@pytest.mark.parametrize("fault", [f"row.{part}:{n}" for part in ("begin", "filled") for n in (1, 2, 3, 4)])
def test_what_the_present_second_holds_outlives_a_kill_in_a_step_back(fault, path):
    """A clock that stepped back enters a second again; killed in that, the second still has what it had."""
    code = f"""
record(7.0)
clock.advance(5); record(8.0)
clock.advance(-5); faults.arm("{fault}"); store.tick()
"""
    assert killed(path, code)
    with StoreReader(path) as reader:
        assert points(reader, "g")[0] == 7.0
        assert points(reader, "s", fn="sum")[0] == 7.0
        assert 0 in points(reader, "c_total")


@pytest.mark.parametrize(
    "fault", ["aside.set:1", "aside.set:3", "aside.set:6", "aside.set:9", "take_back.carried:1", "take_back.dropped:2"]
)
def test_no_total_steps_back_while_a_future_is_taken_back(fault, path):
    """Killed anywhere in it, what a reader finds goes up, and the newest total is there."""
    code = f"""
for second in range(10):
    record(1.0); clock.advance(1)
clock.advance(-7); faults.arm("{fault}"); store.tick()
"""
    assert killed(path, code)
    with StoreReader(path) as reader:
        totals = list(points(reader, "c_total").values())
    assert totals == sorted(totals)
    assert totals[-1] == 10.0


@pytest.mark.parametrize(
    "fault", ["enter.backed_up:1", "enter.backed_up:2", "row.begin:1", "row.half:1", "enter.backup_cleared:1"]
)
def test_a_turn_of_the_ring_ahead_leaves_no_second_too_many(fault, path):
    """Killed while it overwrites its newest row, a process leaves the totals and no second that nobody lived through."""
    code = f"""
record(7.0)
store.close(); clock.advance(12); store = Store(sys.argv[1], clock=clock)
faults.arm("{fault}"); counter, summary = store.counter("c_total"), store.summary("s")
"""
    assert killed(path, code)
    clock = ManualClock((START_S + 12) * 10**9)
    with Store(path, SCHEMAS, clock=clock) as store:
        assert store.counter("c_total").value == 7.0
        store.summary("s").observe(1.0)
        assert points(store, "c_total").keys() <= {0, 12}
        assert points(store, "s", fn="total") == {12: 2.0}


@pytest.mark.parametrize("fault", ["row.filled:1", "row.filled:2"])
def test_a_kill_after_a_fold_keeps_the_folded_window_whole(fault, path):
    """Killed between folding and entering, a process leaves windows that the next one does not fold from less."""
    code = f"""
for second in (3, 4, 5):
    clock.now_ns = ({START_S} + second) * 10**9; record(1.0)
store.close(); clock.advance(11); store = Store(sys.argv[1], clock=clock)
faults.arm("{fault}"); counter = store.counter("c_total"); gauge = store.gauge("g"); gauge.set(5.0)
"""
    assert killed(path, code)
    with Store(path, SCHEMAS, clock=ManualClock((START_S + 17) * 10**9)) as store:
        store.counter("c_total")
        store.gauge("g").set(5.0)
        store.tick()
        assert points(store, "c_total", tier=1, fn="count")[3] == 3.0
        assert points(store, "g", tier=1, fn="count")[3] == 3.0


def test_opening_again_keeps_a_window_that_the_finest_tier_has_lost(path):
    """A late increment has windows folded again; where a dropped future took the rows, what was folded stays."""
    code = """
import os
for second in range(15):
    counter.inc(); store.tick(); clock.advance(1)
clock.advance(-6); store.tick()
counter.inc(1.0, clock() - 20 * 10**9); os._exit(0)
"""
    assert not killed(path, code)
    for _ in range(2):
        with Store(path, SCHEMAS, clock=ManualClock((START_S + 9) * 10**9)) as store:
            assert points(store, "c_total", tier=1, fn="count")[0] == 3.0


@pytest.mark.parametrize("n", range(1, 7))
def test_a_kill_as_a_closed_store_is_opened_again_shows_no_window_that_is_open(n, path):
    """What a close folded of windows that go on is out of sight from the next opening on, wherever one was killed."""
    code = f"""
clock.now_ns = ({START_S} + 9) * 10**9
for second in range(4):
    clock.advance(bool(second)); record(1.0); store.tick()
store.close(); faults.arm("fold.begin:{n}"); store = Store(sys.argv[1], clock=clock)
"""
    assert killed(path, code)
    with Store(path, SCHEMAS, clock=ManualClock((START_S + 13) * 10**9)) as store:
        for selector in ("c_total", "g", "s"):
            assert points(store, selector, tier=1, fn="count").items() >= {(9, 3.0)}
            for tier, span in ((1, 3), (2, 6)):
                assert all(second + span <= 13 for second in points(store, selector, tier=tier, fn="count")), selector


def test_cursors_that_were_never_finished_do_not_pile_up(path):
    """Killed before each rename, exporters leave one file at most, and the cursor that was acknowledged."""
    Store(path, SCHEMAS).close()
    save_cursor(path, Cursor("x", {"g.0": 5}))
    code = """
from rondo_core.maintain.check import check_store
from rondo_core.export.cursor import Cursor, CursorLock, save_cursor
from pathlib import Path
held = CursorLock(Path(sys.argv[1]), "x")
faults.arm("cursor.written:1"); save_cursor(Path(sys.argv[1]), Cursor("x", {"g.0": 6}))
"""
    for _ in range(3):
        assert killed(path, code)
        assert len(list(path.glob("*.unfinished"))) == 1
        assert load_cursor(path, "x").positions == {"g.0": 5}
    held = CursorLock(path, "x")
    save_cursor(path, Cursor("x", {"g.0": 7}))
    held.release()
    assert not list(path.glob("*.unfinished"))


RETURNS = ["row.begin:1", "take_back.carried:2", "aside.set:5", "aside.back:1", "aside.back:7", "aside.gave_way:1"]
RETURNS += ["aside.gave_way:2", "aside.returned:1", "aside.returned:2", "aside.returned:3", "late.rewound:1"]


@pytest.mark.parametrize("fault", RETURNS)
@pytest.mark.parametrize("back_s", [5, START_S - 20])
def test_a_kill_while_the_clock_steps_back_or_returns_loses_no_history(back_s, fault, path):
    """Wherever it comes, no total falls then, and the next process brings back what was set aside."""
    code = f"""
for second in range(10):
    record(second); store.tick(); clock.advance(1)
true_ns = clock.now_ns
faults.arm("{fault}")
clock.advance(-{back_s})
record(10.0); store.tick(); clock.advance(1)
clock.now_ns = true_ns + 10**9
record(11.0); store.tick()
"""
    assert killed(path, code)
    with StoreReader(path) as reader:
        totals = list(points(reader, "c_total").values())
        assert totals == sorted(totals)
    clock = ManualClock((START_S + 12) * 10**9)
    with Store(path, SCHEMAS, clock=clock) as store:
        gauge, counter = store.gauge("g"), store.counter("c_total")
        store.summary("s").observe(1.0)
        counter.inc()
        gauge.set(5.0)
        store.tick()
        assert counter.value >= 11.0
        for tier in (0, 1, 2, "auto"):
            totals = list(points(store, "c_total", tier).values())
            assert totals == sorted(totals)
        # Of ten seconds at most those are gone whose slots were used since, and their neighbours' in a whole turn.
        assert len(points(store, "g").keys() & set(range(1, 10))) >= 5
        assert check_store(path, clock()) == []


SET_ASIDE = [f"take_back.{point}:{n}" for point in ("carried", "dropped") for n in (1, 2, 3)]
SET_ASIDE += ["aside.set:2", "aside.set:8", "aside.set:14", "fold.taken_back:2"]


@pytest.mark.parametrize("fault", SET_ASIDE)
def test_a_kill_in_a_step_back_is_no_return(fault, path, caplog):
    """Where the clock stays where it stepped back to, the next process ends what was begun: nothing else changes."""
    code = f"""
for second in range(7):
    record(second); store.tick(); clock.advance(1)
clock.advance(-5); faults.arm("{fault}"); store.tick()
"""
    assert killed(path, code)
    with Store(path, clock=ManualClock((START_S + 2) * 10**9)) as store:
        store.tick()
        assert points(store, "g") == {0: 0.0, 1: 1.0, 2: 2.0}
        assert points(store, "s", fn="max") == {0: 0.0, 1: 1.0, 2: 2.0}
        assert points(store, "s", fn="total") == {0: 1.0, 1: 2.0, 2: 7.0}
        assert points(store, "c_total") == {0: 0.0, 1: 1.0, 2: 21.0}
        assert check_store(path, (START_S + 2) * 10**9) == []
    assert "went on" not in caplog.text


@pytest.mark.parametrize("fault", ["row.begin:1", "row.half:1", "row.filled:2"])
def test_a_kill_in_a_step_back_is_no_damage(fault, path):
    """The row of the present second, in the middle of its change, is what the next writer mends, not damage."""
    code = f"""
for second in range(7):
    record(second); store.tick(); clock.advance(1)
clock.advance(-5); faults.arm("{fault}"); store.tick()
"""
    assert killed(path, code)
    assert [each for each in check_store(path, (START_S + 7) * 10**9) if each.severity == "damage"] == []


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_kill_before_anything_has_returned_leaves_the_return_to_the_next_process(n, path):
    """Killed when the clock had returned and no row had: the next process finds the same return, and the same history."""
    code = f"""
def live(second):
    clock.now_ns = ({START_S} + second) * 10**9; record(float(second)); store.tick()
for second in [*range(10), 1000, 10, 11, -23, -22]:
    live(second)
faults.arm("enter.begin:{n}")
live(12)
"""
    assert killed(path, code)
    clock = ManualClock((START_S + 12) * 10**9)
    with Store(path, SCHEMAS, clock=clock) as store:
        gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("s")
        gauge.set(12.0)
        summary.observe(12.0)
        counter.inc()
        store.tick()
        for tier, held in ((0, {3, 5, 6, 7, 8, 9, 10, 11, 12}), (1, {3, 6, 9}), (2, {3})):
            assert held <= points(store, "g", tier).keys()
            assert held - {12} <= points(store, "c_total", tier).keys()
            assert held - {12} <= points(store, "s", tier, "max").keys()
        assert points(store, "s", 1, "max")[6] == 8.0
        assert check_store(path, clock()) == []


@pytest.mark.parametrize("point", ["row.begin", "row.filled"])
def test_a_kill_as_a_return_takes_the_newest_row_leaves_what_was_folded(point, path):
    """The finest tier has nothing left of the window that the clock stepped back to: what was folded of it stays."""
    code = f"""
def live(second):
    clock.now_ns = ({START_S} + second) * 10**9; gauge.set(float(second)); store.tick()
for second in [*range(-3, 11), -1]:
    live(second)
faults.arm("{point}:1"); clock.now_ns = ({START_S} + 11) * 10**9; gauge.set(11.0)
"""
    assert killed(path, code)
    with Store(path, SCHEMAS, clock=ManualClock((START_S + 11) * 10**9)) as store:
        store.gauge("g").set(11.0)
        store.tick()
        assert points(store, "g", 1, "min") == {-3: -3.0, 0: 0.0, 3: 3.0, 6: 6.0}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_kill_as_a_long_gap_is_entered_is_no_damage(n, path):
    """Killed when what came before a gap is folded, and nothing after it is recorded, a store checks clean."""
    code = f"""
for second in range(4):
    record(1.0); store.tick(); clock.advance(1)
clock.advance(3600); faults.arm("fold.moved:{n}"); record(1.0)
"""
    assert killed(path, code)
    assert check_store(path, (START_S + 4) * 10**9) == []
    with Store(path, SCHEMAS, clock=ManualClock((START_S + 3605) * 10**9)) as store:
        store.tick()
        assert points(store, "c_total", 1, "count") == {0: 3.0, 3: 1.0}
        assert points(store, "c_total", 2, "count") == {-3: 3.0, 3: 1.0}
