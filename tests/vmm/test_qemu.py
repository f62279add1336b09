"""QEMU as a machine, and QEMUs of others, watched: the Linux guest's whole life in the store, and every way to fail."""

import asyncio
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rondo_cli.main import run
from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.model.schema import DEFAULT_SCHEMAS
from rondo_vmm import VmConfig
from rondo_vmm.errors import BootError, QmpError, VmmError
from rondo_vmm.hookspecs import QemuFacts
from rondo_vmm.plugins import qmp_block, qmp_memory, qmp_vcpu
from rondo_vmm.plugins.totals import FollowingCounter
from rondo_vmm.qemu import process
from rondo_vmm.qemu.kernel import check_kernel
from rondo_vmm.qemu.machine import QemuMonitor
from rondo_vmm.qemu.qmp import Qmp
from rondo_vmm.qemu.schemas import qemu_schemas
from rondo_vmm.qemu.watch import QemuWatcher

GUEST = Path(__file__).parents[2] / ".tools" / "guest"
KERNEL, INITRD = GUEST / "vmlinuz", GUEST / "initramfs.cpio"
SMALL_TIERS = (Tier("1s", "60s"),)
PHASES = ("cpu", "idle", "io", "mixed")


class Console:
    """Takes the serial console's bytes, and notes when each line was begun to be said."""

    def __init__(self):
        self.text = ""
        self.at_ns = {}

    def __call__(self, data):
        self.text += data.decode(errors="replace")
        for line in self.text.splitlines():
            self.at_ns.setdefault(line, wall_ns())

    def number(self, key):
        """Give the number behind `key=` on the console."""
        return int(self.text.partition(f"{key}=")[2].split()[0])


