"""A clock that is wrong for a while, at an opening or in a live store: no history is lost, no total, in no tier."""

import logging
import shutil

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export.runner import Runner
from rondo_core.maintain.check import check_store
from rondo_core.storage import runs
from rondo_core.storage.recovery import Survival, survival
from rondo_core.storage.runs import Run

S = 10**9
START_S = 1_700_000_040  # the first second of a window of each tier
TIERS = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))
SCHEMAS = [
    Schema("c", "counter", 2, TIERS),
    Schema("g", "gauge", 2, TIERS),
    Schema("s", "summary", 2, TIERS, match="s"),
    Schema("q", "summary", 2, TIERS, sketch=True),
]
READINGS = {"c_total": "last", "g": "last", "s": "total", "q": "total"}
LIVED_S, WRONG_S = 900, 8


class Life:
    """A program that records every second, and may be closed or killed."""

    def __init__(self, path):
        self.path, self.clock, self.counted = path, ManualClock(START_S * S), 0
        self.open()

    def open(self):
        self.store = Store(self.path, SCHEMAS, clock=self.clock)
        self.counter, self.gauge = self.store.counter("c_total"), self.store.gauge("g")
        self.summaries = [self.store.summary("s"), self.store.summary("q")]

    def live(self, seconds):
        for _ in range(seconds):
            self.counter.inc()
            self.gauge.set(self.counted)
            for summary in self.summaries:
                summary.observe(1.0)
            self.counted += 1
            self.store.tick()
            self.clock.advance(1)

    def end(self, how):
        """Go on in the same process, close, or be killed: what a kill leaves is what the files hold."""
        if how == "killed":
            copy = self.path.with_name(f"{self.path.name}.{self.counted}")
            shutil.copytree(self.path, copy)
            self.store.close()
            self.path = copy
        elif how == "closed":
            self.store.close()

    def begin(self, how):
        if how != "live":
            self.open()


