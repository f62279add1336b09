"""Uses and misuses of handles, made at random: `native_uses.py SEED FIRST COUNT` prints the examples that ended a process.

Examples run in a process that is forked for some of them and says which is under way, so that one which ends it by a
signal, or hangs, is seen and named. `--loud` runs COUNT examples in one process, and lets it say where it died.
"""

import contextlib
import copy
import ctypes
import faulthandler
import gc
import logging
import math
import mmap
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from array import array
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.record import batches, gauges, handles
from rondo_core.storage import directory as store_directory
from rondo_vmm.observe.exit_totals import ExitTotals

TOGETHER = 100  # examples to a process
TO_A_STORE = 5
HANGS_S = 60
ITEMS = 50
TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
WILD = (0, 1, -1, 7, 15, 16, 63, 64, 4096, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), 1 << 64, 10**400)

NUMBERS = (
    *(1.5, -1.0, 0.0, math.nan, math.inf, -math.inf, 1.7e308, 5e-324, True, None, "1.5", b"1", 1j),
    *(Decimal("1.5"), Decimal("sNaN"), Fraction(3, 7), np.float32(0.1), np.float16(6e4), np.int8(-3), np.nan),
    *(np.longdouble(2), np.datetime64(5, "ns")),
)
# Each makes its kind of an example, a size, and floats of that size in a list that changes later.
MANY = (
    lambda _example, _size, taken: array("d", taken),
    lambda _example, _size, taken: taken,
    lambda _example, _size, taken: taken,
    lambda _example, _size, taken: tuple(taken),
    lambda _example, size, _taken: read_only(size),
    lambda _example, size, _taken: read_only(size)[::-1],
    lambda _example, size, _taken: np.arange(size * 2.0)[::2],
    lambda _example, size, _taken: released(size),
    lambda _example, size, _taken: np.arange(size),
    lambda _example, size, _taken: np.arange(size, dtype=">f8"),
    lambda _example, size, _taken: np.zeros((size, size)),
    lambda _example, size, _taken: np.zeros((size, 0)),
    lambda _example, size, _taken: bytes(8 * size),
    lambda _example, size, _taken: memoryview(bytes(8 * size)).cast("d"),
    lambda _example, size, _taken: (ctypes.c_double * size)(),
    lambda _example, size, _taken: array("f", range(size)),
    lambda _example, _size, taken: iter(taken),
    lambda example, size, _taken: [example.odd_object() for _ in range(size)],
    lambda _example, size, _taken: [Fraction(n, 7) for n in range(size)],
    lambda _example, size, _taken: [10**400] * size,
    lambda _example, size, _taken: np.zeros(size, "f8,f8"),
    lambda _example, size, _taken: np.zeros(size, object),
    lambda _example, _size, _taken: np.float64(1),
    lambda _example, size, _taken: "x" * size,
    lambda _example, size, _taken: range(size),
    lambda _example, _size, taken: set(taken),
)


class Chance(random.Random):
    """Chance that chooses in a third of the time."""

    def choice(self, options):
        return options[int(self.random() * len(options))]


def schemas_of(tiers):
    """Make a schema of each kind, the summaries with a sketch and without."""
    sketched = Schema("sketched", "summary", 4, tiers, match="{__name__=~'z.*'}", sketch=True)
    return [
        Schema("counter", "counter", 16, tiers),
        Schema("gauge", "gauge", 16, tiers),
        Schema("peaked", "gauge", 8, tiers, peaks=True),
        sketched,
        Schema("summary", "summary", 16, tiers),
    ]


def read_only(size):
    """Make an array that may not be written."""
    made = np.arange(float(size))
    made.flags.writeable = False
    return made


def released(size):
    """Make a view that has nothing to look at any more."""
    made = memoryview(array("d", range(size)))
    made.release()
    return made


