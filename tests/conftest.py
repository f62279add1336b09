"""What all tests share: a clock that stands still, a store path, and markers that skip by name."""

import contextlib
import gc
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.export.cursor import Cursor, save_cursor

TOOLS = Path(__file__).parents[1] / ".tools"
NO_QEMU = "no QEMU; install the package qemu-system-x86 and the extra rondo-tsdb[qemu]"
CGROUPS = Path("/sys/fs/cgroup")
START_NS = 1_700_000_000 * 10**9
KINDS_BY_SCHEMA = {"counters": "counter", "gauges": "gauge", "summaries": "summary"}
SMALL_TIERS = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))


def pytest_configure():
    """No example fails for how long it takes, which a busy machine decides.

    Whoever runs the tests in the background, or under nohup, ignores signals, and so would all that they start.
    """
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.util.find_spec("hypothesis"):
        from hypothesis import HealthCheck, settings

        # How long an example takes says how busy the machine is, not whether a promise holds.
        settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    reasons = {
        "kvm": None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no usable /dev/kvm",
        "emulator": None if importlib.util.find_spec("unicorn") else "the package unicorn is not installed",
        "prometheus": None if shutil.which("prometheus") else "no Prometheus server; install the package prometheus",
        "victoria_metrics": None
        if shutil.which("victoria-metrics")
        else "no VictoriaMetrics; install the package victoria-metrics",
        "influxdb": None if shutil.which("influxd") else "no InfluxDB; install the package influxdb",
        "qemu": None if shutil.which("qemu-system-x86_64") and importlib.util.find_spec("qemu") else NO_QEMU,
        "linux_guest": None if (TOOLS / "guest" / "initramfs.cpio").exists() else "no Linux guest; make guest-linux",
        "chromium": _no_chromium(),
        "cgroup2": None if _parts_groups() else "no control groups of version 2 to part; make test-cgroup2 has a guest",
        "binutils": None if shutil.which("as") else "no assembler; install the package binutils",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _parts_groups():
    try:
        return os.access(CGROUPS, os.W_OK) and "memory" in (CGROUPS / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _no_chromium():
    if not os.environ.get("RONDO_SYSTEMS"):
        return "drives a browser; make test-systems does"
    if not shutil.which("chromium"):
        return "no Chromium; install the package chromium"
    return None if importlib.util.find_spec("playwright") else "the package playwright is not installed"


MANY_FILES = min(300, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_usual():
    """Let no program that a test starts ignore what nohup, or a shell that ran the tests in its background, does."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # a program that is started has the default again


@pytest.fixture(autouse=True)
def _garbage_as_usual():
    """Let no command that a test runs in this process put off the collection of garbage, and of what it holds open.

    A closed store has its maps, for readers, until it is collected: of many tests' those are more files than some calls
    can take.
    """
    usual = gc.get_threshold()
    yield
    if gc.get_threshold() != usual:
        gc.set_threshold(*usual)
        gc.unfreeze()
    try:
        many = len(os.listdir("/proc/self/fd")) > MANY_FILES  # noqa: PTH208 - quicker
    except OSError:  # so many that there is none left to look with
        many = True
    if many:
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _times_in_utc():
    """Times are shown in the zone of whoever asks: here in UTC, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session", autouse=True)
def _unsynced():
    """What tests write need not outlive the machine, and to wait for the disk took half of their time.

    The tests of power loss model a disk of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        patch.setattr(os, "fdatasync", lambda _descriptor: None)
        yield


@pytest.fixture
def clock():
    return ManualClock(START_NS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.rondo"


@pytest.fixture
def small_schemas():
    return [
        Schema("counters", "counter", 8, SMALL_TIERS),
        Schema("gauges", "gauge", 8, SMALL_TIERS),
        Schema("summaries", "summary", 8, SMALL_TIERS),
    ]


@pytest.fixture
def store(path, clock, small_schemas):
    with Store(path, small_schemas, clock=clock) as opened:
        yield opened


@pytest.fixture
def fill(fill_once):
    """Make stores as `fill_once` does."""
    return fill_once


@pytest.fixture(scope="session")
def fill_once():
    """Make a store with every kind of slab and file, in which every ring but the last has wrapped, and close it."""

    def made(path, seconds=200, *, close=True):
        clock = ManualClock(START_NS)
        tiers = (Tier("1s", "60s"), Tier("10s", "2m"), Tier("1m", "1h"))
        schemas = [Schema("sketched", "summary", 2, tiers, "q_seconds", sketch=True)]
        schemas += [Schema(name, kind, 4, tiers) for name, kind in KINDS_BY_SCHEMA.items()]
        store = Store(path, schemas, clock=clock)
        sketched = store.summary("q_seconds")
        handles = [
            (store.counter("c_total", n=n), store.gauge("g", n=n), store.summary("s_seconds", n=n)) for n in range(3)
        ]
        for second in range(seconds):
            sketched.observe(second % 7 * 0.5)
            for index, (counter, gauge, summary) in enumerate(handles):
                counter.inc(second % 3 + index)
                gauge.set(second * (index - 1) + 0.5)
                for value in range(second % 4):
                    summary.observe(value * 0.25 + index)
            if second % 17 == 3:
                handles[1][1].set(7.0, clock() - 4 * 10**9)
                handles[1][0].inc(2.0, clock() - 6 * 10**9)
                handles[1][2].observe(0.125, clock() - 5 * 10**9)
            store.tick()
            clock.advance(1)
        save_cursor(path, Cursor("test", {"counters.0": clock() // 10**9 - 5, "gauges.1": 3}, 0, 12))
        if close:
            store.close()
        return store

    return made


@pytest.fixture
def open_paths():
    """What this process has open, once for each descriptor, whose path has a text in it: not what others have."""

    def found(text):
        paths = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # another thread's, which has been closed
                paths += [str(entry.readlink())]
        return sorted(path for path in paths if str(text) in path)

    return found


LONG_NS = NS_PER_S // 4


class Stalls:
    """The seconds in which this machine stood still, or was busy with others: nobody can have recorded in each of them.

    A thread looks at the clock fifty times a second, and notes where it was kept from that.
    """

    def __init__(self):
        self._seconds, self._over, self._before_ns = set(), threading.Event(), wall_ns()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self):
        over = False
        while not over:
            over = self._over.wait(0.02)
            now_ns = wall_ns()
            if now_ns - self._before_ns > LONG_NS:
                # The one after it has the growth of those that have no point.
                self._seconds.update(range(self._before_ns // NS_PER_S, now_ns // NS_PER_S + 2))
            self._before_ns = now_ns

    def end(self):
        """Look no more."""
        self._over.set()
        self._thread.join()

    def without(self, seconds):
        """Give those of some seconds that were not stalled; this ends the look."""
        self.end()
        return [second for second in seconds if second not in self._seconds]

    def were(self):
        """Say whether there was any; this ends the look."""
        self.end()
        return bool(self._seconds)

    def assert_every_second(self, data, lived):
        """See that a series has a point in each second of a life, and none in any other."""
        there = (data.timestamps_ns // NS_PER_S).tolist()
        assert self.without(there) == self.without(lived), (data.series, self._seconds)


@pytest.fixture
def stalls():
    """What tells a second that nobody could record in from one that was lost."""
    found = Stalls()
    yield found
    found.end()


@pytest.fixture
def serving():
    """`rondo serve` in a process of its own, as a user starts it: gives its URL."""

    @contextlib.contextmanager
    def started(path, *options):
        command = [sys.executable, "-m", "rondo_cli", "serve", str(path), "--port", "0", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                said = process.stderr.readline()
                assert " on http" in said, said
                yield said.split(" on ")[1].strip().removesuffix("/metrics/info").removesuffix("/")
            finally:
                process.terminate()

    return started