def per_second(reader, selector):
    """Give what a counter grew by in each second: second -> amount."""
    data = reader.query(selector, tier=0)[0]
    seconds = (data.timestamps_ns // NS_PER_S).tolist()
    return dict(zip(seconds[1:], np.diff(data.values).tolist(), strict=True))


def assert_every_second(data, lived, stalls):
    """See a point in each second of that life; a counter also has one in that in which it was declared."""
    declared = int(data.timestamps_ns[0] // NS_PER_S)
    stalls.assert_every_second(data, range(min(declared, lived[0]), lived[-1] + 1))


@pytest.mark.qemu
@pytest.mark.linux_guest
def test_a_linux_guest_leaves_its_whole_life_and_its_phases_can_be_told_apart(tmp_path, path, stalls):
    """Every second has its points; blocks are asked for in the I/O phases only; bytes are those that dd counted."""
    console, disk = Console(), tmp_path / "disk.img"
    config = VmConfig("qemu", KERNEL, "workload_duration=14", 256, 200, INITRD, disks=(disk,))
    with Store(path, qemu_schemas()) as store:
        result = QemuMonitor(config, store, console).run()
        store.close(result.ended)
    assert (result.ended, result.error, result.exit_status, result.failed_plugins) == ("power-off", "", 0, {})
    assert disk.stat().st_size == 64 << 20
    lines = [line for line in console.text.splitlines() if line.startswith("rondo-guest")]
    assert [line for line in lines if "phase" in line] == [f"rondo-guest phase {name}" for name in PHASES]
    assert lines[-1] == "rondo-guest done"
    with StoreReader(path) as reader:
        lived = list(range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))
        for data in reader.query('{__name__!~"rondo_.*|balloon_.*"}', tier=0, fn=None):
            assert_every_second(data, lived, stalls)
        assert reader.query("balloon_available_bytes")[0].values[-1] > 64 << 20

        began = [console.at_ns[f"rondo-guest phase {name}"] for name in PHASES] + [result.ended_ns]
        # A sample is taken as its second begins, and tells of the second before: these lie in one phase as a whole.
        whole = {
            name: stalls.without(range(since // NS_PER_S + 2, until // NS_PER_S + 1))
            for name, since, until in zip(PHASES, began, began[1:], strict=False)
        }
        requests = per_second(reader, 'blk_requests_total{op="write"}')
        cpu = per_second(reader, "vcpu_cpu_seconds_total")
        steal = per_second(reader, "vcpu_steal_seconds_total")
        mean = {
            name: {
                "requests": np.mean([requests[second] for second in seconds]),
                "busy": np.mean([cpu[second] + steal[second] for second in seconds]),
            }
            for name, seconds in whole.items()
            if seconds
        }
        if len(mean) == len(PHASES):  # no phase was wholly stalled
            assert mean["cpu"]["requests"] == 0
            assert mean["idle"]["requests"] < 0.2 * mean["io"]["requests"]  # not 0: a sample may come late
            assert mean["io"]["requests"] > 1.5 * mean["mixed"]["requests"] > 0
            assert mean["idle"]["busy"] < 0.6 * mean["cpu"]["busy"]

        written = reader.query('blk_bytes_total{direction="write"}')[0]
        read = reader.query('blk_bytes_total{direction="read"}', tier=0)[0]
        assert written.values[-1] == console.number("written") > 0
        # What firmware and kernel read before, in search of partitions, is what stands there when the CPU burst ends.
        before = read.values[np.searchsorted(read.timestamps_ns // NS_PER_S, began[1] // NS_PER_S)]
        assert read.values[-1] - before == console.number("read") > 0
        assert before >= console.number("probed")
        assert reader.runs()[-1].ended == "power-off"


@pytest.mark.parametrize(("took_ns", "accelerator"), [(605.0, "tcg"), (0.3, "kvm")])
def test_an_emulated_kvm_is_left_alone(monkeypatch, tmp_path, took_ns, accelerator):
    """QEMU's own emulator boots Linux in seconds where a /dev/kvm that is itself emulated takes minutes."""
    spawned = []

    class Started:
        status = None

    async def spawn(_config, accelerator, _sink, _stopped):
        spawned.append(accelerator)
        return Started()

    kernel = tmp_path / "vmlinuz"
    monkeypatch.setattr(process, "_spawn", spawn)
    monkeypatch.setattr(process, "check_kernel", lambda path: path)
    monkeypatch.setattr(process.shutil, "which", lambda name: name)
    monkeypatch.setattr(process.vm, "usable", lambda: "")
    monkeypatch.setattr(process.speed, "instruction_ns", lambda: took_ns)
    asyncio.run(process.start(VmConfig("qemu", kernel), bytes))
    (chosen,) = spawned
    assert chosen.name == accelerator
    assert accelerator == "kvm" or chosen.why == "/dev/kvm is itself emulated here, 605 ns an instruction"


@pytest.mark.kvm
def test_the_time_of_an_instruction_can_be_had_wherever_kvm_can(open_paths):
    """It is measured on the host's own KVM, which a loop of ours does not wear out or leave open."""
    gc.collect()  # what other tests left closes its files now
    before = open_paths("kvm")
    assert process.speed.instruction_ns() > -process.speed.EMULATED_NS
    assert open_paths("kvm") == before


@pytest.mark.qemu
@pytest.mark.linux_guest
def test_a_run_ends_in_order_at_its_timeout(path, capfd):
    """Also where the kernel has not come far; the machine says which accelerator it has, and why."""
    command = ["vmm", "--machine", "qemu", "--kernel", str(KERNEL), "--timeout", "1s", "--store", str(path)]
    assert run(command) == 0
    said = capfd.readouterr().err
    assert "accelerator tcg: " in said or "accelerator kvm: /dev/kvm can be used" in said
    assert "rondo: timeout after " in said
    with StoreReader(path) as reader:
        assert reader.runs()[-1].ended == "timeout"
        assert len(reader.query("vmm_uptime_seconds", tier=0)[0]) >= 2


@pytest.mark.qemu
@pytest.mark.linux_guest
def test_a_disk_in_use_and_a_killed_qemu_are_said_in_one_line(tmp_path, path, stalls):
    """The second machine at a disk is refused; the first, killed, is a failed run whose store is whole."""
    config = VmConfig("qemu", KERNEL, "", 256, 60, INITRD, disks=(tmp_path / "disk.img",))
    with Store(path, qemu_schemas()) as store:
        monitor = QemuMonitor(config, store)
        with pytest.raises(VmmError, match=r"disk\.img: another process uses this disk; stop it, or give another"):
            QemuMonitor(config)
        pid = monitor._qemu.pid
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        result = monitor.run()
        store.close(result.error)
    assert (result.ended, result.exit_status) == ("failed", 1)
    assert result.error == f"qemu-system-x86_64: process {pid} ended by signal 9"
    with StoreReader(path) as reader:
        uptime = reader.query("vmm_uptime_seconds", tier=0)[0]
        stalls.assert_every_second(uptime, range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))


@pytest.mark.qemu
@pytest.mark.linux_guest
@pytest.mark.parametrize(("number", "status", "ended"), [(signal.SIGTERM, 143, "signal 15"), (signal.SIGKILL, -9, "")])
def test_qemu_does_not_outlive_a_monitor_that_is_killed(path, number, status, ended):
    """SIGTERM ends both in order; SIGKILL leaves the store with all that was recorded, and no QEMU."""
    command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", "qemu", "--kernel", KERNEL, "--store", path]
    command += ["--cmdline", "console=ttyS0"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout.readline()
        children = Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text().split()
        gone = [os.pidfd_open(int(child)) for child in children]
        assert gone
        monitor.send_signal(number)
        for descriptor in gone:
            assert select.select([descriptor], [], [], 30)[0]
            os.close(descriptor)
        assert monitor.wait(30) == status
    with StoreReader(path) as reader:
        assert reader.runs()[-1].ended == ended


@pytest.mark.qemu
@pytest.mark.linux_guest
def test_a_qemu_that_dies_at_start_is_quoted(tmp_path):
    """Its last line of complaint is the error's."""
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62) + bytes(2000))
    with pytest.raises(VmmError, match=r"ended at start, with exit status 1: .*(ELF|kernel)"):
        QemuMonitor(VmConfig("qemu", kernel, memory_mib=64))


def elf(machine):
    """Make the head of an ELF file for a machine."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine) + bytes(1000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (elf(183), "a kernel for AArch64"),
        (elf(243), "a kernel for RISC-V"),
        (elf(9999), "a kernel for machine 9999"),
        (bytes(56) + b"ARM\x64" + bytes(900), "a kernel for AArch64"),
        (bytes(0x202) + b"HdrS" + bytes(500), "a kernel for 32-bit x86"),
        (b"#!/bin/sh", "not a kernel"),
        (b"", "not a kernel"),
        (b"\x7fELF", "not a kernel"),
    ],
)
def test_a_kernel_of_another_architecture_is_named(tmp_path, data, words):
    """What it is for, and what to give instead."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(data)
    with pytest.raises(BootError, match=f"{words}; give an x86-64 bzImage or vmlinux"):
        check_kernel(kernel)


def test_a_missing_qemu_or_kernel_is_one_line(tmp_path, path, capfd, monkeypatch):
    """Each names what is missing and the mend."""
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["vmm", "--machine", "qemu", "--store", str(path)]
    assert run(command) == 1
    assert "boots Linux only" in capfd.readouterr().err
    assert run([*command, "--kernel", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "rondo: qemu-system-x86_64: not installed; install the package qemu-system-x86, or use --machine kvm or soft"
    ]
    for option, words in (
        (["--emulated-host"], "emulates no /dev/kvm"),
        (["--guest-samples"], "takes no samples of the guest"),
        (["--input", "-"], "reads no console"),
    ):
        assert run([*command, *option]) == 2
        assert words in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "console=ttyS0 panic=-1 quiet"),
        ("a b", "console=ttyS0 panic=-1 quiet a b"),
        ("console=tty0", "panic=-1 console=tty0"),
        ("netconsole=@10.0.0.1/,@10.0.0.2/", "console=ttyS0 panic=-1 quiet netconsole=@10.0.0.1/,@10.0.0.2/"),
        ("no.console=1 panic=5", "console=ttyS0 quiet no.console=1 panic=5"),
        ('a="b console=x"', 'console=ttyS0 panic=-1 quiet a="b console=x"'),
        ("a -- console=x", "console=ttyS0 panic=-1 quiet a -- console=x"),
        ("-- console=x", "console=ttyS0 panic=-1 quiet -- console=x"),
        ("panic_print=1 console=ttyS1,9600", "panic=-1 panic_print=1 console=ttyS1,9600"),
    ],
)
def test_what_a_kernel_is_told_is_looked_for_as_words(given, words):
    """A console that the user names takes the place of ours; what only looks like one does not."""
    assert process.kernel_command_line(given) == words


PVPANIC = bytes.fromhex("66ba0505b001ee")  # mov dx,0x505; mov al,1; out dx,al
RESET = bytes.fromhex("b0fee664")  # by the keyboard controller
SPIN = b"\xeb\xfe"


def say(text):
    """Make code that writes a text to the serial port."""
    return bytes.fromhex("66baf803") + b"".join(bytes((0xB0, byte, 0xEE)) for byte in text.encode())


@pytest.mark.parametrize(
    ("machine", "code", "ended", "words"),
    [
        pytest.param("qemu", PVPANIC + SPIN, "panic", "pvpanic", marks=pytest.mark.qemu),
        *(
            pytest.param(machine, say(text) + then, ended, words, marks=marks)
            for machine, marks in (
                ("qemu", pytest.mark.qemu), ("kvm", pytest.mark.kvm), ("soft", pytest.mark.emulator)
            )
            for text, then, ended, words in (
                ("[ 1.0] Kernel panic - not syncing: no init\n---[ end Kernel panic - not syncing: no init ]---\n",
                 RESET + SPIN, "panic", "Kernel panic - not syncing: no init"),
                ("Kernel panic - not syncing: stuck\n", SPIN, "panic", "Kernel panic - not syncing: stuck"),
                ("a kernel panic\n", RESET + SPIN, "reset", ""),
                ("Kernel panic - not syncing: of last week\n" + "\n" * 201, RESET + SPIN, "reset", ""),
            )
        ),
    ],
)  # fmt: skip
def test_a_panic_is_a_word_and_a_status_of_its_own(guests, tmp_path, path, capfd, machine, code, ended, words):
    """By its device or by the line on its console, whatever the kernel does then; a log that goes on is no panic."""
    kernel = tmp_path / "kernel"
    guests.kernel(code, kernel, pvh=True) if machine == "qemu" else guests.bare(code, kernel)
    timeout = "3s" if words.endswith("stuck") else "60s"
    command = ["vmm", "--machine", machine, "--kernel", str(kernel), "--store", str(path), "--timeout", timeout]
    assert run(command) == (3 if ended == "panic" else 0)
    assert f"rondo: {ended} after" in capfd.readouterr().err
    with StoreReader(path) as reader:
        on_record = reader.runs()[-1].ended
    assert on_record.startswith(ended)
    assert words in on_record


# -- watching


@pytest.fixture
def qemu(tmp_path):
    """Start a QEMU of someone else's, without a guest, with a disk and two monitors; give (process, one, other)."""
    sockets = [tmp_path / "one.qmp", tmp_path / "two.qmp"]
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    command = ["qemu-system-x86_64", "-M", "pc,accel=tcg", "-m", "32", "-nodefaults", "-display", "none"]
    command += ["-drive", f"id=data,file={disk},format=raw,if=virtio", "-device", "virtio-balloon-pci"]
    for each in sockets:
        command += ["-qmp", f"unix:{each},server=on,wait=off"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not all(each.exists() for each in sockets):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process, *sockets
    process.kill()
    process.communicate()


def ask(path, *commands):
    """Give QEMU commands through a monitor."""

    async def talk():
        qmp = await Qmp.connect(str(path), "test", 30)
        for command in commands:
            await qmp.ask(command)
        await qmp.close()

    asyncio.run(talk())


class Ticks:
    """A plugin that calls back when a QEMU's replies were recorded."""

    def __init__(self, call):
        self.call = call

    def rondo_qmp_bind(self, declare, config, qemu):
        return {"name": ("query-name", {}), "nonsense": ("no-such-command", {})}, self.call


def watched(call):
    """Give the plugins that watch a QEMU, and one more that calls back."""
    from rondo_core import hookimpl
    from rondo_vmm.qemu.recording import qemu_plugins

    plugins = qemu_plugins()
    ticks = Ticks(call)
    Ticks.rondo_qmp_bind = hookimpl(Ticks.rondo_qmp_bind)
    plugins.register(ticks, "ticks")
    return plugins


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("end", "how"), [("quit", "quit"), (signal.SIGTERM, "ended by a signal"), (signal.SIGKILL, "gone")]
)
def test_a_qemu_of_someone_else_is_watched_until_it_ends(qemu, path, end, how, stalls):
    """How it ended is on record, its last second has its points, and so has every one before it."""
    process, mine, other = qemu
    replies = []

    def call(answered, now_ns):
        replies.append(answered)
        if len(replies) == 2:
            if end == "quit":
                threading.Thread(target=ask, args=(other, "stop", "cont", "quit")).start()
            else:
                process.send_signal(end)

    watcher = QemuWatcher(mine)
    assert watcher.watched.facts.pid == process.pid
    assert watcher.watched.facts.balloon
    with Store(path, watcher.watched.schemas) as store:
        result = watcher.run(store, watched(call), timeout_s=60)
        store.close(result.ended)
    assert (result.ended, result.exit_status, result.failed_plugins) == (how, 0, {})
    assert "name" in replies[0]
    assert "nonsense" not in replies[0]
    with StoreReader(path) as reader:
        lived = list(range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))
        for name in ("vmm_uptime_seconds", "vmm_cpu_seconds_total", "vcpu_cpu_seconds_total", "blk_requests_total"):
            assert_every_second(reader.query(name, tier=0)[0], lived, stalls)
        assert reader.query("vm_memory_size_bytes")[0].values[-1] == 32 << 20
        assert reader.query("vmm_rss_bytes")[0].values[-1] > 2**20
        if end == "quit":
            events = {dict(d.series.labels)["event"]: d.values[-1] for d in reader.query("vm_events_total")}
            assert (events["stop"], events["resume"], events["shutdown"]) == (1, 1, 1)


