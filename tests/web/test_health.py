"""Health: told at once, whoever reads what meanwhile."""

import itertools
import threading

from rondo_core import Store


def test_health_of_many_stores_waits_for_none_of_them(tmp_path):
    """What it told last is told again while a look at all of them takes its time, and what is new once it is over."""
    from rondo_web.reading.health import HealthCheck
    from rondo_web.reading.shared_reader import SharedReader

    with Store(tmp_path / "s", ()):
        pass
    shared = SharedReader(tmp_path)
    health = HealthCheck(shared)
    goes_on = threading.Event()
    goes_on.set()
    newest = itertools.count(1)

    def slow():
        assert goes_on.wait(60)
        return next(newest)

    with shared.reader() as reader:
        reader.newest_ns = slow
    while health.look() is None:
        pass
    health._looker.join(60)
    told = health._last.newest_ns
    goes_on.clear()
    assert health.look().newest_ns == told
    goes_on.set()
    health._looker.join(60)
    assert health._last.newest_ns == told + 1
    shared.close()