def points(view, name, tier, fn=None):
    (data,) = view.query(name, "all", tier=tier, fn=fn or READINGS[name])
    return dict(zip((data.timestamps_ns // S).tolist(), data.values.tolist(), strict=True))


def history(view):
    return {(name, tier): points(view, name, tier) for name in READINGS for tier in (0, 1, 2)}


def assert_sound(life):
    """Totals are all there and never fall, in any tier and over all; a check finds nothing."""
    for name in ("c_total", "s", "q"):
        for tier in (0, 1, 2, "auto"):
            values = list(points(life.store.view, name, tier).values())
            assert values == sorted(values), (name, tier)
        assert max(points(life.store.view, name, 0).values()) == life.counted
    assert life.counter.value == life.counted
    assert check_store(life.path, life.clock()) == []


@pytest.mark.parametrize(
    ("ended", "ended_again"),
    [("live", "live"), ("closed", "closed"), ("killed", "killed"), ("closed", "live"), ("live", "killed")],
)
@pytest.mark.parametrize("behind_s", [30, 3600 + 7, 86_400 * 400, START_S + LIVED_S - 12])
def test_what_was_recorded_is_there_again_when_the_clock_is(behind_s, ended, ended_again, path):
    """A clock that was behind takes no more than it had the time to overwrite, whoever was killed meanwhile."""
    life = Life(path)
    life.live(LIVED_S)
    before, true_ns = history(life.store.view), life.clock()
    life.end(ended)
    life.clock.advance(-behind_s)
    life.begin(ended)
    life.live(WRONG_S)
    assert_sound(life)
    life.end(ended_again)
    life.clock.now_ns = true_ns + WRONG_S * S
    life.begin(ended_again)
    life.live(1)
    life.store.tick()
    after = history(life.store.view)
    for (name, tier), was in before.items():
        interval_s, kept_s = TIERS[tier].interval_ns // S, TIERS[tier].retention_ns // S
        wanted = {at: value for at, value in was.items() if at > true_ns // S + WRONG_S - kept_s + interval_s}
        missing = [at for at, value in wanted.items() if after[name, tier].get(at) != value]
        # The newest window of a coarse tier goes on; the others are as they were.
        assert len(missing) <= WRONG_S // interval_s + 2 + (tier > 0), (name, tier, missing)
    assert_sound(life)
    life.store.close()
    with StoreReader(life.path) as reader:
        assert history(reader).keys() == after.keys()


@pytest.mark.parametrize("ended", ["live", "closed", "killed"])
def test_a_clock_a_year_ahead_for_a_while_costs_the_seconds_it_lasted(ended, path):
    """Its rows keep nothing out, and of the finest tier they took no more than they are; coarser tiers have it all."""
    life = Life(path)
    life.live(LIVED_S)
    before, true_ns = history(life.store.view), life.clock()
    life.end(ended)
    life.clock.advance(86_400 * 365)
    life.begin(ended)
    life.live(WRONG_S)
    life.end(ended)
    life.clock.now_ns = true_ns + WRONG_S * S
    life.begin(ended)
    life.live(3)
    after = history(life.store.view)
    for (name, tier), was in before.items():
        interval_s = TIERS[tier].interval_ns // S
        missing = [at for at in was if at not in after[name, tier]]
        assert len(missing) <= (2 * WRONG_S + 3) // interval_s + 2, (name, tier, missing)
        assert max(after[name, tier]) <= life.clock() // S
    assert points(life.store.view, "g", 0)[true_ns // S + WRONG_S] == LIVED_S + WRONG_S
    assert_sound(life)


def test_a_late_sample_before_a_step_back_is_in_every_tier_when_the_clock_returns(path):
    """Windows that a late sample had opened again are folded before they are set aside: their seconds may be gone then."""
    tiers = (Tier("1s", "12s"), Tier("6s", "10m"), Tier("1m", "1h"))
    schemas = [schema._replace(tiers=tiers) for schema in SCHEMAS]
    clock = ManualClock(START_S * S)
    with Store(path, schemas, clock=clock) as store:
        counter, gauge = store.counter("c_total"), store.gauge("g")
        summaries = [store.summary("s"), store.summary("q")]
        for second in range(14):
            gauge.set(second)
            store.tick()
            clock.advance(1)
        true_ns, late_ns = clock(), clock() - 5 * S
        counter.inc(100.0, late_ns)
        gauge.set(77.0, late_ns)
        for summary in summaries:
            summary.observe(50.0, late_ns)
        clock.advance(-3600 * 24)
        for _ in range(12):  # in the slots of all twelve seconds
            store.tick()
            gauge.set(1.0)
            clock.advance(1)
        clock.now_ns = true_ns + 12 * S
        store.tick()
        assert points(store.view, "g", 0) == {}
        clock.advance(60)
        store.tick()
        for tier, window in ((1, START_S + 6), (2, START_S)):
            assert points(store.view, "g", tier, "max")[window] == 77.0
            assert points(store.view, "c_total", tier)[window] == 100.0
            for name in ("s", "q"):
                assert points(store.view, name, tier, "sum")[window] == 50.0
                assert points(store.view, name, tier)[window] == 1.0


def test_a_future_that_is_passed_never_comes_back(path):
    """Where the clock was right to step back, its rows stay away, also through gaps, and the present is recorded."""
    life = Life(path)
    life.live(100)
    life.clock.advance(-40)
    life.store.tick()
    for gap in (1, 3, 5, 2, 15, 30, 45):
        life.live(2)
        life.clock.advance(gap)
        seen = points(life.store.view, "g", 0)
        assert all(value >= 100 for at, value in seen.items() if at > START_S + 60), seen
    assert_sound(life)


def test_what_is_set_aside_is_counted_and_said_once(path, caplog):
    """One line when the clock steps back and one when it returns; the rows are a count of the store's own."""
    life = Life(path)
    life.live(30)
    with caplog.at_level(logging.WARNING, "rondo.store"):
        life.clock.advance(-3600)
        life.live(3)
        life.clock.advance(3600)
        life.live(3)
    told = [record.getMessage() for record in caplog.records]
    assert ["stepped back" in each for each in told] == [True, False]
    assert "set aside" in told[0]
    assert "there again" in told[1]
    counted = life.store.query("rondo_samples_refused_total{reason=taken_back}")[0].values[-1]
    assert counted >= 4 * 30


def test_a_program_that_never_ticks_goes_on_in_the_present(path):
    """A record takes the future back, too: nothing is refused until the next tick."""
    clock = ManualClock(START_S * S)
    with Store(path, SCHEMAS, clock=clock) as store:
        gauge, counter = store.gauge("g"), store.counter("c_total")
        gauge.set(1.0), counter.inc()
        clock.advance(-100)
        gauge.set(2.0), counter.inc()
        assert points(store.view, "g", 0) == {START_S - 100: 2.0}
        assert points(store.view, "c_total", 0) == {START_S - 100: 2.0}


class Receiver:
    """Takes everything, and knows what it was sent: instant -> value of the gauge."""

    def __init__(self):
        self.sent, self.differed = {}, []

    def send(self, batch):
        for part in batch.parts:
            if part.schema == "g":
                for stamp, value in zip(
                    part.timestamps_ns.tolist(), part.statistics["last"][:, 0].tolist(), strict=True
                ):
                    if self.sent.setdefault(stamp // S, value) != value:
                        self.differed.append(stamp // S)

    def close(self):
        pass


@pytest.mark.parametrize("back_s", [5, 30, 600, 86_400])
@pytest.mark.parametrize("returns", [True, False])
def test_an_export_sends_no_instant_twice_with_another_value(returns, back_s, path):
    """What was acknowledged of a future stays so; what is recorded in the present is sent, and what follows too."""
    life, receiver = Life(path), Receiver()

    def export():
        Runner(life.store.view, receiver, "x", clock=life.clock).finish(0, 0)

    life.live(100)
    export()
    life.clock.advance(-back_s)
    for _ in range(3):
        life.live(4)
        export()
    if back_s > 60:  # the present does not overlap what was sent
        assert len(receiver.sent) >= 70
    if returns:
        life.clock.advance(back_s)
    life.live(back_s + 20 if back_s < 60 else 20)
    export()
    assert receiver.differed == []
    assert receiver.sent[life.clock() // S - 2] == life.counted - 2
    assert [each for each in check_store(path, life.clock()) if each.severity == "damage"] == []


@pytest.mark.parametrize("steps", [(90, 90), (600, 3), (600, 10, 40), (90, 3, 3), (40, 10, 90)])
@pytest.mark.parametrize("looks", [True, False])
def test_a_clock_that_steps_back_again_and_again_keeps_nothing_from_being_sent(steps, looks, path):
    """Whether the export looked in between or not, all is sent that is not another value of an instant that was."""
    life, receiver = Life(path), Receiver()

    def export():
        Runner(life.store.view, receiver, "x", clock=life.clock).finish(0, 0)

    life.live(30)
    export()
    for back_s in steps:
        life.clock.advance(-back_s)
        life.live(12)
        if looks:
            export()
    life.live(3)
    export()
    there = points(life.store.view, "g", 0)
    assert receiver.differed == []
    assert sorted(second for second in there if second < life.clock() // S - 2 and second not in receiver.sent) == []
    sent = len(receiver.sent)
    export()
    assert len(receiver.sent) == sent


@pytest.mark.parametrize("back_s", [5, 20])
def test_what_was_sent_before_the_clock_stepped_back_into_a_gap_is_not_sent_again(back_s, path):
    """What is recorded in the gap is sent, and what then goes over what was sent is not."""
    life, receiver = Life(path), Receiver()

    def export():
        Runner(life.store.view, receiver, "x", clock=life.clock).finish(0, 0)

    life.live(20)
    export()
    life.clock.advance(-20 - back_s)
    life.live(back_s - 2)
    export()
    life.live(40)
    export()
    assert receiver.differed == []
    assert set(range(START_S - back_s, START_S + 30)) <= set(receiver.sent)


@pytest.mark.parametrize("slept_s", [1, 4])
def test_what_is_recorded_in_a_gap_is_sent_though_the_clock_stepped_back_to_before_it(slept_s, path):
    """Also where the clock had stepped back before, to behind that gap, and the export looks when it is there again."""
    life, receiver = Life(path), Receiver()

    def export():
        Runner(life.store.view, receiver, "x", clock=life.clock).finish(0, 0)

    life.live(10)
    life.clock.advance(slept_s)
    life.live(20)
    export()
    life.clock.advance(-20)
    life.live(2)
    export()
    life.clock.advance(-7 - slept_s)
    life.live(7 + slept_s)
    export()
    assert receiver.differed == []
    assert set(range(START_S + 10, START_S + 10 + slept_s)) <= set(receiver.sent)


@pytest.mark.parametrize("back_s", [2, 40, 3600])
def test_a_clock_that_steps_back_harms_no_store_of_one_tier(back_s, path):
    """It is recorded into and ticks as before; totals go on."""
    clock = ManualClock(START_S * S)
    schemas = [Schema(kind[0], kind, 2, (Tier("1s", "60s"),)) for kind in ("counter", "gauge", "summary")]
    with Store(path, schemas, clock=clock) as store:
        counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
        for second in range(40):
            counter.inc()
            gauge.set(second)
            summary.observe(second)
            store.tick()
            clock.advance(-back_s if second == 20 else 1)
        assert counter.value == 40
        assert points(store.view, "c_total", 0)[clock() // S - 1] == 40
        assert points(store.view, "s", 0, "total")[clock() // S - 1] == 40
    assert check_store(path, clock()) == []


@pytest.mark.parametrize("second", [-5, 0, 1, 59, 60, 86_400])
def test_1970_is_a_time_like_any_other_but_for_its_first_bucket(second, path):
    """What is recorded in it is there or counted as late, whatever the call; the store stays sound."""
    clock = ManualClock(second * S)
    with Store(path, SCHEMAS, clock=clock) as store:
        gauges = [store.gauge("g"), store.gauge("h")]
        batch, counter, summary = store.batch(gauges), store.counter("c_total"), store.summary("s")
        gauges[0].set(1.0)
        batch.set([2.0, 3.0])
        counter.inc(4.0)
        summary.observe(5.0)
        store.tick()
        refused = sum(store._writers[name].refused["late"] for name in "cgs")
        there = second > 0
        assert refused == (0 if there else 5)
        assert points(store.view, "g", 0) == ({second: 2.0} if there else {})
        assert points(store.view, "c_total", 0) == ({second: 4.0} if there else {})
        assert points(store.view, "s", 0, "sum") == ({second: 5.0} if there else {})
        assert counter.value == (4.0 if there else 0.0)
        clock.now_ns = max(1, second) * S
        counter.inc()
        assert counter.value == (5.0 if there else 1.0)
    with StoreReader(path) as reader:
        assert [run.ended for run in reader.runs()] == ["closed"]
        assert points(reader, "g", 0) == ({second: 2.0} if there else {})
    assert check_store(path, 1_700_000_000 * S) == []


def test_a_time_that_no_clock_says_is_refused_as_of_the_future(path):
    """Beyond what the format has room for nothing is recorded, and the store goes on."""
    clock = ManualClock(START_S * S)
    with Store(path, SCHEMAS, clock=clock) as store:
        gauge, counter = store.gauge("g"), store.counter("c_total")
        clock.now_ns = 1 << 62
        gauge.set(1.0), counter.inc()
        store.tick()
        clock.now_ns = START_S * S
        gauge.set(2.0), counter.inc()
        assert points(store.view, "g", 0) == {START_S: 2.0}
        assert counter.value == 1.0
        assert store._writers["g"].refused["future"] >= 1
        assert store._writers["c"].refused["future"] >= 1
    assert check_store(path, START_S * S) == []


@pytest.mark.parametrize("age_s", [61, 3600, 86_400 * 365 * 60])
def test_an_increment_that_is_too_late_is_counted_and_adds_nothing(age_s, path):
    """As a gauge's sample and a summary's observation are: by what the finest tier still takes."""
    life = Life(path)
    life.live(100)
    late = life.clock() - age_s * S
    life.counter.inc(1000.0, late)
    life.gauge.set(1000.0, late)
    life.summaries[0].observe(1000.0, late)
    assert [life.store._writers[name].refused["late"] for name in "cgs"] == [1, 1, 1]
    assert life.counter.value == 100
    life.counter.inc(5.0, life.clock() - 30 * S)
    assert life.counter.value == 105
    life.store.tick()
    counted = life.store.query("rondo_samples_refused_total{reason=late}")[0].values[-1]
    assert counted == 3


@pytest.mark.parametrize("slept_s", [20, 45, 55, 70, 600, 3600])
def test_a_gap_is_filled_in_every_tier_or_in_none(slept_s, path):
    """A counter's process that slept has a point in each bucket of that time, or in no bucket of any tier."""
    life = Life(path)
    life.live(60)
    life.clock.advance(slept_s)
    life.live(130)
    for tier in (0, 1, 2):
        interval_s = TIERS[tier].interval_ns // S
        first = -(-(START_S + 60) // interval_s) * interval_s
        oldest = life.clock() // S - TIERS[tier].retention_ns // S
        whole = [at for at in range(first, START_S + 60 + slept_s - interval_s + 1, interval_s) if at > oldest]
        there = [at for at in whole if at in points(life.store.view, "c_total", tier)]
        assert there in ([], whole), (tier, len(there), len(whole))


def test_an_unknown_boot_is_never_the_same_boot(monkeypatch):
    """Neither where nothing says which it is, nor where it says noughts, nor where it began after the last run did."""
    one = "8a2f6c1e-0000-4000-8000-000000000001"
    noughts = "00000000-0000-0000-0000-000000000000"
    for recorded, present in (("", ""), ("", one), (one, ""), (noughts, one)):
        monkeypatch.setattr(runs, "boot_id", lambda present=present: present)
        assert survival(Run(1, 2, 3, recorded, 4, machine=runs.machine_id())) is Survival.RESTARTED
    monkeypatch.setattr(runs, "boot_id", lambda: one)
    assert survival(Run(1, 2, 3, one, 4)) is Survival.SAME_BOOT
    assert survival(Run(1, 2, 1 << 60, one, 4)) is Survival.RESTARTED


def test_a_boot_of_noughts_is_unknown(monkeypatch):
    """What a kernel without entropy or a sandbox shows to everyone says nothing."""
    monkeypatch.setattr(runs.Path, "read_text", lambda _path: "00000000-0000-0000-0000-000000000000\n")
    assert runs.boot_id.__wrapped__() == ""


def test_without_a_boot_id_a_torn_row_is_absent(path, monkeypatch):
    """Whether the machine was restarted is not known there: what guards each row decides."""
    monkeypatch.setattr(runs, "boot_id", lambda: "")
    life = Life(path)
    life.live(20)
    life.store.close()
    slab = life.store.slabs["g"][0]
    slab.row_cells((START_S + 7) % 60)[0] = 0.0
    with StoreReader(path) as reader:
        seen = points(reader, "g", 0)
    assert START_S + 7 not in seen
    assert len(seen) == 19
    with Store(path, clock=life.clock) as store:
        assert START_S + 7 not in points(store.view, "g", 0)
