"""rondo's own recorders: what they say is so, and nothing that befalls them reaches the program."""

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from rondo_core import ManualClock, Schema, Store, open_store, watch_loop
from rondo_core.builtin import cgroup, event_loop, host, kernel_files, process
from rondo_core.builtin.python_threads import group_of
from rondo_core.plugins.manager import Plugins, open_recorders

SCHEMAS = [Schema("counters", "counter", 64), Schema("gauges", "gauge", 64), Schema("summaries", "summary", 8)]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(tmp_path / "s", SCHEMAS, clock=clock) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Nothing takes long here, so that no reading is spared."""
    monkeypatch.setattr(kernel_files, "own_cpu_ns", lambda: 0)


def tick(store, times=1):
    for _ in range(times):
        store.clock.advance(1)
        store.tick()


def newest(store, selector):
    """The newest value of each series that matches, by its labels' values."""
    found = {}
    for series in store.query(selector):
        values = series.values[~(series.values != series.values)]
        if len(values):
            found[tuple(value for _, value in series.series.labels)] = values[-1]
    return found


def declared(store, name):
    return any(series.name == name for series in store.view.series())


def only(store, selector):
    (value,) = newest(store, selector).values()
    return value


def bound(store, name, **config):
    plugins = open_recorders({name: config})
    assert store.bind_recorders(plugins) == [name]
    return plugins


# -- the process


def test_cpu_time_is_the_sum_of_user_and_system(store):
    """The total that Prometheus clients have, and its two parts."""
    bound(store, "process")
    tick(store, 2)
    total = only(store, "process_cpu_seconds_total")
    assert total == pytest.approx(
        only(store, "process_cpu_user_seconds_total") + only(store, "process_cpu_system_seconds_total")
    )
    assert total == pytest.approx(sum(os.times()[:2]), abs=1)


def test_descriptors_threads_and_limits_are_the_kernels(store):
    """Each descriptor and each thread counts, as often as one looks; the limit is the one in force."""
    bound(store, "process")
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    gc.collect()  # what other tests left closes its files now
    gc.disable()
    files = []
    try:
        for _ in range(3):
            files.append(os.open("/dev/null", os.O_RDONLY))
            looks = [(len(opened()), len(list(Path("/proc/self/task").iterdir())))]
            tick(store)
            looks.append((len(opened()), len(list(Path("/proc/self/task").iterdir()))))
            for name, counts in zip(("process_open_fds", "process_threads"), zip(*looks, strict=True), strict=True):
                assert 2 <= min(counts) <= only(store, name) <= max(counts)  # one number, but where others' threads end
    finally:
        gc.enable()
        done.set()
        thread.join()
        for each in files:
            os.close(each)
    limits = Path("/proc/self/limits").read_text()
    assert f" {only(store, 'process_max_fds'):.0f} " in limits.partition("Max open files")[2]


def test_the_start_is_when_the_process_began(store):
    """As the kernel tells it: between the machine's boot and now, and the same for each tick."""
    bound(store, "process")
    tick(store, 2)
    (started,) = store.query("process_start_time_seconds")
    assert len(set(started.values.tolist())) == 1
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since boot, when it began
    (boot_s,) = [int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:6] == "btime "]
    assert abs(boot_s + ticks / os.sysconf("SC_CLK_TCK") - started.values[0]) < 2