@pytest.mark.qemu
def test_a_lost_monitor_is_connected_again(qemu, tmp_path, path):
    """What stands between may break the connection; the watch goes on until the process ends."""
    process, mine, _ = qemu
    between = socket.socket(socket.AF_UNIX)
    between.bind(str(tmp_path / "between"))
    between.listen()
    connections = []

    def forward():
        while len(connections) < 2:
            client, _ = between.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(mine))
            connections.append((client, server))
            pumps = [threading.Thread(target=pump, args=pair) for pair in ((client, server), (server, client))]
            for each in pumps:
                each.start()
            for each in pumps:
                each.join()
            client.close()
            server.close()

    def pump(source, sink):
        while data := source.recv(65536):
            try:
                sink.sendall(data)
            except OSError:
                return
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    forwarding = threading.Thread(target=forward)
    forwarding.start()
    answered = []

    def call(replies, now_ns):
        answered.append((len(connections), "name" in replies))
        if answered[-1] == (1, True) and len(answered) == 1:
            connections[0][0].shutdown(socket.SHUT_RDWR)
        elif answered[-1] == (2, True):
            process.kill()

    watcher = QemuWatcher(tmp_path / "between")
    with Store(path, watcher.watched.schemas) as store:
        result = watcher.run(store, watched(call), timeout_s=60)
    forwarding.join()
    between.close()
    assert result.ended == "gone"
    assert (2, True) in answered


