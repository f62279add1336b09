"""Kill a writing process again and again, and hold what it leaves against a run that was never killed.

`python soak.py DIRECTORY KILLS SEED` prints one line of JSON; what is wrong ends it with a message. The killed
process is a forked child that says before and after each call how far it is; the undisturbed store is the parent's.
"""

import json
import math
import mmap
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from sequence import REPEATABLE, SCHEMAS, SECOND, SLOTS, Process, make_steps
from tiers import FOREVER, Blur, Tiers, differences

from rondo_core import StoreReader, faults
from rondo_core.export.cursor import load_cursor

SETTLE_EVERY = 8
MOST_STEPS = 1500  # in one life


class Soak:
    """One store that is killed, one that is not, and where both stand in the sequence."""

    def __init__(self, directory, kills, seed, at_any_instant):
        self.at_any_instant = at_any_instant
        self.path, self.kills, self.chance = directory / "killed", kills, random.Random(seed)
        self.steps = make_steps(seed, MOST_STEPS * (kills + kills // SETTLE_EVERY + 3))
        self.said = mmap.mmap(-1, 16)
        self.progress = memoryview(self.said).cast("q")
        self.reference = Process(directory / "undisturbed", self.steps, 0)
        self.at = 0  # the step that the killed store goes on with
        self.done = 0  # how many steps the undisturbed store has taken
        self.whole = []  # what the undisturbed store holds before and after the step that a kill cut short
        self.in_flight = []
        self.blurs = []
        self.last_cursor = 0
        self.totals, self.totalled = {}, 0
        self.log = []  # every life: how it was to be killed, where it began and how far it came
        self.points, self.deaths, self.lives, self.landed = {}, 0, 0, 0

    # -- one life

    def live(self, fault, until, kill_after_s=None):
        """Fork a process that takes the sequence up; give how it ended."""
        if self.steps[self.at].verb == "jump" and self.done == self.at:
            self.blurs += self.partly(self.steps[self.at])  # it begins behind a span that the other lives through
        self.progress[0] = self.progress[1] = self.at
        child = os.fork()
        if not child:
            try:
                faults.arm(fault)
                self.work(until)
            except BaseException:  # noqa: BLE001 - said by the child's own end
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.lives += 1
        self.log.append((fault, kill_after_s, self.at, *self.progress, self.steps[self.progress[1]]))
        assert status in {0, signal.SIGKILL}, f"the process ended with status {status}"
        return status

    def work(self, until):
        process = Process(self.path, self.steps, self.at)
        progress = self.progress
        for index in range(self.at, until):
            progress[0] = index + 1
            process.perform(index, resumed=index == self.at)
            progress[1] = index + 1

    # -- after it

    def judge(self):
        """Hold what is there against the undisturbed run, and find the step to go on with."""
        begun, returned = self.progress
        if returned == self.at:
            begun = returned + 1  # the opening itself does part of the step that comes
        reference = self.reference
        while self.done < returned:
            reference.perform(self.done)
            self.done += 1
        step = self.steps[returned]
        if self.done == returned:
            self.whole, self.in_flight = [self.tiers()], []
            if begun > returned:
                self.in_flight = self.partly(step)
                self.perform_in_sight(returned)
                self.done += 1
                self.whole.append(self.tiers())
        in_flight = self.in_flight
        if not returned:  # killed before the first call: there is a store or there is none
            if self.path.exists():
                StoreReader(self.path).close()
            return
        with StoreReader(self.path) as reader:
            assert reader.writer_pid() is None
            dead = Tiers(reader, SCHEMAS)
        back = self.steps[returned].clock_ns // SECOND if begun > returned else None
        wrong = differences(dead, self.whole, SCHEMAS, self.blurs + in_flight, back)
        assert not wrong, self.report(returned, begun, wrong)
        self.check_counters(dead, returned)
        self.check_cursor(returned, begun)
        self.at = returned
        if begun > returned:
            self.settle_in_flight(step, dead, in_flight)
        newest = max(self.whole[0].rows["c", 0], default=0)
        self.blurs = [blur for blur in self.blurs if blur.last == FOREVER or blur.first > newest - 1000]

    def perform_in_sight(self, index):
        """Let the undisturbed store take a step; note all that passes through its tiers where the clock moves."""
        self.reference.closed = lambda: self.whole.append(self.tiers())
        if self.steps[index].verb in {"jump", "back", "restart"}:
            faults.point = lambda _name: self.whole.append(self.tiers())
        try:
            self.reference.perform(index)
        finally:
            faults.arm("")
            del self.reference.closed

    def tiers(self):
        return Tiers(self.reference.store.view, SCHEMAS)

    def report(self, returned, begun, wrong):
        lines = "\n".join(wrong[:20])
        lives = "\n".join(map(str, self.log[-40:]))
        last = self.steps[max(0, returned - 3) : begun]
        return f"{lives}\ndeath {self.deaths}, steps {returned}..{begun}: {last}\n{lines}"

    def partly(self, step):
        """Say where a step may have landed in part."""
        if step.verb == "jump":
            newest = self.reference.store._writers["c"].bucket
            present = step.clock_ns // SECOND
            return [Blur("c", None, newest + 1, present - 1, None), Blur("s", None, present - 1, present - 1, None)]
        if step.verb in REPEATABLE:
            return []
        newest = self.reference.store._writers[step.what[0]].bucket
        blurs = [Blur(step.what[0], step.what[1], step.at_ns // SECOND, newest, step.value)]
        if step.what[0] == "s":  # counted in a row's total, and not in its sum, both of which go on for ever
            blurs.append(Blur(step.what[0], step.what[1], 0, FOREVER, step.value, "sum_base"))
        return blurs

    def settle_in_flight(self, step, dead, in_flight):
        """A call that the kill cut short: is it in the newest total? Then it counts; else it is made once more."""
        if step.verb in REPEATABLE:
            if step.verb == "jump":
                self.blurs += [blur for blur in in_flight if blur not in self.blurs]
            return
        kind, column = step.what
        rows = [tiers.newest(kind) for tiers in (dead, self.whole[0], self.whole[-1])]
        totals = [0.0 if row is None else total_of(kind, row[:, column]) for row in rows]
        if totals[0] == totals[2]:
            self.landed += int(totals[1] != totals[2])
            self.at += 1
            self.blurs += in_flight

    def check_counters(self, dead, returned):
        """Whatever the undisturbed run says: a total is the sum of what was added, and never steps back."""
        while self.totalled < returned:
            step = self.steps[self.totalled]
            if step.verb in {"inc", "inc_late"} and self.totalled not in self.reference.too_late:
                self.totals[step.what[1]] = self.totals.get(step.what[1], 0.0) + step.value
            self.totalled += 1
        newest = dead.newest("c")
        for column, total in self.totals.items():
            said = f"c_{column}: {newest[1, column]}, not {total}"
            # A jump of whole turns of the ring overwrites the newest row; the next writer puts its copy back.
            turned = self.steps[returned].verb in {"jump", "restart"} and not self.steps[returned].what[0] % SLOTS
            assert turned or newest[1, column] >= total, said + self.report(returned, returned, [])
        # Coarse rows keep what a future that was taken back had overwritten here; they are held against the other run.
        rows = dead.rows["c", 0]
        for column in self.totals:
            values = [rows[bucket][1, column] for bucket in sorted(rows)]
            values = [value for value in values if not math.isnan(value)]
            assert values == sorted(values), f"c_{column} steps back: {values}" + self.report(returned, returned, [])

    def check_cursor(self, returned, begun):
        """The cursor is the last one saved, or the one in flight."""
        saved = [index for index in range(self.last_cursor, returned) if self.steps[index].verb == "cursor"]
        self.last_cursor = saved[-1] if saved else self.last_cursor
        allowed = {self.last_cursor} | ({returned} if begun > returned else set())
        cursor = load_cursor(self.path, "soak")
        assert cursor.samples in allowed, f"the cursor stands at {cursor.samples}, not in {allowed}"
        left = list(self.path.glob(".cursor_soak.*.unfinished"))
        assert len(left) <= 1, f"cursors are left behind: {left}"

    def settle(self):
        """Let it live in peace until every window that it was killed in has closed, and compare exactly."""
        until, seconds = self.at, 0
        while seconds < 10:
            seconds += self.steps[until].verb == "second"
            until += 1
        assert self.live("*:0", until) == 0
        self.at = until
        self.judge_settled()

    def judge_settled(self):
        while self.done < self.at:
            self.reference.perform(self.done)
            self.done += 1
        whole = self.tiers()
        with StoreReader(self.path) as reader:
            settled = Tiers(reader, SCHEMAS)
        for key, window in settled.next_window.items():
            assert window == whole.next_window[key], f"{key}: folded up to {window}, not {whole.next_window[key]}"
        wrong = differences(settled, [whole], SCHEMAS, self.blurs)
        assert not wrong, self.report(self.at, self.at, wrong)

    def run(self):
        while self.deaths < self.kills:
            until = self.at + MOST_STEPS
            pick = self.chance.random()
            if pick < 0.25 and self.at_any_instant:
                status = self.live("*:0", until, self.chance.uniform(0.002, 0.04))
            elif pick < 0.5 and POINTS:
                name = min(POINTS, key=lambda point: (self.points.get(point, 0), self.chance.random()))
                self.points[name] = self.points.get(name, 0) + 1
                status = self.live(f"{name}:{self.chance.randint(1, 3)}", until)
            else:
                status = self.live(f"*:{round(2 ** self.chance.uniform(0, 9))}", until)
            self.deaths += status != 0
            self.judge()
            if self.lives % SETTLE_EVERY == 0:
                self.settle()
        self.settle()
        said = {"deaths": self.deaths, "lives": self.lives, "steps": self.at, "landed": self.landed}
        print(json.dumps({**said, "size": size_of(self.path)}))


def total_of(kind, row):
    """Give the total in a newest row: the counter's, or the summary's observations so far."""
    total = row[1] if kind == "c" else row[0] + row[4]
    return 0.0 if math.isnan(total) else total


def size_of(path):
    return sum(file.stat().st_size for file in path.iterdir() if not file.name.startswith("cursor"))


def points_in_sources():
    """Name every fault point that a running store can reach."""
    import re

    text = "".join(path.read_text() for path in Path(faults.__file__).parent.rglob("*.py"))
    names = re.findall(r'faults\.point\("([^"]+)"\)', text)
    for name in re.findall(r'faults\.pwrite\("([^"]+)"', text):
        names += [f"{name}.{part}" for part in ("before", "half", "after")]
    return sorted(names)


POINTS = [name for name in points_in_sources() if not name.startswith("create.")]

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    Soak(directory, int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "any").run()
