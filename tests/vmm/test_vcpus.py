"""Machines with several virtual CPUs: all of their life is recorded, each by its number."""

import pytest

from rondo_core import Store, StoreReader, hookimpl
from rondo_vmm import VmConfig, run_vm
from rondo_vmm.boot.kernel import BUNDLED
from rondo_vmm.errors import ConfigError
from rondo_vmm.kvm import cpuid
from rondo_vmm.monitor import Monitor
from rondo_vmm.observe.recording import monitor_plugins
from rondo_vmm.schemas import vmm_schemas

SPIN = b"\xeb\xfe"


@pytest.fixture
def two_cpus(guests, tmp_path):
    return guests.kernel(guests.assemble("two_cpus.S", tmp_path, width=32), tmp_path / "kernel", pvh=True)


@pytest.mark.kvm
@pytest.mark.binutils
def test_every_cpus_exits_are_recorded_by_its_number(two_cpus, path):
    """What each exit loop counted is what is stored with its label; both threads' times are there."""
    with Store(path, vmm_schemas(2)) as store:
        result = run_vm(VmConfig(machine="kvm", kernel=two_cpus, vcpus=2, timeout_s=60), store)
    assert (result.ended, result.error) == ("power-off", "")
    assert [each["io"] for each in result.exits_by_vcpu] == [1, 3]
    assert result.exits["io"] == 4
    with StoreReader(path) as reader:
        for vcpu in range(2):
            stored = {
                dict(data.series.labels)["reason"]: data.values[-1]
                for data in reader.query(f"vcpu_exits_total{{vcpu={vcpu}}}")
            }
            assert stored == result.exits_by_vcpu[vcpu]
            for name in ("vcpu_run_duration_ns", "vcpu_exit_duration_ns"):
                count = reader.query(f"{name}{{vcpu={vcpu}}}", fn="total")[0].values[-1]
                assert count == sum(result.exits_by_vcpu[vcpu].values())
            assert reader.query(f"vcpu_cpu_seconds_total{{vcpu={vcpu}}}")[0].values[-1] > 0
            assert reader.query(f"vcpu_steal_seconds_total{{vcpu={vcpu}}}")[0].values[-1] >= 0


@pytest.mark.kvm
@pytest.mark.parametrize("vcpus", [1, 4])
def test_all_cpus_stop_whatever_they_do(guests, tmp_path, vcpus):
    """One computes for ever, the others wait to be started: all end at the timeout."""
    kernel = guests.kernel(SPIN, tmp_path / "kernel", pvh=True)
    result = run_vm(VmConfig(machine="kvm", kernel=kernel, vcpus=vcpus, timeout_s=0.3))
    assert (result.ended, result.exit_status) == ("timeout", 0)
    assert len(result.exits_by_vcpu) == vcpus


@pytest.mark.kvm
def test_a_cpu_that_fails_ends_the_others(guests, tmp_path):
    """A triple fault of one CPU is the machine's end, in one line."""
    kernel = guests.kernel(b"\x0f\x0b", tmp_path / "kernel", pvh=True)
    result = run_vm(VmConfig(machine="kvm", kernel=kernel, vcpus=3, timeout_s=30))
    assert result.ended == "failed"
    assert "triple fault" in result.error
    assert "\n" not in result.error


def test_a_bare_kernel_runs_on_one_cpu(tmp_path):
    """It could not start the others; that is said before anything runs."""
    with pytest.raises(ConfigError, match="one virtual CPU only"):
        Monitor(VmConfig(kernel=BUNDLED, vcpus=2))


@pytest.mark.emulator
def test_the_software_cpu_refuses_a_linux_kernel(guests, tmp_path):
    """It has no interrupt controllers; the line names the kernel and the machine that can."""
    kernel = guests.kernel(SPIN, tmp_path / "kernel")
    with pytest.raises(ConfigError, match="runs bare kernels only; it needs --machine kvm"):
        Monitor(VmConfig(machine="soft", kernel=kernel))