@pytest.mark.qemu
def test_the_process_is_the_one_at_the_other_end_of_the_monitor(qemu, tmp_path):
    """By the kernel's own word; a monitor that another program passes on says nothing of whose numbers these are."""
    process, mine, _ = qemu
    watcher = QemuWatcher(mine)
    assert watcher.watched.facts.pid == process.pid
    watcher.close()
    with socket.socket(socket.AF_UNIX) as between:
        between.bind(str(tmp_path / "between"))
        between.listen()

        def pass_on():
            client, _ = between.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(mine))
            with client, server:
                while ready := select.select([client, server], [], [])[0]:
                    for each in ready:
                        data = each.recv(65536)
                        if not data:
                            return
                        (server if each is client else client).sendall(data)

        passing = threading.Thread(target=pass_on)
        passing.start()
        watcher = QemuWatcher(tmp_path / "between")
        assert watcher.watched.facts.pid == 0
        watcher.close()
        passing.join()


@pytest.mark.qemu
def test_a_silent_monitor_costs_its_values_only(qemu, path, stalls):
    """A QEMU that hangs is recorded on from its process; when it answers again, so are its values."""
    process, mine, _ = qemu
    silent = []

    def call(replies, now_ns):
        silent.append("name" not in replies)
        if len(silent) == 1:
            process.send_signal(signal.SIGSTOP)
        elif silent[-1]:
            process.send_signal(signal.SIGCONT)
        elif any(silent):
            process.kill()

    watcher = QemuWatcher(mine)
    with Store(path, watcher.watched.schemas) as store:
        result = watcher.run(store, watched(call), timeout_s=60)
    assert result.ended == "gone"
    assert any(silent)
    with StoreReader(path) as reader:
        lived = list(range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))
        stalls.assert_every_second(reader.query("vmm_uptime_seconds", tier=0)[0], lived)


