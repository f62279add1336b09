"""Whatever a record call is given is taken or counted, by handles that are compiled and by those that are not."""

import copy
import itertools
import math
import pickle
import threading
import warnings
from array import array
from decimal import Decimal
from fractions import Fraction
from unittest import mock

import freezegun
import numpy as np
import pytest
import time_machine

from rondo_core import Counter, Gauge, GaugeBatch, ManualClock, Schema, Store, Summary, Tier
from rondo_core.errors import UsageError
from rondo_core.maintain.check import check_store
from rondo_core.record import handles

SECOND = 10**9
REFUSED = "rondo_samples_refused_total{reason=invalid}"
INVALID = "rondo_samples_invalid_total"


class Raises:
    def __float__(self):
        raise RuntimeError("no number today")


class NoFloat:
    def __float__(self):
        return "1.5"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(tmp_path / "s", clock=clock) as store:
        yield store
    assert [each for each in check_store(tmp_path / "s", clock()) if each.severity == "damage"] == []


def newest(store, selector, **how):
    found = store.query(selector, open=True, **how)
    return float(found[0].values[-1]) if len(found) and len(found[0]) else None


def causes(store):
    store.tick()
    found = store.query(INVALID) if store.view.series(INVALID) else ()
    return {dict(each.series.labels)["cause"]: each.values[-1] for each in found}


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize(
    "given", [Decimal("1.5"), Fraction(3, 2), np.float32(1.5), np.float16(1.5), np.float64(1.5), np.longdouble(1.5)]
)
def test_a_number_of_any_kind_is_taken_as_the_float_it_is(store, given, entered):
    """In a bucket that is entered by it, and in one that is already; of numpy's, no digit of the total is lost."""
    gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("m")
    if entered:
        gauge.set(0.0), summary.observe(1e9)
    counter.inc(2**30 + 1)
    gauge.set(given), counter.inc(given), summary.observe(given)
    assert newest(store, "g") == 1.5
    assert counter.value == 2**30 + 2.5
    assert newest(store, "m", fn="sum") == 1.5 + (1e9 if entered else 0)


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize(
    ("given", "cause"),
    [
        *[(each, "not_a_number") for each in (None, "1.5", b"1", 1j, [], Raises(), NoFloat(), np.array([1.0, 2.0]))],
        *[(10**400, "overflow"), (-(10**400), "overflow")],
    ],
)
def test_what_is_no_number_is_counted_and_raises_nothing(store, given, cause, entered):
    """Under the reason invalid, and by its cause."""
    gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("m")
    if entered:
        gauge.set(1.0), counter.inc(), summary.observe(1.0)
    gauge.set(given), counter.inc(given), summary.observe(given), summary.merge(1, given, 1.0, 1.0)
    assert causes(store) == {cause: 4.0}
    assert newest(store, REFUSED) == 4.0
    assert newest(store, "m", fn="count") == (1.0 if entered else None)
    assert counter.value == entered


def test_reasons_are_told_apart(store):
    """A negative amount, NaN, infinities, a total that no float holds: each has a count of its own."""
    counter, summary = store.counter("c_total"), store.summary("m")
    counter.inc(-1), counter.inc(math.nan), counter.inc(math.inf), counter.inc(1.7e308), counter.inc(1.7e308)
    summary.observe(math.nan), summary.observe(-math.inf), summary.observe(1.7e308), summary.observe(1.7e308)
    summary.merge(2, 10.0, 1.0, 2.0), summary.merge(2.5, 1.0, 1.0, 1.0), summary.merge(1 << 60, 1.0, 0.0, 1.0)
    wanted = {"negative": 1, "nan": 2, "infinite": 2, "overflow": 3, "contradictory": 1, "not_a_number": 1}
    assert causes(store) == wanted
    assert newest(store, REFUSED) == sum(wanted.values())
    assert counter.value == 1.7e308


def test_a_number_of_numpys_that_is_recorded_warns_of_nothing(store):
    """Of single precision too, which is less than what a float holds, in a bucket that is entered already."""
    gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("m")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for given in (np.float32(1.5), np.float64(1.5), np.int8(1)):
            for _ in range(2):
                gauge.set(given), counter.inc(given), summary.observe(given), summary.merge(1, given, given, given)
                store.batch([gauge]).set([given])
    assert warned == []
    assert counter.value == 8.0


