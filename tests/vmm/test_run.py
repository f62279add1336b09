"""Whole machines: the bundled guest and small ones made here, on /dev/kvm and on the software CPU."""

import os
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from rondo_core import Plugins, Store, StoreReader, hookimpl
from rondo_core.signals import STOP_SIGNALS
from rondo_vmm import VMM_SCHEMAS, VmConfig, hookspecs, run_vm
from rondo_vmm.boot.kernel import BUNDLED
from rondo_vmm.errors import KvmError
from rondo_vmm.kvm.vm import KvmVm, usable
from rondo_vmm.memory import GuestMemory
from rondo_vmm.monitor import Monitor
from rondo_vmm.observe.recording import monitor_plugins

MACHINES = [pytest.param("kvm", marks=pytest.mark.kvm), pytest.param("soft", marks=pytest.mark.emulator)]
GUEST = Path(__file__).parents[2] / "guest"
SPIN = b"\xeb\xfe"  # jmp to itself
SLEEP_FOR_EVER = b"\xf4"  # hlt, no alarm
LONG_ALARM = b"\x66\xba\x04\x07\xb8\x60\xea\x00\x00\xef\xf4" + SPIN  # mov dx,0x704; mov eax,60000; out dx,eax; hlt
TRIPLE_FAULT = b"\x0f\x0b"  # ud2, without an interrupt table
POKE_PORT = b"\x66\xba\x99\x00\xec\xee"  # mov dx,0x99; in al,dx; out dx,al
POKE_MEMORY = b"\xa1\x00\x00\x00\xe0\xa3\x00\x00\x00\xe0"  # mov eax,[0xe0000000]; mov [0xe0000000],eax
POWER_OFF = b"\x66\xba\x04\x06\x66\xb8\x00\x20\x66\xef"  # mov dx,0x604; mov ax,0x2000; out dx,ax


def elf(code, tmp_path, name="kernel"):
    """Make a kernel of a few instructions, loaded at 1 MiB."""
    base, size = 0x100000, 84 + len(code)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    path = tmp_path / name
    path.write_bytes(header + struct.pack("<8I", 1, 0, base, base, size, size, 7, 4096) + code)
    return path