def test_a_forked_child_reads_files_of_its_own():
    """A kept descriptor of /proc/self is the parent's; after fork the child opens its own, and the parent keeps its."""
    seen = []
    file = kernel_files.KernelFile(Path("/proc/self/stat"), lambda data, now_ns: seen.append(int(data.split()[0])))
    file.tick(0)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            file.tick(0)
            os.write(writer, str(seen).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() == str([os.getpid(), pid])
    file.tick(0)
    assert seen == [os.getpid()] * 2
    os.close(reader)
    os.close(writer)


def test_a_forked_child_counts_what_it_uses_itself():
    """The same recorder, with handles that record into a store of the child's: its totals begin at 0, at its own start."""
    handles = Handles()
    tick = process.rondo_recorder_bind(handles)
    tick(0)
    used = sum(handles.values["process_cpu_seconds_total"])
    assert used == pytest.approx(sum(os.times()[:2]), abs=0.1)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            handles.values.clear()
            tick(1)
            count = sum(handles.values.get("process_cpu_seconds_total", [0]))
            own = sum(os.times()[:2])
            right = 0 <= count <= own + 0.02 and handles.values["process_threads"] == [1]
            os.write(writer, b"right" if right else repr((count, own, handles.values)).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 10_000) == b"right"
    os.close(reader)
    os.close(writer)


class Handles:
    """Stands for a store: keeps what is recorded, by name."""

    def __init__(self):
        self.values = {}

    def counter(self, name, *given, **labels):
        return SimpleNamespace(inc=self.keep(name), set=self.keep(name))

    def keep(self, name):
        return lambda value, now_ns: self.values.setdefault(name, []).append(value)

    gauge = counter


def test_a_descriptor_that_the_program_closed_is_let_alone(tmp_path):
    """Daemons close whatever is open: its number is then another file's, which is neither taken nor closed."""
    other, seen = tmp_path / "other", []
    other.write_text("no number")
    file = kernel_files.KernelFile(Path("/proc/sys/kernel/pid_max"), lambda data, now_ns: seen.append(int(data)))
    (descriptor,) = (number for number, path in opened().items() if path == "/proc/sys/kernel/pid_max")
    reused = os.open(other, os.O_RDONLY)
    os.dup2(reused, descriptor)
    file.tick(0)
    assert seen == []
    assert os.pread(descriptor, 100, 0) == b"no number"
    file.tick(0)
    assert len(seen) == 1
    assert os.pread(descriptor, 100, 0) == b"no number"
    file.close()
    assert os.pread(descriptor, 100, 0) == b"no number"
    os.close(descriptor)
    os.close(reused)


def opened():
    """The path of each open descriptor, without the one that lists them."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def test_what_recorders_keep_open_is_closed_with_the_store(tmp_path):
    """Descriptors and the collector's callback go when the store closes, though the program still has the store."""
    callbacks = len(gc.callbacks)
    with Store(tmp_path / "s", SCHEMAS, clock=ManualClock()) as store:
        for name in ("process", "python"):
            bound(store, name)
        tick(store)
        assert len(gc.callbacks) == callbacks + 1
    assert len(gc.callbacks) == callbacks
    assert not {path for path in opened().values() if path.startswith("/proc/") and not path.endswith("/fd")}


# -- the interpreter


def test_a_collection_leaves_its_pause(store):
    """One collection is one observation of its generation, and one of its count."""
    bound(store, "python")
    tick(store)
    before = newest(store, "python_gc_collections_total")["2",]
    gc.collect()
    gc.collect()
    tick(store)
    assert newest(store, "python_gc_collections_total")["2",] == before + 2
    (pauses,) = store.query("python_gc_pause_seconds{generation=2}", fn="count", open=True)
    assert pauses.values[-1] == 2
    (longest,) = store.query("python_gc_pause_seconds{generation=2}", fn="max")
    assert 0 < longest.values[-1] < 60


def test_traced_memory_is_there_while_it_is_traced(store):
    """Nothing is declared before; then what is traced now, and the most there was."""
    import tracemalloc

    bound(store, "python")
    tick(store)
    assert not declared(store, "python_tracemalloc_bytes")
    tracemalloc.start()
    try:
        kept = bytearray(1 << 20)
        tick(store)
    finally:
        tracemalloc.stop()
    found = newest(store, "python_tracemalloc_bytes")
    assert len(kept) <= found["current",] <= found["peak",]


def test_what_takes_long_is_read_once_a_minute(monkeypatch):
    """A reading that took long is left out of the next 59 ticks; one that was long for once, as of cold caches, is not."""
    spent, read = [0], []
    monkeypatch.setattr(kernel_files, "own_cpu_ns", lambda: spent[0])

    def reading(now_ns):
        read.append(now_ns)
        spent[0] += costs.pop(0) if costs else cost

    call, cost, costs = kernel_files.rate_limited(reading), 49_999, []
    for second in range(10):
        call(second)
    costs = [199_999]
    for second in range(10, 12):
        call(second)
    assert read == [*range(10), 10, 10, 11]
    cost = 50_000
    for second in range(12, 133):
        call(second)
    assert read[13:] == [12, 12, 72, 72, 132, 132]
    cost = 200_000
    for second in range(133, 253):
        call(second)
    assert read[19:] == [192, 252]


# -- threads


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("MainThread", "MainThread"),
        ("Thread-12 (fetch)", "fetch"),
        ("Thread-12", "Thread"),
        ("ThreadPoolExecutor-0_3", "ThreadPoolExecutor"),
        ("42", "Thread"),
        ("worker \ud800", "worker ?"),
    ],
)
def test_threads_of_one_kind_have_one_group(name, group):
    """Numbers in names make no series."""
    assert group_of(name) == group