@pytest.mark.parametrize("vcpus", [1, 2, 5, 64])
def test_cpuid_gives_every_cpu_its_own_number(vcpus):
    """Its APIC's number, how many cores there are, and that a hypervisor is there; the rest is the host's."""
    supported = [(0, 0, 0, 13, 1, 2, 3), (1, 0, 0, 7, 0xAABBCCDD, 1 << 13, 0), (0xB, 0, 1, 1, 2, 0x100, 7),
                 (0xB, 1, 1, 5, 6, 0x201, 7), (0x80000008, 0, 0, 48, 0, 0xF0FF, 0)]  # fmt: skip
    for number in range(vcpus):
        table = {(entry[0], entry[1]): entry[3:] for entry in cpuid.for_vcpu(supported, number, vcpus)}
        assert table[0, 0] == (13, 1, 2, 3)
        eax, ebx, ecx, edx = table[1, 0]
        assert (eax, ebx & 0xFF, ebx >> 8 & 0xFF, ebx >> 16 & 0xFF, ebx >> 24) == (7, 0, 0xCC, vcpus, number)
        assert ecx == 1 << 31 | 1 << 13
        assert edx == (1 << 28 if vcpus > 1 else 0)
        bits = table[0xB, 1][0]
        assert 1 << bits >= vcpus
        assert (table[0xB, 0][3], table[0xB, 1][1], table[0xB, 1][3]) == (number, vcpus, number)
        assert table[0x80000008, 0][2] & 0xFF == vcpus - 1
    hidden = cpuid.for_vcpu(supported, 0, vcpus, hide_cx16=True)
    assert not hidden[1][5] & 1 << 13
    assert len(cpuid.pack(hidden)) == 8 + 40 * len(hidden)


@pytest.mark.kvm
def test_hook_rondo_vmm_vcpu_bind_and_rondo_vmm_milestone_bind(path):
    """A plugin learns of each CPU's thread and is ticked until it ends; it is told each milestone once, in order."""
    told, threads, ticks = [], [], []

    class Listener:
        @hookimpl
        def rondo_vmm_vcpu_bind(self, vcpu, thread_id):
            threads.append((vcpu, thread_id > 0))
            return ticks.append

        @hookimpl
        def rondo_vmm_milestone_bind(self):
            return lambda name, since_ns, now_ns: told.append((name, since_ns, now_ns))

    class Broken:
        @hookimpl
        def rondo_vmm_milestone_bind(self):
            return lambda *_: 1 / 0

        @hookimpl
        def rondo_vmm_vcpu_bind(self):
            return lambda _: 1 / 0

    plugins = monitor_plugins()
    plugins.register(Listener(), "listener")
    plugins.register(Broken(), "broken")
    with Store(path, vmm_schemas()) as store:
        result = Monitor(VmConfig(machine="kvm", cmdline="workload_duration=1"), store, None, plugins).run()
    names = ["first_instruction", "first_byte", "init", "phase_cpu", "phase_idle", "phase_io", "phase_mixed", "done"]
    assert [name for name, _, _ in told] == names
    assert all(now_ns <= result.ended_ns for _, _, now_ns in told)
    assert [since for _, since, _ in told] == sorted(since for _, since, _ in told)
    assert threads == [(0, True)]
    assert ticks[0] == result.started_ns
    assert ticks == sorted(ticks)
    assert result.ended == "power-off"
    assert set(result.failed_plugins) == {"broken"}
    with StoreReader(path) as reader:
        stored = {
            dict(data.series.labels)["milestone"]: data.values[-1] for data in reader.query("vmm_milestone_seconds")
        }
        assert stored == {name: since_ns / 10**9 for name, since_ns, _ in told}
        assert reader.query("vmm_cpu_seconds_total")[0].values[-1] > 0