@pytest.mark.qemu
def test_what_is_no_monitor_is_said_in_one_line(qemu, tmp_path, path, capfd):
    """A missing socket, one without a listener, one that speaks something else, and one that another client holds."""
    assert run(["watch", "qemu", "--qmp", str(tmp_path / "none"), "--store", str(path)]) == 1
    assert "no such socket; start QEMU with -qmp" in capfd.readouterr().err
    other = tmp_path / "other"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(other))
        assert run(["watch", "qemu", "--qmp", str(other), "--store", str(path)]) == 1
        assert "no one listens there" in capfd.readouterr().err
        server.listen()

        def greet():
            client, _ = server.accept()
            client.sendall(b"220 mail.example ESMTP\r\n")
            client.close()

        greeting = threading.Thread(target=greet)
        greeting.start()
        assert run(["watch", "qemu", "--qmp", str(other), "--store", str(path)]) == 1
        greeting.join()
        assert "does not speak QMP" in capfd.readouterr().err
    assert not path.exists()
    _, mine, _ = qemu
    watcher = QemuWatcher(mine)
    with pytest.raises(QmpError, match=r"no greeting in 0\.2 s; another client holds this monitor"):
        asyncio.run(Qmp.connect(str(mine), str(mine), 0.2))
    watcher.close()