def test_groups_of_threads_are_bounded_and_none_is_lost(store):
    """Of 20 names one has a series, as the threads before it; the others count together, a group that is gone counts 0."""
    others = {group_of(each.name) for each in threading.enumerate()}  # of other tests, too
    plugins = bound(store, "threads", max_groups=len(others) + 1)
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, name=f"kind{chr(97 + number)}-1") for number in range(20)]
    for each in threads:
        each.start()
    before = set(threading.enumerate())
    tick(store)
    there = newest(store, "python_threads")
    assert {("other",), ("MainThread",), ("kinda",)} <= set(there)
    assert len(there) <= len(others) + 2
    stayed = before.intersection(threading.enumerate())  # others' may end or begin meanwhile
    assert len(stayed) <= sum(there.values()) < 2 * len(stayed)
    done.set()
    for each in threads:
        each.join()
    tick(store)
    assert newest(store, "python_threads")["kinda",] == 0
    assert plugins.failures == {}


def test_cpu_time_of_threads_adds_up_to_the_process(store):
    """What no thread of Python's has used by now is in `other`."""
    bound(store, "threads")
    bound(store, "process")
    tick(store)

    def work():
        sum(range(300_000))

    thread = threading.Thread(target=work, name="adder")
    thread.start()
    tick(store)
    thread.join()
    tick(store)
    used = newest(store, "python_threads_cpu_seconds_total")
    assert sum(used.values()) == pytest.approx(only(store, "process_cpu_seconds_total"), abs=0.05)


# -- event loops


def test_a_loop_is_found_and_its_lag_and_tasks_recorded(store):
    """Without a line of the program's, from another thread; a loop that is held up is late, and says so before it ends."""
    plugins = bound(store, "asyncio")
    watched, go_on = threading.Event(), threading.Event()

    async def main():
        others = [asyncio.create_task(asyncio.sleep(60)) for _ in range(5)]
        await asyncio.to_thread(watched.wait)
        go_on.wait()
        await asyncio.sleep(0.01)  # the timer that is due runs first
        for each in others:
            each.cancel()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    while not newest(store, "asyncio_tasks"):
        tick(store)
    assert only(store, "asyncio_tasks") == 6  # five that wait, and the program's own
    watched.set()
    while not only(store, "asyncio_loop_blocked_seconds") > 0.05:
        tick(store)
    late = only(store, "asyncio_loop_blocked_seconds")
    go_on.set()
    thread.join()
    tick(store)
    (lags,) = store.query("asyncio_loop_lag_seconds", fn="max")
    assert max(value for value in lags.values if value == value) >= late
    assert plugins.failures == {}


