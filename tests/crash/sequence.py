"""One endless sequence of calls on a store, the same in every process: what to do, and under which clock.

A step is (verb, what, value, clock_ns): the clock moves only with the verbs that say so, and those tick at once, so
that a process that takes the sequence up again knows what every tier should hold.
"""

import random
from typing import NamedTuple

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.cursor import CursorLock, load_cursor, save_cursor
from rondo_core.export.drain import Drain

START_NS = 1_700_000_000 * 10**9
SECOND = 10**9
# Small enough that every ring wraps within seconds of the clock.
TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
SLOTS = TIERS[0].slot_count
MAX_SERIES = 16
SCHEMAS = (
    Schema("c", "counter", MAX_SERIES, TIERS),
    Schema("g", "gauge", MAX_SERIES, TIERS),
    Schema("s", "summary", MAX_SERIES, TIERS),
)
BATCH = 4  # the first gauges are set together too
FIRST = {"c": 2, "g": BATCH, "s": 2}  # how many series of each kind there are from the start
WEIGHTS = {
    "inc": 20, "inc_late": 3, "set": 10, "set_late": 3, "batch": 8, "observe": 14, "observe_late": 3, "tick": 1,
    "second": 5, "jump": 0.3, "back": 0.3, "declare": 0.2, "restart": 0.3, "cursor": 0.6,
}  # fmt: skip
REPEATABLE = set(WEIGHTS) - {"inc", "inc_late", "observe", "observe_late"}


class Step(NamedTuple):
    """What to do: `what` is a series (kind, number) or how far the clock moves; `at_ns` the clock, or the late time."""

    verb: str
    what: tuple
    value: float
    clock_ns: int
    at_ns: int


def make_steps(seed, count):
    """Give the first `count` steps of the sequence of that seed."""
    chance, now_ns, known = random.Random(seed), START_NS, dict(FIRST)
    verbs, weights = list(WEIGHTS), list(WEIGHTS.values())
    moves = {"second": [1], "jump": [2, 3, 5, SLOTS, SLOTS + 1, 2 * SLOTS], "back": [-1, -2, -3, -7]}
    moves["restart"] = [0, 0, 1, 5, SLOTS, 2 * SLOTS, 100]
    steps = []
    for verb in chance.choices(verbs, weights, k=count):
        kind = {"i": "c", "s": "g", "o": "s"}.get(verb[0], "g")
        what, value, at_ns = (kind, chance.randrange(known[kind])), float(chance.randint(1, 9)), None
        if verb in moves:
            what = (chance.choice(moves[verb]),)
            now_ns = now_ns // SECOND * SECOND + what[0] * SECOND + chance.randrange(SECOND)
        elif verb == "declare":
            kind = chance.choice("cgs")
            known[kind] = min(known[kind] + 1, MAX_SERIES)
            what = (kind, known[kind] - 1)
        elif verb.endswith("_late"):
            at_ns = now_ns - chance.randint(1, SLOTS + 3) * SECOND
        steps.append(Step(verb, what, value, now_ns, now_ns if at_ns is None else at_ns))
    return steps


class Process:
    """A store opened at one step of the sequence, as a process does that starts, or starts again, there."""

    def __init__(self, path, steps, start):
        self.path, self.steps = path, steps
        self.clock = ManualClock(steps[start].clock_ns)
        declared = [step.what for step in steps[:start] if step.verb == "declare"]
        self.known = [(kind, number) for kind, count in FIRST.items() for number in range(count)]
        self.known += [what for what in dict.fromkeys(declared) if what not in self.known]
        self.too_late = set()  # the increments that were refused
        self.open()

    def open(self):
        self.store = Store(self.path, SCHEMAS, clock=self.clock)
        self.handles = {}
        for what in self.known:
            self.declare(what)
        self.batch = self.store.batch([self.handles["g", number] for number in range(BATCH)])

    def closed(self):
        """Stand between the end of one run and the beginning of the next."""

    def declare(self, what):
        make = {"c": self.store.counter, "g": self.store.gauge, "s": self.store.summary}[what[0]]
        self.handles[what] = make(f"{what[0]}_{what[1]}")

    def perform(self, index, *, resumed=False):
        """Take one step; a process that was killed in a restart has restarted by coming back."""
        step = self.steps[index]
        handle = self.handles.get(step.what)
        match step.verb:
            case "inc" | "inc_late":
                refused = self.store._writers["c"].refused
                late = refused["late"]
                handle.inc(step.value, step.at_ns)
                if refused["late"] > late:
                    self.too_late.add(index)
            case "set" | "set_late":
                handle.set(step.value * 1000 + step.what[1], step.at_ns)
            case "batch":
                self.batch.set([step.value + number for number in range(BATCH)])
            case "observe" | "observe_late":
                handle.observe(step.value, step.at_ns)
            case "declare":
                self.declare(step.what)
                if step.what not in self.known:
                    self.known.append(step.what)
            case "restart" if resumed:
                self.store.tick()
            case "tick" | "second" | "jump" | "back":
                self.clock.now_ns = step.clock_ns
                self.store.tick()
            case "restart":
                self.store.close()
                self.closed()
                self.clock.now_ns = step.clock_ns
                self.open()
                self.store.tick()
            case "cursor":
                self.save_cursor(index)

    def save_cursor(self, index):
        """Acknowledge what the next batch holds; the cursor's count of samples is the step that saved it."""
        lock = CursorLock(self.path, "soak")
        cursor = load_cursor(self.path, "soak")
        drained = Drain(self.store.view).next(cursor.positions, self.clock(), 200)
        positions = drained.positions if drained else {}
        save_cursor(self.path, cursor.moved(positions, {"samples": index - cursor.samples}))
        lock.release()