# -- recorders, with replies as a QEMU under KVM gives them: such a host cannot be counted on here


def test_hook_rondo_qmp_bind_exits_under_kvm_are_sorted_by_reason(store):
    """rondo_qmp_bind of the vCPU recorder: what KVM counted before is not ours; what is left of all exits is "other"."""
    questions, on_replies = qmp_vcpu.rondo_qmp_bind(store, QemuFacts(0))
    assert questions["stats"][0] == "query-stats"
    names = ("exits", "io_exits", "mmio_exits", "halt_exits")

    def replies(*counts):
        stats = [{"name": name, "value": count} for name, count in zip(names, counts, strict=True)]
        stats.append({"name": "halt_wait_hist", "value": [0, 1, 2]})
        cpus = [{"cpu-index": 0, "thread-id": 7, "qom-path": "/machine/unattached/device[0]"}]
        return {"vcpus": cpus, "stats": [{"provider": "kvm", "qom-path": cpus[0]["qom-path"], "stats": stats}]}

    for counts in ((100, 50, 20, 10), (200, 90, 30, 15), (10, 5, 0, 0)):
        on_replies(replies(*counts), store.clock())
    on_replies({}, store.clock())
    found = {
        reason: store.counter("vcpu_exits_total", reason=reason, vcpu=0).value
        for reason in ("io", "mmio", "hlt", "other")
    }
    assert found == {"io": 45, "mmio": 10, "hlt": 5, "other": 45 + 5}


