"""Uses and misuses of handles, made at random: `native_uses.py SEED FIRST COUNT` prints the examples that ended a process.

A process of its own is forked for each few examples, so that one which ends by a signal is seen and named.
"""

import contextlib
import copy
import ctypes
import gc
import math
import os
import pickle
import random
import shutil
import sys
import tempfile
import threading
from array import array
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.record import batches, gauges, handles
from rondo_vmm.observe.exit_totals import ExitTotals

TOGETHER = 20  # examples to a process
TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
SCHEMAS = [Schema(kind, kind, 16, TIERS) for kind in ("counter", "gauge", "summary")]
SCHEMAS.append(Schema("peaked", "gauge", 8, TIERS, peaks=True))
SCHEMAS.append(Schema("sketched", "summary", 4, TIERS, match="{__name__=~'z.*'}", sketch=True))
SCHEMAS[2:] = [SCHEMAS[3], SCHEMAS[4], SCHEMAS[2]]
WILD = (0, 1, -1, 7, 15, 16, 63, 64, 4096, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), 1 << 64, 10**400)


class Example:
    """One store, its handles, and what may be done to them."""

    def __init__(self, chance, path):
        self.chance, self.clock = chance, ManualClock()
        self.store = Store(path, SCHEMAS, clock=self.clock if chance.random() < 0.8 else self.odd_clock())
        gauges = [self.store.gauge("g", n=n) for n in range(4)]
        made = [self.store.counter("c_total"), *gauges, self.store.summary("m"), self.store.summary("z")]
        peaked = [self.store.gauge("p", n=n, peaks=True) for n in range(4)]
        counters = [self.store.counter("d_total", n=n) for n in range(4)]
        batches = self.store.batch(gauges), self.store.batch(gauges[:1]), self.store.batch(peaked)
        self.handles = [*made, *peaked, *batches, self.store.counter_batch(counters)]
        self.families = [
            self.store.counter("f_total", labels=["a"]),
            self.store.gauge("h", labels=["a", "b"], peaks=True),
        ]
        self.timers = [made[-1].time(), gauges[0].track_inprogress()]
        self.lists = [[1.0] * 4]
        self.totals = ExitTotals([0] * 4, [lambda *_: None] if chance.random() < 0.5 else ())

    def odd_clock(self):
        turns = iter(range(10**9))
        return lambda: self.clock() + (self.anything() if next(turns) > 40 and self.chance.random() < 0.05 else 0)

    # -- what calls are given

    def anything(self):
        return self.chance.choice(
            (self.number, self.number, self.many, self.many, self.odd_object, self.instant, self.handle)
        )()

    def handle(self):
        return self.chance.choice(self.handles)

    def number(self):
        chance = self.chance
        plain = (1.5, -1.0, 0.0, math.nan, math.inf, -math.inf, 1.7e308, 5e-324, True, None, "1.5", b"1", [], {}, 1j)
        made = (Decimal("1.5"), Decimal("sNaN"), Fraction(3, 7), np.float32(0.1), np.float16(6e4), np.int8(-3), np.nan)
        more = (
            np.longdouble(2),
            np.datetime64(5, "ns"),
            np.array(1.5),
            np.array([1.5]),
            np.array([1.5, 2.5]),
            object(),
        )
        return chance.choice((*plain, *made, *more, chance.choice(WILD), self))

    def instant(self):
        chance = self.chance
        near = self.clock() + chance.choice((0, 1, 10**9, -(10**9), 25 * 10**9, -25 * 10**9))
        return chance.choice((None, None, near, near, float(near), np.int64(near), chance.choice(WILD), self.number()))

    def many(self):
        chance, size = self.chance, self.chance.choice((0, 1, 3, 4, 4, 4, 5))
        data = array("d", range(size))
        read_only = np.arange(float(size))
        read_only.flags.writeable = False
        released = memoryview(array("d", range(size)))
        released.release()
        taken = list(data)
        self.lists.append(taken)
        choices = (
            *(data, taken, taken, tuple(taken), read_only, read_only[::-1], np.arange(size * 2.0)[::2], released),
            *(
                np.arange(size),
                np.arange(size, dtype=">f8"),
                np.zeros((size, size)),
                np.zeros((size, 0)),
                bytes(8 * size),
            ),
            *(memoryview(bytes(8 * size)).cast("d"), (ctypes.c_double * size)(), array("f", range(size)), iter(taken)),
            *([self.odd_object() for _ in range(size)], [Fraction(n, 7) for n in range(size)], [10**400] * size),
            *(np.zeros(size, "f8,f8"), np.zeros(size, object), np.float64(1), "x" * size, range(size), set(taken)),
        )
        return chance.choice(choices)

    def odd_object(self):
        """Make an object that does something whenever it is asked for a number, an item, a length."""
        example = self

        def act(*_):
            with contextlib.suppress(Exception):
                example.act(depth=1)
            return example.chance.choice((1.0, 1, math.nan, None, "x", 10**400, -1))

        def fail(*_):
            raise example.chance.choice((ValueError, RuntimeError, OverflowError, MemoryError))("odd")

        names = ["float", "int", "index", "len", "iter", "getitem", "sub", "lt", "ge", "le", "gt", "radd", "bool"]
        body = {f"__{name}__": self.chance.choice((act, fail)) for name in names if self.chance.random() < 0.5}
        base = self.chance.choice((object, object, float, int, list, tuple))
        with contextlib.suppress(TypeError):
            return type("Odd", (base,), body)()
        return object()

    # -- what is done

    def act(self, depth=0):
        acts = (
            *(self.record,) * 8,
            *(self.time_goes_on, self.change_lists, self.half_made, self.bind_anew, self.set_inner, self.copy_it),
            *(self.wrong_self, self.subclass, self.current, self.stand, self.collect, self.exits, self.let_go),
        )
        acts += (self.change, self.change, self.observe_many, self.look_up, self.look_up, self.time_it, self.be_read)
        rare = (self.threads, self.fork, self.close)
        self.chance.choice(rare if not depth and self.chance.random() < 0.02 else acts)()

    def record(self):
        handle = self.handle()
        name = self.chance.choice(
            [each for each in ("inc", "set", "observe", "merge", "value") if hasattr(handle, each)]
        )
        if name == "value":
            assert isinstance(handle.value, float)
        elif name == "merge":
            handle.merge(*(self.number() for _ in range(4)), self.instant())
        else:
            getattr(handle, name)(self.many() if isinstance(handle, batches.Batch) else self.anything(), self.instant())

    def change(self):
        gauges = [each for each in self.handles if hasattr(each, "dec")]
        gauge = self.chance.choice(gauges)
        self.chance.choice((gauge.inc, gauge.dec))(*(self.chance.choice(((), (self.anything(),), (1.5,)))))

    def observe_many(self):
        self.chance.choice([each for each in self.handles if hasattr(each, "observe_many")]).observe_many(
            self.chance.choice((self.many, self.number))(), self.instant()
        )

    def look_up(self):
        chance, family = self.chance, self.chance.choice(self.families)
        values = [
            chance.choice(("x", "y", 1, True, 1.0, self.anything())) for _ in range(chance.choice((1, 1, 2, 2, 3)))
        ]
        if chance.random() < 0.1:
            self.families.append(type(family).__new__(type(family)))
            family.__init__(*(self.anything() for _ in range(3)))
        found = (
            family.labels(**dict(zip("ab", values, strict=False))) if chance.random() < 0.3 else family.labels(*values)
        )
        getattr(found, "set", getattr(found, "inc", None))(self.number())

    def time_it(self):
        chance, timer = self.chance, self.chance.choice(self.timers)
        made = type(timer)
        more = (lambda: made.__new__(made), lambda: made(self.handle()), lambda: made(self.anything()), lambda: timer)
        self.timers.append(chance.choice(more)())
        if chance.random() < 0.5:
            with timer, chance.choice(self.timers):
                self.act(depth=1)
        chance.choice((timer.__enter__, lambda: timer.__exit__(None, None, None), timer(self.record)))()

    def be_read(self):
        gauge = self.chance.choice([each for each in self.handles if hasattr(each, "set_function")])
        gauge.set_function(self.chance.choice((None, self.anything, self.record, self.anything())))

    def time_goes_on(self):
        self.clock.advance(self.chance.choice((0, 0.5, 1, 1, 3, 30, -2, -30)))
        self.store.tick()

    def change_lists(self):
        for each in self.lists[-5:]:
            self.chance.choice((each.clear, lambda each=each: each.extend([2.0] * 40), each.copy))()

    def half_made(self):
        kind = type(self.handle())
        made = kind.__new__(kind, *(self.anything() for _ in range(self.chance.randrange(3))))
        self.handles.append(made)

    def bind_anew(self):
        class Series:
            name, labels, kind, schema, column = "s", (), "gauge", "gauge", self.chance.choice(WILD)

        handle = self.handle()
        currents = [each.current for each in self.handles if hasattr(each, "current")]
        given = (
            self.chance.choice((*currents, None, self)),
            self.chance.choice((Series, handle)),
            self.chance.choice(WILD),
        )
        handle.__init__(*given[: self.chance.randrange(1, 4)])

    def set_inner(self):
        target = self.handle()
        target = getattr(target, "current", target) if self.chance.random() < 0.5 else target
        names = [*dir(target), "_current", "_column", "_cells", "row", "header", "row_counts", "_base", "_scratch"]
        name = self.chance.choice([each for each in names if not each.startswith("__")])
        if self.chance.random() < 0.3:
            delattr(target, name)
        else:
            setattr(target, name, self.chance.choice((self.anything(), self.chance.choice(WILD), None)))

    def copy_it(self):
        handle = self.handle()
        for use in (
            copy.copy,
            copy.deepcopy,
            pickle.dumps,
            lambda each: each.__reduce__(),
            lambda each: each.__reduce_ex__(4),
        ):
            with contextlib.suppress(TypeError, pickle.PicklingError, AttributeError, RecursionError):
                use(handle)
        for name in ("__setstate__", "__setstate_cython__", "__reduce_cython__"):
            with contextlib.suppress(Exception):
                getattr(handle, name)(tuple(self.chance.choice(WILD) for _ in range(8)))

    def wrong_self(self):
        one, other = type(self.handle()), self.chance.choice((self.handle(), self.anything(), self.store))
        name = self.chance.choice([each for each in vars(one) if callable(getattr(one, each, None))])
        getattr(one, name)(other, self.anything())

    def subclass(self):
        base = type(self.handle())
        body = {"__init__": lambda *_: None} if self.chance.random() < 0.5 else {}
        if self.chance.random() < 0.5:
            body |= {name: lambda *_: self.anything() for name in ("observe", "set", "inc", "merge", "current")}
        self.handles.append(type("Sub", (base,), body)())

    def current(self):
        kind, chance = handles.Current, self.chance
        size = chance.choice((0, 1, 2, 16, 200, 4096))
        made = chance.choice((lambda: kind.__new__(kind), lambda: kind(self.handle(), self.clock, True, size)))()
        currents = [made, *(each.current for each in self.handles if hasattr(each, "current"))]
        target = chance.choice(currents)
        rows = (memoryview(bytearray(8 * chance.choice((0, 8, size, 40)))).cast("d"), self.many(), None)
        words = (memoryview(bytearray(16)).cast("q"), memoryview(bytearray(8)).cast("q"), np.zeros(2, np.int64), None)
        now = self.clock()
        call = chance.choice(("point_at", "point_at", "point_nowhere", "read", "__init__"))
        if call == "point_at":
            target.point_at(
                chance.choice(rows),
                chance.choice(words),
                chance.choice((0, now - 1)),
                chance.choice((now + 1, 1 << 62)),
            )
        elif call == "__init__":
            target.__init__(None, self.clock, False, chance.choice(WILD))
        else:
            getattr(target, call)()
        handle = gauges.Gauge(made, type("S", (), {"column": chance.choice((0, 1, size - 1, size))}))
        self.handles.append(handle)

    def stand(self):
        sketched = [each for each in self.handles if hasattr(each, "stand")]
        self.chance.choice(sketched).stand(*(self.chance.choice((*WILD, 1.0, self.clock())) for _ in range(4)))

    def collect(self):
        gc.collect()

    def let_go(self):
        self.handles.pop(self.chance.randrange(len(self.handles)))
        self.handles.append(self.store.gauge("g", n=self.chance.randrange(4)))

    def exits(self):
        chance = self.chance
        totals = chance.choice((self.totals, ExitTotals.__new__(ExitTotals)))
        shared = [0] * 4
        if chance.random() < 0.3:
            totals = ExitTotals(
                chance.choice((shared, (), None, [])), [lambda *_: shared.clear()], clock=lambda: shared.clear() or 5
            )
        totals.add(chance.choice(WILD), chance.choice(WILD), self.anything() if chance.random() < 0.3 else 3)
        totals.flush()

    def threads(self):
        def work(seed):
            chance = random.Random(seed)
            for _ in range(12):
                with contextlib.suppress(Exception):
                    chance.choice((self.record, self.record, self.change_lists, self.time_goes_on))()

        sys.setswitchinterval(1e-4)
        workers = [threading.Thread(target=work, args=(self.chance.random(),)) for _ in range(3)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        sys.setswitchinterval(5e-3)

    def fork(self):
        child = os.fork()
        if not child:
            with contextlib.suppress(Exception):
                self.record()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))

    def close(self):
        self.store.close()


def run(seed, number, directory):
    """Run one example to its end; whatever raises is how it was to end."""
    path = f"{directory}/{number}"
    example = Example(random.Random(f"{seed}/{number}"), path)
    for _ in range(40):
        with contextlib.suppress(Exception):
            example.act()
    with contextlib.suppress(Exception):
        example.store.close()
    del example
    gc.collect()


def group(seed, first, count):
    """Run some examples in a process of their own; give the signal that ended it, or 0."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        child = os.fork()
        if not child:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            for number in range(first, first + count):
                run(seed, number, directory)
                shutil.rmtree(f"{directory}/{number}", ignore_errors=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main(seed, first, count):
    """Print each example that ended its process, and by which signal or status."""
    for begin in range(first, first + count, TOGETHER):
        if group(seed, begin, min(TOGETHER, first + count - begin)):
            for number in range(begin, min(begin + TOGETHER, first + count)):
                if status := group(seed, number, 1):
                    print(f"example {seed}/{number}: {status}", flush=True)
    print(f"compiled: {not handles.__file__.endswith('.py')}")


if __name__ == "__main__":
    import logging
    import warnings

    logging.disable()
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
