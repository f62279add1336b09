"""A CPU's exits on their way to the plugins: nothing lost, nothing twice, each in its second."""

import subprocess
import sys
import threading

import pytest

from rondo_core import Store, StoreReader, hookimpl
from rondo_vmm import VMM_SCHEMAS, VmConfig
from rondo_vmm.monitor import Monitor
from rondo_vmm.observe.exit_totals import ExitTotals
from rondo_vmm.observe.recording import monitor_plugins

MACHINES = [pytest.param("kvm", marks=pytest.mark.kvm), pytest.param("soft", marks=pytest.mark.emulator)]
SECOND = 10**9


class Clocks:
    """A clock that stands where the test puts it, and a wall clock that is 100 s ahead of it."""

    now_ns = 0

    def totals(self, exits, takers=()):
        return ExitTotals(exits, takers, clock=lambda: self.now_ns, wall=lambda: self.now_ns + 100 * SECOND)


@pytest.fixture
def clocks():
    return Clocks()


def test_exits_are_handed_over_at_the_time_of_the_last_of_them(clocks):
    """However late a tick comes, they are of the second in which they took place; what was handed over is gone."""
    exits, taken = [0, 4, 0], []
    totals = clocks.totals(exits, [lambda *what: taken.append(what)])
    add = totals.add
    clocks.now_ns = 3 * SECOND + 20
    assert add(0, 3 * SECOND, 3 * SECOND + 5) == 3 * SECOND + 20
    clocks.now_ns = 3 * SECOND + 27
    add(1, 3 * SECOND + 20, 3 * SECOND + 23)
    clocks.now_ns = 9 * SECOND
    totals.flush()
    totals.flush()
    assert taken == [([1, 1, 0], (8, 3, 5), (19, 4, 15), 103 * SECOND + 27)]


def test_an_exit_in_the_next_second_finds_those_before_it_handed_over(clocks):
    """No sum is of two seconds, also without a tick in between."""
    exits, taken = [0], []
    totals = clocks.totals(exits, [lambda counts, _run, _took, now_ns: taken.append((counts[0], now_ns))])
    add = totals.add
    for clocks.now_ns in (3 * SECOND - 4, 3 * SECOND - 2, 3 * SECOND + 1):
        add(0, clocks.now_ns, clocks.now_ns)
    assert taken == [(2, 103 * SECOND - 2)]
    totals.flush()
    assert taken[1:] == [(1, 103 * SECOND + 1)]


@pytest.mark.parametrize(("now_ns", "due_ns"), [(5 * SECOND, 250_000_000), (6 * SECOND - 3, 3)])
def test_exits_are_handed_over_again_in_250_ms_or_with_the_second(clocks, now_ns, due_ns):
    """So that no sum is of two seconds."""
    clocks.now_ns = now_ns
    totals = clocks.totals([0], [lambda *_what: None])
    totals.flush()
    assert totals.due_ns == now_ns + due_ns


def test_no_exit_is_lost_or_counted_twice_between_a_cpu_and_a_tick():
    """A thread adds exits while another flushes all the time: counts and sums agree in every hand-over and in all."""
    exits, taken, done = [0], [], threading.Event()
    totals = ExitTotals(exits, [lambda counts, run, _took, _now: taken.append((counts[0], run[0]))])

    def cpu():
        add, now_ns = totals.add, 1
        for _ in range(200_000):
            now_ns = add(0, now_ns, now_ns + 3)
        done.set()

    thread = threading.Thread(target=cpu)
    thread.start()
    while not done.is_set():
        totals.flush()
    thread.join()
    totals.flush()
    assert sum(count for count, _ in taken) == 200_000
    assert all(run == 3 * count for count, run in taken)


@pytest.mark.parametrize("machine", MACHINES)
def test_hook_rondo_vmm_exits_bind_and_rondo_vmm_exit_bind(machine, path):
    """One plugin gets each exit, another the sums: the same exits, in the same order, none missing, as the loop counted."""
    each, sums = [], []

    class Both:
        @hookimpl
        def rondo_vmm_exit_bind(self, vcpu):
            return lambda *exit_: each.append(exit_)

        @hookimpl
        def rondo_vmm_exits_bind(self, vcpu):
            return lambda *exits: sums.append(exits)

    plugins = monitor_plugins()
    plugins.register(Both(), "both")
    with Store(path, VMM_SCHEMAS) as store:
        result = Monitor(VmConfig(machine=machine, cmdline="workload_duration=1"), store, None, plugins).run()
    assert result.failed_plugins == {}
    assert [sum(counts) for counts in zip(*(counts for counts, *_ in sums), strict=True)] == [*result.exits.values()]
    first = 0
    for counts, run, took, _ in sums:
        mine = each[first : first + sum(counts)]
        first += len(mine)
        assert counts == [sum(reason == index for reason, *_ in mine) for index in range(len(counts))]
        for known, times in (
            (run, [run_ns for _, run_ns, _, _ in mine]),
            (took, [took_ns for _, _, took_ns, _ in mine]),
        ):
            assert known == (sum(times), min(times), max(times))
    assert first == len(each) == sum(result.exits.values())
    with StoreReader(path) as reader:
        for name, at in (("vcpu_run_duration_ns", 1), ("vcpu_exit_duration_ns", 2)):
            stored = {fn: reader.query(name, fn=fn, tier=0)[0].values for fn in ("count", "sum", "min", "max")}
            assert stored["count"].sum() == len(each)
            assert stored["sum"].sum() == sum(exit_[at] for exit_ in each)
            assert stored["min"].min() == min(exit_[at] for exit_ in each)
            assert stored["max"].max() == max(exit_[at] for exit_ in each)


@pytest.mark.parametrize("machine", MACHINES)
def test_quantiles_of_exits_where_the_store_keeps_sketches(machine, path):
    """A store that was made with sketches has every exit in them."""
    schemas = [each._replace(sketch=each.kind == "summary") for each in VMM_SCHEMAS]
    with Store(path, schemas) as store:
        result = Monitor(VmConfig(machine=machine, cmdline="workload_duration=1"), store).run()
    with StoreReader(path) as reader:
        for name in ("vcpu_run_duration_ns", "vcpu_exit_duration_ns"):
            assert reader.query(name, fn="total")[0].values[-1] == sum(result.exits.values())
            low, middle, high = (reader.query(name, fn=fn, tier=0)[0].values for fn in ("min", "p50", "max"))
            assert (low <= middle * 1.02).all()
            assert (middle <= high * 1.02).all()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_monitor_that_only_records_loads_no_numpy(machine, path):
    """From its start to its end; nor, without a disk, Linux or a query, what these need."""
    unwanted = [
        "numpy",
        "cython",
        "asyncio",
        "rondo_web",
        "rondo_core.read.query",
        "rondo_vmm.boot.bzimage",
        "rondo_vmm.devices.serial_input",
        "rondo_vmm.devices.virtio",
        "rondo_vmm.machine",
    ]
    code = (
        "import sys\nfrom rondo_cli.main import run\n"
        "status = run(['vmm', '--machine', sys.argv[1], '--duration', '1', '--store', sys.argv[2]])\n"
        "print('loaded', status, [name for name in sys.argv[3:] if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, machine, str(path), *unwanted]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.splitlines()[-1] == "loaded 0 []"
    with StoreReader(path) as reader:  # the open windows were folded when it closed
        assert reader.query("vcpu_exits_total{reason=io}", tier=1)[0].values[-1] > 100