def test_a_disk_is_named_by_its_id_and_followed_from_when_it_is_seen(path, clock):
    """By drive, device or node, in this order; what is beyond the store's room is left out, and nothing raises."""
    with Store(path, [Schema("counters", "counter", 16, SMALL_TIERS)], clock=clock) as store:
        _, on_replies = qmp_block.rondo_qmp_bind(store)
        stats = {"rd_bytes": 4096, "rd_operations": 1, "failed_rd_operations": 2, "invalid_wr_operations": 1}
        device = "/machine/peripheral/disk1/virtio-backend"
        found = [{"device": "", "qdev": device, "node-name": "n1", "stats": stats}]
        found += [{"node-name": "n2", "stats": stats}, {"device": "id", "node-name": "n3", "stats": stats}, {}]
        on_replies({"blockstats": found}, clock())
        found[0]["stats"] = {**stats, "rd_bytes": 8192, "failed_rd_operations": 4}
        on_replies({"blockstats": found}, clock())
        assert store.counter("blk_bytes_total", direction="read", disk="disk1").value == 4096
        assert store.counter("blk_errors_total", disk="disk1").value == 2
        assert {dict(each.labels)["disk"] for each in store.view.series("blk_requests_total")} == {"disk1", "n2"}


def test_what_is_hotplugged_is_followed_from_its_first_request(store, clock):
    """What was there before counts from when it is seen; a disk or processor that comes later from 0."""
    with Store(store.path.parent / "room.rondo", qemu_schemas(2, 2), clock=clock) as roomy:
        _, on_disks = qmp_block.rondo_qmp_bind(roomy)
        _, on_cpus = qmp_vcpu.rondo_qmp_bind(roomy, QemuFacts(0))

        def disk(name, reads, node="n"):
            return {
                "device": "",
                "qdev": f"/machine/peripheral/{name}",
                "node-name": node,
                "stats": {"rd_bytes": reads},
            }

        def cpus(*exits):
            found = [{"cpu-index": index, "thread-id": 7, "qom-path": f"/{index}"} for index in range(len(exits))]
            stats = [
                {"qom-path": f"/{n}", "stats": [{"name": "exits", "value": count}]} for n, count in enumerate(exits)
            ]
            return {"vcpus": found, "stats": stats}

        on_disks({}, clock())
        on_disks({"blockstats": [disk("old", 4096)]}, clock())
        on_disks({"blockstats": [disk("old", 8192), disk("new", 512)]}, clock())
        on_cpus(cpus(100), clock())
        on_cpus(cpus(150, 30), clock())
        read = {name: roomy.counter("blk_bytes_total", direction="read", disk=name).value for name in ("old", "new")}
        exits = [roomy.counter("vcpu_exits_total", reason="other", vcpu=vcpu).value for vcpu in (0, 1)]
    assert read == {"old": 4096, "new": 512}
    assert exits == [50, 30]