class Example:
    """A store, handles of it, and what may be done to them; several examples share the store, one after the other."""

    def __init__(self, chance, path):
        self.chance, self.clock, self.closed = chance, ManualClock(), False
        schemas = schemas_of(TIERS if chance.random() < 0.3 else TIERS[:1])
        self.store = Store(path, schemas, clock=self.clock if chance.random() < 0.8 else self.odd_clock())

    def begin(self, chance):
        """Ask the store for handles, of which some have lived through the examples before."""
        self.chance = chance
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
        arrays = (np.array(1.5), np.array([1.5]), np.array([1.5, 2.5]))  # a row's place may be taken by one
        return self.chance.choice((*NUMBERS, *arrays, [], {}, object(), self.chance.choice(WILD), self))

    def instant(self):
        chance = self.chance
        near = self.clock() + chance.choice((0, 1, 10**9, -(10**9), 25 * 10**9, -25 * 10**9))
        return chance.choice((None, None, near, near, float(near), np.int64(near), chance.choice(WILD), self.number()))

    def many(self):
        size = self.chance.choice((0, 1, 3, 4, 4, 4, 5))
        taken = [float(n) for n in range(size)]
        self.lists.append(taken)
        return self.chance.choice(MANY)(self, size, taken)

    def odd_object(self):
        """Make an object that does something whenever it is asked for a number, an item, a length."""
        example = self

        def act(*_):
            with contextlib.suppress(Exception):
                example.act(depth=1)
            return example.chance.choice((1.0, 1, math.nan, None, "x", 10**400, -1))

        def item(self, place, *more):
            if not isinstance(place, int) or place >= ITEMS:
                raise IndexError(place)  # an endless row of items is a hang of whoever asked for it
            return act(self, place, *more)

        def fail(*_):
            raise example.chance.choice((ValueError, RuntimeError, OverflowError, MemoryError))("odd")

        names = ["float", "int", "index", "len", "iter", "getitem", "sub", "lt", "ge", "le", "gt", "radd", "bool"]
        acts = {"getitem": item}
        body = {
            f"__{name}__": self.chance.choice((acts.get(name, act), fail))
            for name in names
            if self.chance.random() < 0.5
        }
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
            getattr(handle, name)(
                self.many() if isinstance(handle, batches.HandleBatch) else self.anything(), self.instant()
            )

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
        call = chance.choice(("point_at", "point_at", "force_slow_path", "read", "__init__"))
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
        self.chance.choice(sketched).allow_fast_path(
            *(self.chance.choice((*WILD, 1.0, self.clock())) for _ in range(4))
        )

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
            chance = Chance(seed)
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
            signal.alarm(HANGS_S)  # which a child does not inherit
            with contextlib.suppress(Exception):
                self.record()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))

    def close(self):
        self.closed = True
        self.store.close()


def run(seed, number, example):
    """Run one example to its end; whatever raises is how it was to end."""
    with contextlib.suppress(Exception):
        example.begin(Chance(f"{seed}/{number}"))
        for _ in range(40):
            with contextlib.suppress(Exception):
                example.act()
    example.handles = example.lists = None


def run_all(seed, first, count, folder, under_way):
    """Run examples one after the other, and say which is under way and which was the first of its store."""
    example, path = None, f"{folder}/store"
    for number in range(first, first + count):
        if number % TO_A_STORE == 0 or example is None or example.closed:
            under_way[8:] = number.to_bytes(8, "little")
            example = Example(Chance(f"{seed}/{number}"), path)
        under_way[:8] = number.to_bytes(8, "little")
        signal.alarm(HANGS_S)
        run(seed, number, example)
        if (number + 1) % TO_A_STORE == 0 or example.closed:
            with contextlib.suppress(Exception):
                example.store.close()
            example = None
            shutil.rmtree(path, ignore_errors=True)
        gc.collect()


def group(seed, first, count, *, quiet=True):
    """Run examples in a process of their own, until one ends it.

    Returns: the number of that one, the first of its store, and the signal or the status that it ended by; None where
    all came to their end.
    """
    under_way = mmap.mmap(-1, 16)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        child = os.fork()
        if not child:
            try:
                for stream in (1, 2) if quiet else ():
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
                run_all(seed, first, count, folder, under_way)
                os._exit(0)
            except BaseException:  # noqa: BLE001 - what an example let through
                traceback.print_exc()
            finally:
                os._exit(70)
        _, status = os.waitpid(child, 0)
    if not status:
        return None
    number, since = (int.from_bytes(each, "little") for each in (under_way[:8], under_way[8:]))
    return number, since, os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main(seed, first, count):
    """Print each example that ended its process, by which signal or status, and what runs it again."""
    end = first + count
    while first < end:
        together = min(TOGETHER, end - first)
        ended = group(seed, first, together)
        if ended is not None:
            number, since, status = ended
            if group(seed, since, number + 1 - since) is None:
                since = first  # it takes what was before its store, too
            again = f"native_uses.py {seed} {since} {number + 1 - since} --loud"
            print(f"example {seed}/{number}: {status}; {again}", flush=True)
            together = number + 1 - first
        first += together
    print(f"compiled: {not handles.__file__.endswith('.py')}")


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore")
    # What tries no handle takes no time: that the disk has the files, and that what was imported is no garbage.
    store_directory.sync_files = lambda _paths: None
    os.fsync = os.fdatasync = lambda _descriptor: None
    gc.collect()
    gc.freeze()
    arguments = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if "--loud" in sys.argv:
        faulthandler.enable()
        faulthandler.register(signal.SIGALRM, chain=True)
        print(group(*arguments, quiet=False))
    else:
        main(*arguments)
