"""Through every fault of a script, in one run, what a store holds arrives whole and as it was, in real receivers."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier

FULL = bool(os.environ.get("RONDO_EXPORT_FULL"))
SECONDS, AWAY_S = (600, 60) if FULL else (60, 1.5)
MAX_SAMPLES = 100 if FULL else 30
S = 10**9
SENDER = Path(__file__).with_name("sender_process.py")


@pytest.fixture
def recording(path):
    """A store of every kind, that ended two minutes ago, and what a receiver must hold of it.

    No value has more than 12 significant digits: VictoriaMetrics keeps no more.
    """
    clock = ManualClock((int(time.time()) - 120 - SECONDS) * S)
    tiers = (Tier("1s", "15m"), Tier("10s", "1h"))
    schemas = [Schema(f"{kind}s", kind, 8, tiers, sketch=kind == "summary") for kind in ("counter", "gauge", "summary")]
    expected = {}

    def expect(name, value, **labels):
        key = frozenset({"__name__": name, "instance": "vm1", **labels}.items())
        expected.setdefault(key, {})[clock() // 10**6] = value

    with Store(path, schemas, clock=clock) as store:
        hits = [store.counter("hits_total", code=code) for code in ("200", "500")]
        level, room = store.gauge("level"), store.gauge("heat_celsius", room='a b"c\\d é')
        wait = store.summary("wait_seconds")
        totals, count, total = [0.0, 0.0], 0, 0.0
        for second in range(SECONDS):
            for n, hit in enumerate(hits):
                if second % (7 + n):
                    hit.inc(second + 0.125)
                    totals[n] += second + 0.125
                expect("hits_total", totals[n], code=("200", "500")[n])
            value = round(math.sin(second), 6)
            level.set(value)
            expect("level", value)
            if second % 5:
                room.set(-0.125 * second)
                expect("heat_celsius", -0.125 * second, room='a b"c\\d é')
            seen = [0.125 * (second + 1), 1.5, 3.0 + second % 9] if second % 4 else []
            in_bucket = 0.0
            for each in seen:
                wait.observe(each)
                in_bucket += each
            count, total = count + len(seen), total + in_bucket
            expect("wait_seconds_count", count)
            expect("wait_seconds_sum", total)
            if seen:
                expect("wait_seconds_min", min(seen))
                expect("wait_seconds_max", max(seen))
                for share in ("0.5", "0.9", "0.99", "0.999"):
                    exact = sorted(seen)[math.ceil(len(seen) * float(share)) - 1]
                    expect("wait_seconds", ("about", exact), quantile=share)
            store.tick()
            clock.advance(1)
    return expected


def script(server, kill_sender):
    """Every fault, each with requests that pass before and after it."""

    def away():
        server.stop()
        timer = threading.Timer(AWAY_S, server.start)
        timer.start()

    def restart():
        server.stop()
        server.start()

    faults = [("500", None), ("429", None), ("hang", None), ("half", None), ("refuse", None), ("unanswered", None)]
    faults += [("unanswered", kill_sender), ("pass", restart), ("refuse", away)]
    return [step for fault in faults for step in (("pass", None), fault)]


def deliver(path, server, proxy_for):
    """Run senders, each after the other was killed, until all is sent; give the requests' faults and the outcomes."""
    senders, outcomes = [], []
    proxy = proxy_for(server.port, script(server, lambda: os.kill(senders[-1].pid, signal.SIGKILL)))
    for _ in range(10):
        command = [sys.executable, SENDER, path, proxy.url, "500ms", str(MAX_SAMPLES), "180"]
        senders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        said = senders[-1].communicate(timeout=300)[0]
        if senders[-1].returncode == 0:
            outcomes.append(json.loads(said))
            if outcomes[-1]["stopped"] or not outcomes[-1]["error"] or proxy.finished():
                return proxy, senders, outcomes[-1]
        else:
            assert senders[-1].returncode == -signal.SIGKILL
    raise AssertionError(outcomes)


def compare(expected, arrived):
    """Count points that are missing, different and there although nothing was recorded; and those that came again."""
    missing = different = again = 0
    for key, points in expected.items():
        found = {}
        for ms, value in arrived.get(key, ()):
            found.setdefault(ms, []).append(value)
        missing += len(points.keys() - found.keys())
        again += sum(len(values) - 1 for values in found.values())
        different += len(found.keys() - points.keys())
        for ms, value in points.items():
            different += sum(not equal(each, value) for each in found.get(ms, ()))
    extra = [key for key in arrived if key not in expected and not dict(key)["__name__"].startswith("rondo_")]
    return missing, different + len(extra), again


def equal(found, value):
    if isinstance(value, tuple):
        return math.isclose(found, value[1], rel_tol=0.03)  # a quantile: the sketch's error
    return found == value


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("prometheus", marks=pytest.mark.prometheus),
        pytest.param("victoria_metrics", marks=pytest.mark.victoria_metrics),
    ],
)
def test_every_point_arrives_through_every_fault(path, recording, request, faulty_proxy, name):
    """Receiver away, 500, 429, hanging, closing mid-body, senders killed before the acknowledgement, a restart: every
    closed point arrives with its time and value, none is invented."""
    server = request.getfixturevalue(name)
    began = time.monotonic()
    proxy, senders, outcome = deliver(path, server, faulty_proxy)
    assert proxy.finished(), proxy.served
    assert not outcome["stopped"], outcome
    arrived = server.points(time.time(), "30m")
    missing, different, again = compare(recording, arrived)
    n_points = sum(map(len, recording.values()))
    print(
        f"\n| {name} | {n_points} | {missing} | {different} | {again} | {len(proxy.served)} | {len(senders)} |"
        f" {time.monotonic() - began:.0f} s |"
    )
    assert (missing, different) == (0, 0)