def test_uvicorns_loop_is_found_without_a_line(store):
    """A server that knows nothing of rondo, its store ticked by another thread."""
    uvicorn = pytest.importorskip("uvicorn")

    async def application(scope, receive, send):
        raise NotImplementedError

    server = uvicorn.Server(uvicorn.Config(application, port=0, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    bound(store, "asyncio")
    thread.start()
    try:
        while not newest(store, "asyncio_tasks"):
            tick(store)
    finally:
        server.should_exit = True
        thread.join()
    assert only(store, "asyncio_tasks") >= 1


def run_for(store, loop, seconds):
    """Run a loop, with a tick at its begin."""
    loop.call_soon(lambda: (tick(store), loop.call_later(seconds, loop.stop)))
    loop.run_forever()


def test_a_loop_is_watched_on_request_and_not_kept(store):
    """`watch_loop` names a loop that has no task; a run of it leaves its delays, and once closed it is forgotten."""
    with pytest.raises(RuntimeError):
        watch_loop()
    bound(store, "asyncio")
    loop = asyncio.new_event_loop()
    watch_loop(loop)
    run_for(store, loop, 0.6)
    (lags,) = store.query("asyncio_loop_lag_seconds", fn="count", open=True)
    assert 1 <= sum(value for value in lags.values if value == value) <= 2
    known = weakref.ref(loop)
    loop.close()
    tick(store)
    del loop
    gc.collect()
    assert known() is None


def test_a_loop_that_was_stopped_meanwhile_was_not_late(store):
    """What passes between two runs of a loop is no delay of its."""
    bound(store, "asyncio")
    loop = asyncio.new_event_loop()
    watch_loop(loop)
    run_for(store, loop, 0.3)
    tick(store)
    ((timer, *_), *_) = [recorder._timers for recorder in event_loop._recording if recorder._timers]
    timer._due_ns -= 60 * 10**9  # a minute passes
    run_for(store, loop, 0.3)
    loop.close()
    (lags,) = store.query("asyncio_loop_lag_seconds", fn="max")
    assert max(value for value in lags.values if value == value) < 60


def test_a_closed_store_leaves_the_loop_in_peace(tmp_path, caplog):
    """The timer that is under way ends without a word, and no other follows."""

    async def main():
        with Store(tmp_path / "s", SCHEMAS, clock=ManualClock()) as store:
            bound(store, "asyncio")
            tick(store)
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)

    asyncio.run(main())
    assert not caplog.records


def test_a_forked_child_does_not_touch_its_parents_loop(store):
    """The child shares the descriptors of the loop: to wake it would wake the parent's."""
    bound(store, "asyncio")

    async def main():
        tick(store)
        loop = asyncio.get_running_loop()
        pid = os.fork()
        if pid == 0:
            left = [recorder for recorder in event_loop._recording if recorder._timers]
            os._exit(0 if loop in event_loop._inherited and not left else 1)
        return pid

    pid = asyncio.run(main())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- the host and control groups, of trees that are made here


def made(root, files):
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


class Bound:
    """A recorder bound to a made tree."""

    def __init__(self, store, bind):
        self.store = store
        plugins = Plugins()

        class Made:
            from rondo_core import hookimpl

            @hookimpl
            def rondo_recorder_bind(self, declare):
                return bind(declare)

        plugins.register(Made(), "made")
        self.names = store.bind_recorders(plugins)
        self.plugins = plugins


STAT = "cpu  {user} 0 200 1000 5 0 7 9 0 0\ncpu0 1 2 3\nintr 99999\n"
DEV = "Inter-|   Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: {got} 5 1 2 0 0 0 0 {sent} 3 4 5 0 0 0 0\n"
HOST = {
    "proc/stat": STAT.format(user=100),
    "proc/meminfo": "MemTotal:  1000 kB\nMemFree: 300 kB\nMemAvailable:  600 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "proc/loadavg": "0.50 1.25 2.00 3/500 4242\n",
    "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    "proc/net/dev": DEV.format(got=1000, sent=50),
    "sys/block/sda/stat": "10 0 80 5 20 0 160 9 0 0 0\n",
    "sys/block/sda/device/model": "",
    "sys/block/loop0/stat": "10 0 80 5 20 0 160 9 0 0 0\n",
}


def test_the_host_is_recorded_from_the_first_tick_on(store, tmp_path):
    """Totals count what came since the recorder began; gauges are as the kernel has them; loops and lo are left out."""
    root = made(tmp_path / "root", HOST)
    made_host = Bound(store, lambda declare: host.bind(declare, {"max_disks": 4, "max_interfaces": 4}, root))
    tick(store)
    assert set(newest(store, "host_disk_read_bytes_total")) == {("sda",)}
    assert newest(store, "host_network_receive_bytes_total") == {("eth0",): 0.0}
    (root / "proc/stat").write_text(STAT.format(user=100 + 3 * os.sysconf("SC_CLK_TCK")))
    (root / "proc/net/dev").write_text(DEV.format(got=1700, sent=40))
    (root / "sys/block/sda/stat").write_text("11 0 82 5 24 0 168 9 0 0 0\n")
    tick(store)
    assert newest(store, "host_cpu_seconds_total")["user",] == 3.0
    assert newest(store, "host_network_receive_bytes_total") == {("eth0",): 700.0}
    assert newest(store, "host_network_transmit_bytes_total") == {("eth0",): 0.0}  # it began anew
    assert newest(store, "host_disk_read_bytes_total") == {("sda",): 1024.0}
    assert newest(store, "host_disk_writes_completed_total") == {("sda",): 4.0}
    assert only(store, "host_memory_available_bytes") == 600 * 1024
    assert only(store, "host_load5") == 1.25
    assert set(newest(store, "host_pressure_stalled_seconds_total")) == {("io", "some"), ("io", "full")}
    assert made_host.plugins.failures == {}


V2 = {
    "proc/self/cgroup": "0::/app\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/app/cpu.stat": "usage_usec 5000000\nnr_periods 10\nnr_throttled 2\nthrottled_usec 300000\n",
    "sys/fs/cgroup/app/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/app/memory.current": "4096\n",
    "sys/fs/cgroup/app/memory.peak": "8192\n",
    "sys/fs/cgroup/app/memory.max": "max\n",
    "sys/fs/cgroup/app/memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
    "sys/fs/cgroup/app/pids.current": "3\n",
    "sys/fs/cgroup/app/pids.max": "100\n",
    "sys/fs/cgroup/app/io.stat": "8:0 rbytes=100 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=20 wbytes=2 rios=1 wios=1\n",
    "sys/fs/cgroup/app/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}
V1_MOUNTS = "\n".join(
    f"{30 + number} 23 0:{number} {top} /sys/fs/cgroup/{names} rw - cgroup cgroup rw,{names}"
    for number, (names, top) in enumerate(
        [("cpu,cpuacct", "/"), ("memory", "/docker/abc"), ("blkio", "/"), ("pids", "/")]
    )
)
V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc\n3:blkio:/x\n2:pids:/x\n1:cpu,cpuacct:/x\n",
    "proc/self/mountinfo": V1_MOUNTS,
    "sys/fs/cgroup/cpu,cpuacct/x/cpu.stat": "nr_periods 10\nnr_throttled 2\nthrottled_time 300000000\n",
    "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "25000\n",
    "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "50000\n",
    "sys/fs/cgroup/cpu,cpuacct/x/cpuacct.usage": "5000000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "4096\n",
    "sys/fs/cgroup/memory/memory.max_usage_in_bytes": "8192\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "sys/fs/cgroup/pids/x/pids.current": "3\n",
    "sys/fs/cgroup/pids/x/pids.max": "100\n",
    "sys/fs/cgroup/blkio/x/blkio.throttle.io_service_bytes": "8:0 Read 100\n8:0 Write 10\n8:0 Total 110\n8:16 Read 20\n8:16 Write 2\nTotal 132\n",
}
GROWN = {
    "cpu.stat": "usage_usec 6500000\nnr_periods 30\nnr_throttled 6\nthrottled_usec 1300000\n",
    "memory.events": "oom 3\noom_kill 3\n",
    "io.stat": "8:0 rbytes=1100 wbytes=10\n8:16 rbytes=20 wbytes=7\n",
}
GROWN_V1 = {
    "cpu,cpuacct/x/cpu.stat": "nr_periods 30\nnr_throttled 6\nthrottled_time 1300000000\n",
    "cpu,cpuacct/x/cpuacct.usage": "6500000000\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "blkio/x/blkio.throttle.io_service_bytes": "8:0 Read 1100\n8:0 Write 10\n8:16 Read 20\n8:16 Write 7\n",
}
CONTAINER = {path.replace("/app/", "/"): text for path, text in V2.items()}
OUTSIDE = {**CONTAINER, "proc/self/cgroup": "0::/kubepods/pod1/abc\n"}


@pytest.mark.parametrize(
    ("files", "below", "grown", "limit"),
    [
        (V2, "sys/fs/cgroup/app/", GROWN, 1.5),
        ({**CONTAINER, "proc/self/cgroup": "0::/\n"}, "sys/fs/cgroup/", GROWN, 1.5),
        (OUTSIDE, "sys/fs/cgroup/", GROWN, 1.5),
        (V1, "sys/fs/cgroup/", GROWN_V1, 0.5),
    ],
    ids=["v2", "namespace", "without a namespace", "v1"],
)
def test_a_control_group_is_recorded_alike_in_each_version(store, tmp_path, files, below, grown, limit):
    """CPU, throttling, memory, kills, tasks and I/O, in the same series and units; no limit is no series."""
    root = made(tmp_path / "root", files)
    with (root / "proc/self/mountinfo").open("ab") as mounts:
        mounts.write(b"\n99 23 0:99 / /media/\xff\xc2\x85stick rw - ext4 /dev/sdb1 rw\n")  # a path is any bytes
    group = Bound(store, lambda declare: cgroup.bind(declare, root))
    tick(store)
    made(root / below, grown)
    tick(store)
    wanted = {
        "cgroup_cpu_seconds_total": 1.5,
        "cgroup_cpu_periods_total": 20,
        "cgroup_cpu_throttled_periods_total": 4,
        "cgroup_cpu_throttled_seconds_total": 1.0,
        "cgroup_cpu_limit": limit,
        "cgroup_memory_bytes": 4096,
        "cgroup_memory_peak_bytes": 8192,
        "cgroup_oom_kills_total": 2,
        "cgroup_pids": 3,
        "cgroup_pids_limit": 100,
    }
    assert {name: only(store, name) for name in wanted} == pytest.approx(wanted)
    assert newest(store, "cgroup_io_bytes_total") == {("read",): 1000.0, ("write",): 5.0}
    assert not declared(store, "cgroup_memory_limit_bytes")
    assert group.plugins.failures == {}


def test_a_limit_that_comes_later_is_recorded_from_then_on(store, tmp_path):
    """Limits are changed while programs run."""
    root = made(tmp_path / "root", V2)
    Bound(store, lambda declare: cgroup.bind(declare, root))
    tick(store)
    (root / "sys/fs/cgroup/app/memory.max").write_text("65536\n")
    tick(store)
    assert only(store, "cgroup_memory_limit_bytes") == 65536


def test_what_is_missing_or_garbled_is_left_out(store, tmp_path):
    """No file, no series; a file that is no longer of its form, or gone, leaves no sample, and nothing is raised."""
    assert Bound(store, lambda declare: cgroup.bind(declare, tmp_path)).names == []
    assert not [series for series in store.view.series() if series.name.startswith("cgroup_")]
    root = made(tmp_path / "root", V2 | HOST)
    both = [
        Bound(store, lambda declare: cgroup.bind(declare, root)),
        Bound(store, lambda declare: host.bind(declare, {"max_disks": 4, "max_interfaces": 4}, root)),
    ]
    tick(store)
    for path in root.rglob("*"):
        if path.is_file():
            path.write_text("?\n")
    tick(store)
    before = newest(store, "host_load1")
    for path in root.rglob("*"):
        if path.is_file():
            path.unlink()
    tick(store, 3)
    assert newest(store, "host_load1") == before
    assert [each.plugins.failures for each in both] == [{}, {}]


def test_a_process_without_proc_is_recorded_as_far_as_it_goes(store, tmp_path, monkeypatch):
    """Where /proc is not mounted, or hidden, what system calls tell is there."""
    monkeypatch.setattr(process, "PROC", tmp_path)
    plugins = bound(store, "process")
    tick(store)
    assert only(store, "process_cpu_seconds_total") > 0
    assert only(store, "process_max_fds") > 0
    assert not declared(store, "process_io_bytes_total")
    assert not declared(store, "process_threads")
    assert plugins.failures == {}


def test_a_store_with_little_room_has_what_fits(tmp_path):
    """A store of before, with eight counters, has the process but for its I/O."""
    with Store(tmp_path / "s", [Schema("c", "counter", 8), Schema("g", "gauge", 8)], clock=ManualClock()) as store:
        plugins = bound(store, "process")
        tick(store)
        assert plugins.failures == {}
        assert only(store, "process_cpu_seconds_total") > 0
        assert only(store, "process_threads") >= 1


def test_pauses_are_observed_where_the_schema_keeps_a_sketch(tmp_path):
    """A sketch takes each observation by itself."""
    schemas = [*SCHEMAS[:2], Schema("summaries", "summary", 8, sketch=True)]
    with Store(tmp_path / "s", schemas, clock=ManualClock()) as store:
        plugins = bound(store, "python")
        gc.collect()
        tick(store)
        assert plugins.failures == {}
        (count,) = store.query("python_gc_pause_seconds{generation=2}", fn="count", open=True)
        assert count.values[-1] == 1


def test_a_signal_in_a_tick_finds_the_recorders_whole(store):
    """A handler that ticks while a tick is under way changes nothing."""
    plugins = bound(store, "process")
    before = signal.signal(signal.SIGALRM, lambda *_: store.tick())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        tick(store, 300)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert plugins.failures == {}
    totals = store.query("process_cpu_seconds_total")[0].values
    assert (totals[1:] >= totals[:-1]).all()


# -- the page


def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    """Its program prints that there is memory in use, and its file is a config that can be."""
    page = (Path(__file__).parents[2] / "docs" / "recorders.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "True\n"
    (config,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "rondo.toml").write_text(config)
    monkeypatch.chdir(tmp_path)
    with open_store() as store:
        assert only(store, "process_threads") >= 1


def test_the_page_names_every_series(store, tmp_path):
    """Name, labels, kind and help of each, in the order in which they are declared, and nothing that is not there."""
    import tracemalloc

    said, named = [], {}
    root = made(tmp_path / "root", V2 | HOST | {"sys/fs/cgroup/app/memory.swap.current": "0\n"})
    made(root, {"sys/fs/cgroup/app/memory.max": "65536\n"})
    plugins = {
        "process": lambda: bound(store, "process"),
        "python": lambda: bound(store, "python"),
        "asyncio": lambda: bound(store, "asyncio"),
        "threads": lambda: bound(store, "threads"),
        "host": lambda: Bound(store, lambda declare: host.bind(declare, {"max_disks": 4, "max_interfaces": 4}, root)),
        "cgroup": lambda: Bound(store, lambda declare: cgroup.bind(declare, root)),
    }
    tracemalloc.start()
    try:
        for name, bind in plugins.items():
            bind()
            tick(store)
            for series in store.view.series():
                labels = ",".join(label for label, _ in series.labels)
                whole = f"{series.name}{{{labels}}}" if labels else series.name
                if not series.name.startswith("rondo_") and whole not in named:
                    named[whole] = f"| `{name}` | `{whole}` | {series.kind} | {series.help} |"
    finally:
        tracemalloc.stop()
    page = (Path(__file__).parents[2] / "docs" / "recorders.md").read_text()
    said = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert said == sorted(named.values(), key=lambda row: list(plugins).index(row.split("`")[1]))