@pytest.mark.parametrize("large", [9e37, 1e38, 1e39, 1e269, 9e307])
def test_large_numbers_are_taken_up_to_what_a_float_holds(store, large):
    """Each as it is, into a total that never becomes infinite; what does not fit is counted."""
    counter, summary = store.counter("c_total"), store.summary("m")
    fit = 0
    for _ in range(3):
        counter.inc(large), summary.observe(-large), summary.merge(2, 2 * large, large, large)
        fit += math.isfinite((fit + 1) * large)
    assert counter.value == pytest.approx(fit * large)
    counter.inc(1.7e308), counter.inc(large), counter.inc(1.7e308)
    assert math.isfinite(counter.value)
    assert math.isfinite(newest(store, "m", fn="sum"))
    assert all(math.isfinite(newest(store, "m", fn=fn)) for fn in ("avg", "min", "max"))
    assert causes(store)["overflow"] >= 1


class Unequal(float):
    def _fail(self, _):
        raise RuntimeError("not comparable today")

    __lt__ = __gt__ = __le__ = __ge__ = lambda *_: False
    __eq__ = __ne__ = _fail
    __hash__ = float.__hash__


@pytest.mark.parametrize(
    "given", [Unequal(2.0), Decimal(2), Fraction(2), np.float32(0.0), np.float16(0.0), np.float64(2.0), 0, True]
)
def test_a_sketch_takes_numbers_of_any_kind_exactly(tmp_path, clock, given):
    """Also those that are compared in a way of their own, and nothing is lost of what was added before."""
    with Store(tmp_path / "z", [Schema("m", "summary", 4, (Tier("1s", "1h"),), sketch=True)], clock=clock) as store:
        summary = store.summary("m")
        summary.observe(1e9 + 1), summary.observe(0.125), summary.observe(given), summary.observe(1.0)
        assert newest(store, "m", fn="sum") == 1e9 + 2.125 + float(given)
        assert newest(store, "m", fn="count") == 4
        place = sorted((1e9 + 1, 0.125, float(given), 1.0))[1]  # none of them counts twice
        assert newest(store, "m", fn="p50") == pytest.approx(place, rel=0.5)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint64, np.bool_])