def test_a_snapshot_is_no_new_disk(store, clock):
    """Another node behind the same device: its totals go on, and are not counted once more."""
    with Store(store.path.parent / "room.rondo", qemu_schemas(1, 1), clock=clock) as roomy:
        _, on_replies = qmp_block.rondo_qmp_bind(roomy)
        for node, total in (("base", 4096), ("overlay", 5000)):
            device = {"device": "", "qdev": "/machine/unattached/device[9]", "node-name": node}
            on_replies({"blockstats": [{**device, "stats": {"rd_bytes": total}}]}, clock())
        assert [dict(each.labels)["disk"] for each in roomy.view.series("blk_errors_total")] == ["base"]
        assert roomy.counter("blk_bytes_total", direction="read", disk="base").value == 904


def test_a_disk_that_the_store_has_no_room_for_is_said_once(path, clock, caplog):
    """By its name, and counted by the store itself."""
    with Store(path, [Schema("counters", "counter", 11, SMALL_TIERS)], clock=clock, strict=True) as store:
        _, on_replies = qmp_block.rondo_qmp_bind(store)
        stats = [{"device": name, "stats": {"rd_bytes": 1}} for name in ("one", "two")]
        for _ in range(3):
            on_replies({"blockstats": stats}, clock())
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["disk two"]


def test_statistics_of_a_balloon_are_points_when_they_are_new(clock, path):
    """By the time that QEMU took them at: an old answer at the beginning is no news, nor is the same one again."""
    with Store(path, DEFAULT_SCHEMAS, clock=clock) as store:
        _, on_replies = qmp_memory.rondo_qmp_bind(store, QemuFacts(0, "/machine/peripheral/balloon0"))
        now_s = clock() // NS_PER_S
        for second, updated in enumerate((now_s - 60, now_s - 60, now_s + 2, now_s + 2, now_s - 7)):
            stats = {"stat-free-memory": 100 + second}
            on_replies({"guest": {"last-update": updated, "stats": stats}}, clock())
            clock.advance(1)
        on_replies({}, clock())
        found = store.query("balloon_free_bytes", tier=0, fn="last")[0]
    assert found.values.tolist() == [102, 104]


def test_a_balloon_that_tells_nothing_leaves_its_series_absent(store):
    """Before the guest's driver answers, and for statistics that it does not have, there is no value, rather than 0."""
    with Store(store.path.parent / "room.rondo", DEFAULT_SCHEMAS) as roomy:
        _, on_replies = qmp_memory.rondo_qmp_bind(roomy, QemuFacts(0, "/machine/peripheral/balloon0"))
        on_replies({"events": ["STOP", "UNHEARD_OF"], "guest": {"last-update": 0, "stats": {}}}, wall_ns())
        told = {"stat-free-memory": 5, "stat-disk-caches": 2**64 - 1, "stat-new": 7}
        on_replies({"guest": {"last-update": 9, "stats": told}, "balloon": {"actual": 64}}, wall_ns())
        assert roomy.query("balloon_free_bytes", fn="last")[0].values.tolist() == [5]
        assert len(roomy.query("balloon_disk_caches_bytes")[0]) == 0
        assert roomy.counter("vm_events_total", event="other").value == 1


def test_a_total_that_starts_again_is_followed(store):
    """From 0, or from where it stood when it was first seen; a fall is a new start, never a negative amount."""
    fresh, seen = store.counter("a_total"), store.counter("b_total")
    for total in (FollowingCounter(fresh), FollowingCounter(seen, None)):
        for value in (10, 15, 3, 4):
            total.set(value, store.clock())
    assert (fresh.value, seen.value) == (19, 9)