@pytest.mark.parametrize("machine", MACHINES)
def test_the_bundled_guest_runs_its_phases_and_powers_off(machine, path, stalls):
    """Phases in order on the console, a clean end, every second and every exit in the store."""
    console = []
    with Store(path, VMM_SCHEMAS) as store:
        result = run_vm(VmConfig(machine=machine, cmdline="quiet workload_duration=3 x=1"), store, console.append)
    lines = b"".join(console).decode().split("\r\n")
    assert lines == [
        "rondo-guest 1 workload_duration=3",
        *(f"rondo-guest phase {name}" for name in ("cpu", "idle", "io", "mixed")),
        "rondo-guest done",
        "",
    ]
    assert (result.ended, result.error, result.exit_status, result.machine) == ("power-off", "", 0, machine)
    assert result.uptime_s >= 3
    with StoreReader(path) as reader:
        uptime = reader.query("vmm_uptime_seconds", tier=0)[0]
        stalls.assert_every_second(uptime, range(result.started_ns // 10**9, result.ended_ns // 10**9 + 1))
        stored = {}
        for data in reader.query("vcpu_exits_total", tier=0):
            assert (np.diff(data.values) >= 0).all()
            stored[dict(data.series.labels)["reason"]] = data.values[-1]
        assert stored == result.exits
        assert sum(result.exits.values()) > 100  # thousands, where the machine is let run
        for name in ("vcpu_run_duration_ns", "vcpu_exit_duration_ns"):
            assert reader.query(name, fn="total")[0].values[-1] == sum(result.exits.values())
        assert (reader.query("vmm_rss_bytes")[0].values > 2**20).all()
        assert (reader.query("vmm_open_fds")[0].values > 3).all()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("cmdline", "seconds"),
    [("", 15), ("workload_duration=", 15), ("workload_duration=abc", 15), ("workload_duration=0", 15),
     ("workload_duration=2x", 2), ("a workload_duration=7", 7), ("workload_duration=99999999999999", 604800)],
)  # fmt: skip
def test_the_command_line_reaches_the_guest(machine, cmdline, seconds):
    """The guest says what it read, also of a number that is missing, garbage or far too long."""
    said, hello = [], threading.Event()

    def sink(data):
        said.append(data)
        if b"\n" in data:
            hello.set()

    monitor = Monitor(VmConfig(machine=machine, cmdline=cmdline), None, sink)
    stopper = threading.Thread(target=lambda: (hello.wait(30), monitor.stop()))
    stopper.start()
    monitor.run()
    stopper.join()
    assert b"".join(said).split(b"\r\n")[0].decode() == f"rondo-guest 1 workload_duration={seconds}"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("code", [SPIN, LONG_ALARM], ids=["computing", "sleeping"])
def test_a_guest_is_stopped_whatever_it_does(machine, code, tmp_path):
    """A guest that computes without an exit, or sleeps for a minute, ends at its timeout."""
    result = run_vm(VmConfig(machine=machine, kernel=elf(code, tmp_path), timeout_s=0.3))
    assert (result.ended, result.exit_status) == ("timeout", 0)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_guest_that_sleeps_for_ever_is_said_to_have_halted(machine, tmp_path):
    """HLT without an alarm is an end of its own, not a hang."""
    assert run_vm(VmConfig(machine=machine, kernel=elf(SLEEP_FOR_EVER, tmp_path), timeout_s=30)).ended == "halted"


@pytest.mark.parametrize("machine", MACHINES)
def test_a_guest_that_faults_ends_in_one_line_that_names_rip(machine, tmp_path, path):
    """A triple fault, or an instruction that cannot run, is a clear error, and the store is closed with all it has."""
    with Store(path, VMM_SCHEMAS) as store:
        result = run_vm(VmConfig(machine=machine, kernel=elf(TRIPLE_FAULT, tmp_path), timeout_s=30), store)
    assert (result.ended, result.exit_status) == ("failed", 1)
    assert "rip 0x1000" in result.error
    assert "\n" not in result.error
    with StoreReader(path) as reader:
        stored = {dict(d.series.labels)["reason"]: d.values[-1] for d in reader.query("vcpu_exits_total")}
        assert stored == result.exits
        assert sum(stored.values()) == 1


@pytest.mark.kvm
def test_an_instruction_that_kvm_cannot_emulate_is_named(tmp_path):
    """Code outside memory makes KVM give up: the error says where."""
    code = b"\xb8\x00\x00\x00\xd0\xff\xe0"  # mov eax, 0xd0000000; jmp eax: into a device
    result = run_vm(VmConfig(machine="kvm", kernel=elf(code, tmp_path), timeout_s=30))
    assert result.ended == "failed"
    assert "rip 0x" in result.error


@pytest.mark.parametrize("machine", MACHINES)
def test_unclaimed_ports_are_harmless(machine, tmp_path):
    """A guest that reads and writes where no device is goes on."""
    result = run_vm(VmConfig(machine=machine, kernel=elf(POKE_PORT + POWER_OFF, tmp_path), timeout_s=30))
    assert (result.ended, result.exits["io"]) == ("power-off", 3)


@pytest.mark.kvm
def test_unclaimed_addresses_are_harmless(tmp_path):
    """Loads and stores beyond memory and devices go nowhere, and are counted as exits."""
    result = run_vm(VmConfig(machine="kvm", kernel=elf(POKE_MEMORY + POWER_OFF, tmp_path), timeout_s=30))
    assert (result.ended, result.exits["mmio"]) == ("power-off", 2)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_keyboard_controller_resets(machine, tmp_path):
    """0xfe on port 0x64 ends the machine as a reset."""
    code = b"\xb0\xfe\xe6\x64" + SPIN
    assert run_vm(VmConfig(machine=machine, kernel=elf(code, tmp_path), timeout_s=30)).ended == "reset"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_end_the_machine_in_order(machine, number, path):
    """Ctrl-C, SIGTERM, a terminal that is closed and Ctrl-\\ stop the VM; the last second is recorded; the status says which signal."""
    kicked = threading.Event()

    def sink(_data):
        if not kicked.is_set():
            kicked.set()
            os.kill(os.getpid(), number)

    with Store(path, VMM_SCHEMAS) as store:
        result = run_vm(VmConfig(machine=machine, cmdline="workload_duration=60", timeout_s=50), store, sink)
    assert (result.ended, result.exit_status) == (f"signal {number.value}", 128 + number)
    with StoreReader(path) as reader:
        newest_s = reader.query("vmm_uptime_seconds", tier=0)[0].timestamps_ns[-1] // 10**9
    assert newest_s == result.ended_ns // 10**9


@pytest.mark.parametrize("machine", MACHINES)
def test_a_stop_after_the_end_does_nothing(machine):
    """As when a terminal's Ctrl-C comes from it and, passed on, from the parent: the second finds the run over."""
    monitor = Monitor(VmConfig(machine=machine, timeout_s=0.1))
    assert monitor.run().ended == "timeout"
    monitor.stop("signal 2")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_broken_exit_hook_stops_neither_the_vm_nor_the_others(machine, path):
    """A plugin that raises on an exit is counted and left alone; the exits are recorded all the same."""

    class Broken:
        @hookimpl
        def rondo_vmm_exit_bind(self):
            def on_exit(*_):
                raise RuntimeError("no")

            return on_exit

    plugins = monitor_plugins()
    plugins.register(Broken(), "broken")
    with Store(path, VMM_SCHEMAS) as store:
        monitor = Monitor(VmConfig(machine=machine, cmdline="workload_duration=1"), store, None, plugins)
        result = monitor.run()
    assert (result.ended, result.failed_plugins) == ("power-off", {"broken": 1})
    with StoreReader(path) as reader:
        assert sum(d.values[-1] for d in reader.query("vcpu_exits_total")) == sum(result.exits.values())
        assert reader.query("rondo_plugin_failures_total{plugin=broken}")[0].values[-1] == 1


def test_hook_rondo_vmm_started_and_rondo_vmm_stopped(path):
    """A plugin learns of a machine's start and of how it ended."""
    told = []

    class Listener:
        @hookimpl
        def rondo_vmm_started(self, machine, now_ns):
            told.append(("started", machine))

        @hookimpl
        def rondo_vmm_stopped(self, ended):
            told.append(("stopped", ended))

    plugins = Plugins(hookspecs)
    plugins.register(Listener(), "listener")
    plugins.bind("rondo_vmm_started", machine="kvm", now_ns=1)
    plugins.bind("rondo_vmm_stopped", ended="power-off", now_ns=2)
    assert told == [("started", "kvm"), ("stopped", "power-off")]


def test_a_missing_or_forbidden_kvm_is_one_clear_line(tmp_path):
    """No device, and no permission for it, name the device, the reason and the mend."""
    with pytest.raises(KvmError, match="No such file or directory; this host has no KVM; use --machine soft"):
        KvmVm(GuestMemory(1 << 20), str(tmp_path / "kvm"))
    forbidden = KvmError("/dev/kvm", 13)
    assert str(forbidden) == "/dev/kvm: Permission denied; join the group kvm, or use --machine soft"
    assert usable(str(tmp_path / "kvm")) == f"{tmp_path / 'kvm'} cannot be used (No such file or directory)"
    assert usable("/dev/null") == "/dev/null cannot be used (KVM_CREATE_VM: Inappropriate ioctl for device)"


@pytest.mark.binutils
def test_the_bundled_guest_is_what_its_source_makes(tmp_path):
    """A rebuild gives the image that ships, byte for byte, and PROVENANCE.md has its checksum."""
    built = tmp_path / "guest.elf"
    said = subprocess.run(
        ["sh", str(GUEST / "build.sh"), str(built)], check=True, capture_output=True, text=True
    ).stdout
    assert built.read_bytes() == BUNDLED.read_bytes()
    assert said.split()[0] in (GUEST / "PROVENANCE.md").read_text()