def test_no_number_of_numpys_makes_it_warn(store, kind):
    """A warning would be on the program's stderr, for a value that is taken as it is."""
    given = [kind(each) for each in (0, 1, 100)] + ([kind(-100)] if kind(0.5) else [])
    summary, sketched = store.summary("m"), store.summary("z", quantiles=True)
    takes = [store.counter("c_total").inc, summary.observe, sketched.observe]
    takes += [lambda value: summary.merge(2, value, value, value)]
    for gauge in (store.gauge("g"), store.gauge("p", peaks=True)):
        gauge.inc()
        takes += [gauge.set, gauge.inc, gauge.dec]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for take, number in itertools.product(takes, given):
            take(number), take(number)
    assert [str(each.message) for each in warned] == []
    assert newest(store, "m", fn="count") >= len(given)


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize("given", [1 + 2j])
def test_no_complex_number_is_recorded_without_its_other_half(store, given, entered):
    """Each call's is counted as no number, and warns of nothing: one by one, many at once, of a batch, as an instant."""
    counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("m")
    sketched, batch, peaks = store.summary("z", quantiles=True), store.batch([gauge]), store.gauge("p", peaks=True)
    if entered:
        gauge.set(0.0), gauge.inc(), peaks.set(0.0), summary.observe(0.0), sketched.observe(0.0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        counter.inc(given), gauge.set(given), summary.observe(given), sketched.observe(given)
        gauge.inc(given), gauge.dec(given), peaks.set(given)
        summary.observe_many([given, 1.0]), summary.observe_many(np.array([given])), batch.set(np.array([given]))
        store.counter_batch([counter]).inc(np.array([given]))
        gauge.set(1.0, given), counter.inc(1.0, given), summary.observe(1.0, given), batch.set([1.0], given)
    assert [str(each.message) for each in warned] == []
    assert causes(store) == {"not_a_number": 11.0, "not_a_time": 4.0}
    assert counter.value == 0
    assert newest(store, "m", fn="sum") == 1.0


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize("kind", [np.complex64, np.complex128, np.clongdouble])
def test_no_list_of_numpys_complex_numbers_is_taken_by_half(store, kind, entered):
    """As the array that the list was made of: no gauge of the batch is set, and numpy has nothing to warn of."""
    gauges = [store.gauge("g", n=n) for n in range(2)]
    batch, given = store.batch(gauges), np.array([1 + 2j, 3 + 4j], dtype=kind)
    if entered:
        batch.set([0.0, 0.0])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        batch.set(given), batch.set(list(given)), batch.set(tuple(given))
    assert [str(each.message) for each in warned] == []
    assert causes(store) == {"not_a_number": 6.0}
    assert [len(each) and each.values[-1] for each in store.query("g")] == [0.0] * 2


@pytest.mark.parametrize("kind", [np.float32, np.longdouble, np.int8])
def test_no_instant_of_numpys_makes_it_warn(store, kind):
    """One of so few digits lies in 1970, and is late: it is counted, in a bucket that is entered already too."""
    gauge, summary, sketched = store.gauge("g"), store.summary("m"), store.summary("z", quantiles=True)
    counter, peaks, batch = store.counter("c_total"), store.gauge("p", peaks=True), store.batch([gauge])
    takes = [gauge.set, summary.observe, sketched.observe, counter.inc, peaks.set]
    takes += [lambda value, now_ns: summary.merge(1, value, value, value, now_ns)]
    takes += [lambda value, now_ns: batch.set([value], now_ns)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for take in takes:
            take(1.0, None), take(2.0, kind(100))
    store.tick()
    assert [str(each.message) for each in warned] == []
    assert newest(store, "rondo_samples_refused_total{reason=late}") == len(takes)


@pytest.mark.parametrize(("now_ns", "reason"), [(10**30, "future"), (-(10**30), "late"), (1 << 63, "future")])
def test_an_instant_out_of_all_bounds_is_late_or_of_the_future(store, now_ns, reason):
    """It is counted as any other is that is too far off."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    gauge.set(2.0, now_ns)
    store.batch([gauge]).set([3.0], now_ns)
    store.tick()
    assert newest(store, f"rondo_samples_refused_total{{reason={reason}}}") == 2.0
    assert newest(store, "g") == 1.0


@pytest.mark.parametrize("now_ns", ["now", b"5", math.nan, math.inf, 1j, [], object()])
def test_what_is_no_instant_is_counted(store, now_ns):
    """A record at no time changes nothing."""
    gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("m")
    gauge.set(1.0), counter.inc(), summary.observe(1.0)
    gauge.set(2.0, now_ns), counter.inc(1.0, now_ns), summary.observe(1.0, now_ns)
    summary.merge(1, 1.0, 1.0, 1.0, now_ns), store.batch([gauge]).set([5.0], now_ns)
    assert causes(store) == {"not_a_time": 5.0}
    assert (newest(store, "g"), counter.value, newest(store, "m", fn="count")) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("make", [int, float, np.int64, np.float64, Decimal, Fraction])
def test_an_instant_may_be_a_number_of_any_kind(store, clock, make):
    """Now, and a while ago."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    gauge.set(2.0, make(clock())), gauge.set(3.0, make(clock() - 2 * SECOND))
    assert store.query("g")[0].values.tolist() == [3.0, 2.0]


def test_an_instant_may_be_what_python_takes_as_an_index(store, clock):
    """It has no order of its own: nothing is raised, by a batch neither."""

    class Index:
        def __index__(self):
            return clock()

    gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("m")
    gauge.set(1.0), counter.inc(), summary.observe(1.0)
    store.batch([gauge]).set([3.0], Index()), store.batch([gauge]).set((4.0,), Index())
    assert newest(store, "g") == 4.0
    gauge.set(2.0, Index()), counter.inc(1.0, Index()), summary.observe(1.0, Index())
    summary.merge(1, 1.0, 1.0, 1.0, Index())
    assert (newest(store, "g"), counter.value, newest(store, "m", fn="count")) == (2.0, 2.0, 3.0)


def test_a_value_that_moves_the_clock_is_recorded_once_and_no_row_is_torn(store, clock):
    """Its `__float__` may tick, and record too: what it records, and it, are where the clock is afterwards."""

    class Ticks:
        def __float__(self):
            clock.advance(1)
            store.tick()
            other.set(7.0)
            return 5.0

    gauge, other = store.gauge("g"), store.gauge("other")
    gauge.set(1.0)
    gauge.set(Ticks())
    store.batch([gauge, other]).set([Ticks(), 8.0])
    assert store.query("g")[0].values.tolist()[-1] == 5.0
    clock.advance(30)
    store.tick()


ARRAYS = {
    "read-only": lambda: np.frombuffer(np.arange(4.0).tobytes()),
    "strided": lambda: np.arange(8.0)[::2] / 2,
    "backwards": lambda: np.arange(4.0)[::-1][::-1],
    "integers": lambda: np.arange(4),
    "small floats": lambda: np.arange(4, dtype="f4"),
    "foreign byte order": lambda: np.arange(4, dtype=">f8"),
    "objects": lambda: np.array([0, 1.0, Fraction(2), Decimal(3)], dtype=object),
    "array": lambda: array("d", range(4)),
    "array of floats": lambda: array("f", range(4)),
    "tuple": lambda: (0, 1.0, Fraction(2), np.int8(3)),
    "range": lambda: range(4),
    "memoryview": lambda: memoryview(np.arange(4.0).tobytes()).cast("d"),
}


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_batch_takes_numbers_however_they_lie(store, name, entered):
    """In a bucket that is entered by it, and in one that is already."""
    gauges = [store.gauge("g", n=n) for n in range(4)]
    batch = store.batch(gauges)
    if entered:
        batch.set([9.0] * 4)
    batch.set(ARRAYS[name]())
    assert [newest(store, f"g{{n={n}}}") for n in range(4)] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("given", [None, 5.0, [1.0, None], np.zeros((2, 2)), [1.0, 10**400], "xy"])
def test_a_batch_with_a_value_that_is_no_number_is_refused_whole(store, given):
    """Each of its gauges is counted, none is set."""
    batch = store.batch([store.gauge("g", n=n) for n in range(2)])
    batch.set([1.0, 2.0])
    batch.set(given)
    store.tick()
    assert newest(store, REFUSED) == 2.0
    assert [newest(store, f"g{{n={n}}}") for n in range(2)] == [1.0, 2.0]


@pytest.mark.parametrize("given", [[], [1.0] * 3, np.zeros(3), range(5), np.zeros((3, 2))])
def test_a_batch_says_how_many_values_it_wants(store, given):
    """More or fewer are a mistake of the program: an error names both numbers."""
    batch = store.batch([store.gauge("g", n=n) for n in range(2)])
    for _ in range(2):
        with pytest.raises(ValueError, match=f"batch of 2 gauges: {len(given)} values"):
            batch.set(given)


def test_a_batch_of_gauges_or_values_without_end_is_refused_at_once(store):
    """No more of them is asked for than tells that they are too many."""
    gauges = [store.gauge("g", n=n) for n in range(2)]
    with pytest.raises(UsageError, match="none left out"):
        store.batch(itertools.cycle(gauges))
    batch = store.batch(gauges)
    asked = itertools.count()
    with pytest.raises(ValueError, match="batch of 2 gauges: 3 or more values"):
        batch.set(asked)
    assert next(asked) == 3


def test_a_batch_takes_a_list_that_another_thread_refills(store):
    """What is recorded is what the list held at one moment."""
    batch = store.batch([store.gauge("g", n=n) for n in range(8)])
    values = [Fraction(0)] * 8
    done = threading.Event()

    def refill():
        for turn in range(3000):
            values[:] = [Fraction(turn)] * 8
        done.set()

    thread = threading.Thread(target=refill)
    thread.start()
    while not done.is_set():
        batch.set(values)
        assert len({newest(store, f"g{{n={n}}}") for n in range(8)}) == 1
    thread.join()


@pytest.mark.parametrize("kind", [Counter, Gauge, Summary, GaugeBatch])
def test_a_handle_that_its_constructor_has_not_made_raises(kind):
    """So does one of a subclass that forgets to call it."""
    records = {Counter: "inc", Gauge: "set", Summary: "observe", GaugeBatch: "set"}
    subclass = type("Forgets", (kind,), {"__init__": lambda _self: None})
    for made in (kind.__new__(kind), subclass()):
        with pytest.raises((UsageError, AttributeError)):
            getattr(made, records[kind])([] if kind is GaugeBatch else 1.0)
    with pytest.raises((UsageError, AttributeError)):
        print(Counter.__new__(Counter).value)


def test_a_handle_is_no_value_to_copy_or_pickle(store):
    """It is a place in the store's own memory; the error says whom to ask for it."""
    for handle in (store.counter("c_total"), store.gauge("g"), store.summary("m"), store.batch([store.gauge("g")])):
        for use in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="copied or pickled"):
                use(handle)


def test_a_handle_is_bound_within_a_row_only(store):
    """Columns beyond it, and what is no current row, are refused."""

    class Beyond:
        column = 1 << 40

    for kind, more in ((Counter, ()), (Gauge, ()), (Summary, (1,))):
        for current, series in ((store.gauge("g").current, Beyond), (None, store.gauge("g").series)):
            with pytest.raises((UsageError, TypeError)):
                kind(current, series, *more)


@pytest.mark.skipif(handles.__file__.endswith(".py"), reason="as Python, attributes are Python's")
def test_what_compiled_handles_hold_cannot_be_set(store):
    """Neither where a row is nor when it is current."""
    current = store.gauge("g").current
    for name in ("row", "header", "since_ns", "until_ns", "writer", "n_cells"):
        with pytest.raises(AttributeError):
            setattr(current, name, 1 << 62)


def test_records_are_found_at_the_time_travelled_to(tmp_path):
    """A package that puts another function, or another clock, in the place of time.time_ns: before and after opening."""
    with Store(tmp_path / "s", [Schema("g", "gauge", 4, (Tier("1s", "1h"),))]) as store:
        gauge, batch = store.gauge("g"), store.batch([store.gauge("b")])

        def recorded_at():
            gauge.set(1.0)
            batch.set([2.0])
            return [int(store.query(name)[0].timestamps_ns[-1]) for name in ("g", "b")]

        gauge.set(1.0)
        for travel in (time_machine.travel(4_000_000_000, tick=False), freezegun.freeze_time("2096-10-02 07:06:40")):
            with travel:
                assert recorded_at() == [4_000_000_000 * SECOND] * 2
        with mock.patch("time.time_ns", return_value=4_000_000_100 * SECOND):
            assert recorded_at() == [4_000_000_100 * SECOND] * 2
            with mock.patch("time.time_ns", return_value=4_000_000_200 * SECOND) as clock:
                assert recorded_at() == [4_000_000_200 * SECOND] * 2
                clock.return_value += SECOND
                assert recorded_at() == [4_000_000_201 * SECOND] * 2


@pytest.mark.parametrize("interval", [math.nan, math.inf, 0, -1, 1e-10, 10**10, "1 parsec", 1j])
def test_a_tick_interval_that_cannot_be_is_refused_at_once(tmp_path, interval):
    """No store is made."""
    with pytest.raises(UsageError, match=r"tick.interval"):
        Store(tmp_path / "s", tick_interval_s=interval)
    assert not (tmp_path / "s").exists()


def test_no_help_and_no_unit_may_be_said_as_none(store):
    """They are no texts then, and not the text None."""
    series = store.counter("c_total", help=None, unit=None).series
    assert (series.help, series.unit) == ("", "")


@pytest.mark.parametrize("number", [3.0, 0, -1, 1 << 60, np.float32(3), Decimal(3), Fraction(3), None, "3"])
def test_how_many_observations_there_are_is_a_whole_number_above_0(store, clock, number):
    """A sum of observations whose number is none, or not above 0, is refused and counted; the ones before it stand."""
    summary = store.summary("m")
    summary.observe(2.0)
    summary.merge(number, 6.0, -6.0, 6.0)
    clock.advance(1)
    assert sum(causes(store).values()) == 1
    assert [newest(store, "m", fn=each) for each in ("count", "sum", "min", "max")] == [1.0, 2.0, 2.0, 2.0]
