"""Debian's kernel on /dev/kvm: to its first line always, to its first program and back where there is time for it.

Where /dev/kvm is itself emulated a kernel needs minutes; `make vmm-test-linux` runs all of this.
"""

import os
import threading
from pathlib import Path

import pytest

from rondo_core import Store, StoreReader
from rondo_vmm import VmConfig, run_vm
from rondo_vmm.boot.kernel import read_kernel
from rondo_vmm.monitor import Monitor
from rondo_vmm.schemas import vmm_schemas

TOOLS = Path(__file__).parents[2] / ".tools"
WHOLE = os.environ.get("RONDO_LINUX")
FIRST_LINE_S = 200
WHOLE_S = 3000

pytestmark = [pytest.mark.kvm, pytest.mark.linux_guest]


@pytest.fixture
def vmlinuz():
    return TOOLS / "guest" / "vmlinuz"


def test_the_kernel_is_what_its_headers_say(vmlinuz):
    """A bzImage as it is; unpacked, a vmlinux with a PVH entry."""
    packed, unpacked = read_kernel(vmlinuz), read_kernel(vmlinuz, unpacked=True)
    assert not packed.bare
    assert packed.image.address == 0x1000000
    assert unpacked.image.bits == 64
    assert unpacked.image.pvh_entry
    assert len(unpacked.data) > 3 * len(packed.data)


def test_linux_prints_its_first_line(vmlinuz, path):
    """The kernel names itself and its command line, every exit on the way is recorded, the machine stops when told."""
    text, said = bytearray(), threading.Event()

    def sink(data):
        text.extend(data)
        if any("Command line:" in line for line in text.decode("latin1").split("\n")[:-1]):
            said.set()

    config = VmConfig(
        machine="kvm", kernel=vmlinuz, cmdline="earlyprintk=serial,ttyS0 hello=rondo", memory_mib=128,
        timeout_s=FIRST_LINE_S, emulated_host=True,
    )  # fmt: skip
    with Store(path, vmm_schemas()) as store:
        monitor = Monitor(config, store, sink)
        stopper = threading.Thread(target=lambda: (said.wait(FIRST_LINE_S + 10), monitor.stop()))
        stopper.start()
        result = monitor.run()
        said.set()
        stopper.join()
    assert (result.ended, result.error) == ("stopped", "")
    lines = [line.strip() for line in text.decode("latin1").split("\n")]
    assert "Linux version" in lines[0]
    assert lines[1].endswith("earlyprintk=serial,ttyS0 hello=rondo")
    with StoreReader(path) as reader:
        stored = {dict(d.series.labels)["reason"]: d.values[-1] for d in reader.query("vcpu_exits_total")}
        assert stored == result.exits
        reached = {dict(d.series.labels)["milestone"] for d in reader.query("vmm_milestone_seconds")}
        assert {"first_instruction", "first_byte"} <= reached


@pytest.mark.skipif(not WHOLE, reason="minutes on an emulated /dev/kvm; make vmm-test-linux runs it")
@pytest.mark.binutils
@pytest.mark.timeout(WHOLE_S + 60)
@pytest.mark.parametrize(("vcpus", "protocol"), [(1, "pvh"), (2, "64-bit")])
def test_linux_runs_a_program_and_powers_off(guests, vmlinuz, tmp_path, path, vcpus, protocol):
    """From the kernel to /init, which sees all CPUs and an answer typed at the console, to ACPI's power-off.

    An emulated host runs /init, but may not let it into the kernel: there the way to its first instruction is shown.
    """
    if vcpus > 1 and WHOLE != "real":
        pytest.skip("on an emulated /dev/kvm a kernel waits for its second CPU without end")
    kernel = vmlinuz
    if protocol == "64-bit":
        kernel = tmp_path / "vmlinux"
        kernel.write_bytes(read_kernel(vmlinuz, unpacked=True).data.replace(b"\x12\0\0\0Xen\0", b"\xff\0\0\0Xen\0"))
        assert not read_kernel(kernel).image.pvh_entry
    init = guests.program(guests.assemble("init.S", tmp_path, base=0x401000))
    initrd = tmp_path / "initrd"
    initrd.write_bytes(guests.initramfs(init))
    log = Path(os.environ.get("RONDO_LINUX_LOG", os.devnull)).open("ab", buffering=0)  # noqa: SIM115 - closed below
    console, line = [], bytearray()
    keyboard, typist = os.pipe()

    def sink(byte):
        console.append(byte)
        log.write(byte)
        line.extend(byte)
        if byte == b"\n":
            if b"rondo-guest cpus" in line:
                os.write(typist, b"hello there\n")
            line.clear()

    config = VmConfig(
        machine="kvm", kernel=kernel, initrd=initrd, vcpus=vcpus, memory_mib=256, timeout_s=WHOLE_S,
        cmdline="earlyprintk=serial,ttyS0", emulated_host=WHOLE != "real",
    )  # fmt: skip
    with Store(path, vmm_schemas(vcpus)) as store, log:
        result = Monitor(config, store, sink, source=keyboard).run()
    os.close(typist)
    os.close(keyboard)
    said = b"".join(console).replace(b"\r", b"").decode("latin1")
    assert "Run /init as init process" in said, said[-2000:]
    if WHOLE == "real" or "Attempted to kill init!" not in said:
        assert (result.ended, result.error) == ("power-off", ""), said[-2000:]
        assert f"rondo-guest cpus={vcpus}\n" in said
        assert "rondo-guest heard hello there\n" in said
    with StoreReader(path) as reader:
        for number, counted in enumerate(result.exits_by_vcpu):
            stored = {
                dict(d.series.labels)["reason"]: d.values[-1]
                for d in reader.query(f"vcpu_exits_total{{vcpu={number}}}")
            }
            assert stored == counted
        reached = [dict(d.series.labels)["milestone"] for d in reader.query("vmm_milestone_seconds{milestone=init}")]
        assert reached == ["init"]


def test_a_kernel_that_never_prints_ends_at_its_timeout(vmlinuz, tmp_path):
    """Without a console it is silent; the machine ends in order all the same."""
    result = run_vm(VmConfig(machine="kvm", kernel=vmlinuz, memory_mib=128, timeout_s=0.5, emulated_host=True))
    assert (result.ended, result.exit_status) == ("timeout", 0)
