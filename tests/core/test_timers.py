"""How long something takes: blocks and functions of every kind, to their end, however they end."""

import asyncio
import functools
import inspect
import threading

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import UsageError
from rondo_core.record import timing

TIERS = (Tier("1s", "1m"),)


@pytest.fixture
def store(tmp_path):
    schemas = [Schema(kind, kind, 8, TIERS) for kind in ("gauge", "summary")]
    with Store(tmp_path / "s", schemas, clock=ManualClock()) as store:
        yield store


@pytest.fixture(params=["time()", "timed", "in progress"])
def decorate(store, request):
    """Give a decorator, and what says how often it was done, and how many are in progress."""
    summary, gauge = store.summary("t"), store.gauge("g")
    if request.param == "in progress":
        return gauge.track_inprogress(), lambda: _value(store, "g")
    decorator = summary.time() if request.param == "time()" else summary.timed
    return decorator, lambda: _value(store, "t", fn="count")


def _value(store, selector, **how):
    found = store.query(selector, open=True, **how)
    return float(found[0].values[-1]) if len(found) and len(found[0]) else 0.0


@pytest.fixture
def counted(store):
    return lambda: _value(store, "t", fn="count")


def plain(a, *, b=2):
    return a + b


async def coroutine(a, *, b=2):
    await asyncio.sleep(0)
    return a + b


def generator(a, *, b=2):
    got = yield a
    yield b if got is None else got
    return a + b


async def async_generator(a, *, b=2):
    got = yield a
    yield b if got is None else got


def of_generator(made):
    """Exhaust a generator; give its items and what it returns."""
    items = []
    while True:
        try:
            items.append(next(made))
        except StopIteration as end:
            return items, end.value


async def of_async_generator(made):
    return [item async for item in made]


RUN = {
    plain: lambda made: made,
    coroutine: asyncio.run,
    generator: of_generator,
    async_generator: lambda made: asyncio.run(of_async_generator(made)),
}


@pytest.mark.parametrize("function", RUN)
def test_a_function_stays_what_it_is(decorate, function):
    """Of its kind, with its name and signature, whatever decorates it; and gives what it gave."""
    decorated = decorate[0](function)
    for asks in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert asks(decorated) == asks(function)
    assert inspect.signature(decorated) == inspect.signature(function)
    assert (decorated.__name__, decorated.__wrapped__) == (function.__name__, function)
    assert RUN[function](decorated(1, b=5)) == RUN[function](function(1, b=5))


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
def test_what_is_only_made_is_not_timed(store, counted, function):
    """Its time is from its first step to its end."""
    made = store.summary("t").timed(function)(1)
    if hasattr(made, "close"):
        made.close()
    assert counted() == 0


def test_a_generator_is_timed_to_its_end(store, counted):
    """Where it is exhausted, closed, and where something is thrown into it, which it may answer."""
    timed = store.summary("t").timed(generator)
    made = timed(1)
    assert (next(made), made.send(7), counted()) == (1, 7, 0)
    made.close()
    assert counted() == 1
    made = timed(1)
    next(made)
    with pytest.raises(KeyError):
        made.throw(KeyError("in"))
    assert counted() == 2


def test_an_asynchronous_generator_is_timed_to_its_end(store, counted):
    """What is sent and thrown goes into it, and it is closed with its wrapper."""
    events = []

    @store.summary("t").timed
    async def made():
        try:
            while True:
                try:
                    events.append((yield len(events)))
                except KeyError:
                    events.append("caught")
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    async def use():
        each = made()
        assert await each.asend(None) == 0
        assert await each.asend("sent") == 1
        assert await each.athrow(KeyError("in")) == 2
        assert counted() == 0
        await each.aclose()
        assert counted() == 1
        each = made()
        await each.asend(None)
        with pytest.raises(ZeroDivisionError):
            await each.athrow(ZeroDivisionError("in"))
        assert counted() == 2

    asyncio.run(use())
    assert events == ["sent", "caught", "closed", "closed"]


def test_what_raises_or_is_cancelled_is_timed(store, counted):
    """And its exception is the caller's."""
    summary = store.summary("t")

    @summary.timed
    def fails():
        raise KeyError("out")

    @summary.time()
    async def waits():
        await asyncio.Event().wait()

    async def cancel():
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pytest.raises(KeyError):
        fails()
    asyncio.run(cancel())
    with pytest.raises(ZeroDivisionError), summary.time():
        raise ZeroDivisionError
    assert counted() == 3


def test_a_block_may_be_inside_another(store, counted):
    """By one object or by several, in asynchronous code too; what was not begun is counted as no time."""
    summary = store.summary("t")
    timer = summary.time()
    with timer, timer, summary.time() as given:
        assert isinstance(given, timing.Timer)

    async def block():
        async with timer, summary.time():
            await asyncio.sleep(0)

    asyncio.run(block())
    assert counted() == 5
    timer.__exit__(None, None, None)
    store.tick()
    assert counted() == 5
    assert _value(store, "rondo_samples_invalid_total{cause=nan}") == 1


def test_times_are_those_of_the_block(store, monkeypatch):
    """In seconds."""
    if not timing.__file__.endswith(".py"):
        pytest.skip("compiled, it reads the clock by itself")
    turns = iter([10.0, 20.0, 20.5, 30.0])
    monkeypatch.setattr(timing, "perf_counter", lambda: next(turns))
    summary = store.summary("t")
    with summary.time(), summary.time():
        pass
    assert (_value(store, "t", fn="min"), _value(store, "t", fn="max")) == (0.5, 20.0)


def test_a_gauge_counts_what_is_in_progress(store):
    """Blocks, calls from threads, coroutines and generators while they run; also where they raise."""
    gauge = store.gauge("g")
    inside = threading.Barrier(4)
    seen = []

    @gauge.track_inprogress()
    def work():
        inside.wait()
        seen.append(_value(store, "g"))
        inside.wait()
        raise KeyError

    def quietly():
        with pytest.raises(KeyError):
            work()

    threads = [threading.Thread(target=quietly) for _ in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert (seen, _value(store, "g")) == ([4.0] * 4, 0.0)

    @gauge.track_inprogress()
    async def waits():
        await asyncio.sleep(0)
        seen.append(_value(store, "g"))

    async def several():
        await asyncio.gather(*(waits() for _ in range(3)))
        async with gauge.track_inprogress():
            seen.append(_value(store, "g"))

    seen.clear()
    asyncio.run(several())
    assert (max(seen[:3]), seen[3], _value(store, "g")) == (3.0, 1.0, 0.0)


class Service:
    def method(self, a):
        return self, a

    async def later(self, a):
        return self, a


def test_methods_partials_and_callables_are_functions(store, counted):
    """Of the class, of an object; what is none is refused where it is decorated."""
    timed = store.summary("t").timed

    class Timed(Service):
        method, later = timed(Service.method), timed(Service.later)

    class Calls:
        async def __call__(self, a):
            return a

    one = Timed()
    assert (one.method(1), asyncio.run(one.later(2))) == ((one, 1), (one, 2))
    assert timed(functools.partial(plain, 1))() == 3
    assert asyncio.run(timed(functools.partial(coroutine, 1))()) == 3
    assert asyncio.run(timed(Calls())(4)) == 4
    assert counted() == 5
    for wrong in (classmethod(plain), None, 5):
        with pytest.raises(UsageError, match="no function"):
            timed(wrong)
