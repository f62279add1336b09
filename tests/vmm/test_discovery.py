"""Machines found by their monitors' sockets: a life each, whatever lies beside them, and which life was before."""

import array
import asyncio
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.retention import Bound
from rondo_vmm.discovery.lives import MachineDiscovery
from rondo_vmm.discovery.probe import metrics_of
from rondo_vmm.discovery.sockets import LAST_RETRY_S, SocketDirectory
from rondo_vmm.firecracker.api import FirecrackerApi
from rondo_vmm.plugins.taps import TapTraffic, taps_of
from rondo_vmm.qemu import watch as watch_qemu
from rondo_vmm.qemu.qmp import Qmp

FAKE = Path(__file__).with_name("fake_firecracker.py")
QEMU = ["qemu-system-x86_64", "-M", "pc,accel=tcg", "-m", "32", "-nodefaults", "-display", "none"]
UUID = "6c1b8d5e-52d4-4c0c-9b1f-4b8a6d0e7a11"


class Watch:
    """A discovery on a thread of its own; what it says can be waited for."""

    def __init__(self, directory, stores, bound=None):
        self.lines = []
        self.said = threading.Condition()
        self.discovery = MachineDiscovery(directory, stores, bound or Bound(), self.say)
        self.thread = threading.Thread(target=self.discovery.run, args=(120,))

    def say(self, line):
        with self.said:
            self.lines.append(line)
            self.said.notify_all()

    def wait_for(self, *words, count=1):
        """Wait for lines that have all these words, and give the first."""

        def found():
            return [line for line in self.lines if all(word in line for word in words)]

        with self.said:
            assert self.said.wait_for(lambda: len(found()) >= count, 60), self.lines
            return found()[0]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.discovery.stop()
        self.thread.join()


@pytest.fixture
def processes():
    """Start programs; those that are left are killed."""
    started = []

    def start(*command, **environment):
        process = subprocess.Popen([str(each) for each in command], env={**os.environ, **environment})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def fake(processes, directory, name, flushes):
    (directory / f"{name}.metrics").touch()
    command = sys.executable, FAKE, directory / f"{name}.api", directory / f"{name}.metrics", "i8042.reset_count=1"
    return processes(*command, FAKE_FLUSHES=str(flushes))


def info_of(store):
    """Give the labels of `vm_info`, and how the last run ended."""
    with StoreReader(store) as reader:
        (found,) = reader.query("vm_info", tier=0)
        return dict(found.series.labels), reader.runs()[-1].ended


def ask(path, command, arguments=None):
    """Give QEMU a command through a monitor, and what it returns."""

    async def talk():
        qmp = await Qmp.connect(str(path), "test", 30)
        returned = await qmp.ask(command, arguments)
        await qmp.close()
        return returned

    return asyncio.run(talk())


def test_each_machine_is_a_life_and_a_bad_socket_is_a_line(tmp_path, monkeypatch, processes):
    """One that no one listens at, and one that says nothing and is asked nothing, leave those beside them whole."""
    monkeypatch.chdir(tmp_path)
    run_dir, stores = Path("run"), Path("vms")
    (run_dir / "deep").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as silent:
        dead.bind("run/dead.sock")
        silent.bind("run/silent.sock")
        silent.listen()
        with Watch(run_dir, stores) as watch:
            watch.wait_for("run/dead.sock", "refused")
            watch.wait_for("run/silent.sock", "no monitor")
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(100) == b""
            fake(processes, run_dir, "one", 2)
            fake(processes, run_dir / "deep", "two", 3)
            watch.wait_for("run/one.api: reset")
            watch.wait_for("run/deep/two.api: reset")
    assert sum("dead.sock" in line for line in watch.lines) == 1
    assert watch.discovery.n_lives == 2
    found = sorted(info_of(store)[0]["vm"] for store in stores.iterdir())
    assert found == ["one", "two"]
    for store in stores.iterdir():
        info, ended = info_of(store)
        assert ended == "reset"
        with StoreReader(store) as reader:
            total = reader.query("vcpu_exits_total{reason=io}", tier=0)[0].values[-1]
        assert total == 10 * {"one": 3, "two": 4}[info["vm"]]


def test_stores_of_ended_machines_beyond_the_bound_are_folded(tmp_path, processes):
    """What they counted is in the store of the ended."""
    run_dir, stores = tmp_path / "run", tmp_path / "vms"
    run_dir.mkdir()
    with Watch(run_dir, stores, Bound(keep_last=0)) as watch:
        fake(processes, run_dir, "one", 1)
        watch.wait_for("one.api: reset")
    assert [each.name for each in stores.iterdir() if each.suffix == ".rondo"] == ["ended.rondo"]
    with StoreReader(stores / "ended.rondo") as reader:
        assert reader.query("vcpu_exits_total{reason=io}", fn="last")[0].values[-1] == 20


@pytest.mark.qemu
def test_a_machine_that_is_migrated_ends_here_and_names_its_life_before_there(tmp_path, monkeypatch, processes):
    """Two QEMUs, each with two monitors below the directory, are two lives; the second has the first one's name."""
    monkeypatch.chdir(tmp_path)
    run_dir, stores = Path("run"), Path("vms")
    run_dir.mkdir()
    known, reason_of_stop = threading.Event(), watch_qemu._reason_of_stop

    async def tell(qmp):
        reason = await reason_of_stop(qmp)
        known.set()
        return reason

    monkeypatch.setattr(watch_qemu, "_reason_of_stop", tell)
    identity = ["-name", "web/1", "-uuid", UUID]
    with Watch(run_dir, stores) as watch:
        processes(
            *QEMU, *identity, "-qmp", "unix:run/a.qmp,server=on,wait=off", "-qmp", "unix:a2.qmp,server=on,wait=off"
        )
        before = Path(watch.wait_for("run/a.qmp", "recording").rpartition("recording to ")[2])
        monitors = ["-qmp", "unix:run/b.qmp,server=on,wait=off", "-qmp", "unix:run/b2.qmp,server=on,wait=off"]
        processes(*QEMU, *identity, *monitors, "-incoming", "unix:m.sock")
        after = Path(watch.wait_for("run/b", "recording").rpartition("recording to ")[2])
        ask("a2.qmp", "migrate", {"uri": "unix:m.sock"})
        assert known.wait(60)
        ask("a2.qmp", "quit")
        watch.wait_for("run/a.qmp: migrated")
    assert watch.discovery.n_lives == 2
    assert info_of(before) == ({"vm": "web/1", "uuid": UUID, "origin": "boot"}, "migrated")
    told = {"vm": "web/1", "uuid": UUID, "origin": "migration", "before": before.name}
    assert info_of(after) == (told, "stopped")


def test_a_socket_that_fails_is_tried_less_and_less_often_and_a_new_one_at_once(tmp_path):
    """A symbolic link is not followed; one that was made anew under its name is another."""
    sockets = SocketDirectory(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    first = socket.socket(socket.AF_UNIX)
    first.bind(str(tmp_path / "one"))
    now_s, tries = 0.0, []
    while now_s < 400:
        for _, attempt in sockets.look(now_s):
            tries.append(now_s)
            attempt.fail(now_s)
        now_s += 0.5
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, LAST_RETRY_S, LAST_RETRY_S, LAST_RETRY_S, LAST_RETRY_S, LAST_RETRY_S]
    assert sockets.look(now_s) == []
    (tmp_path / "one").rename(tmp_path / "kept")  # its inode is not given to another
    with socket.socket(socket.AF_UNIX) as second:
        second.bind(str(tmp_path / "one"))
        assert {each.path.name for each, _ in sockets.look(now_s)} == {"one", "kept"}
        assert sockets.look(now_s) == []  # both are watched
    first.close()


def test_the_metrics_of_a_firecracker_are_where_its_command_line_says(tmp_path, processes):
    """With = or without, from its own directory; else beside the socket; else they are not to be had."""
    api = FirecrackerApi(tmp_path / "vm.api")
    sleeping = "import time; time.sleep(600)"
    (tmp_path / "m").touch()
    for option in (["--metrics-path", tmp_path / "m"], [f"--metrics-path={tmp_path / 'm'}"]):
        process = processes(sys.executable, "-c", sleeping, *option)
        api.pid = process.pid
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            pass  # the kernel has it a moment after the program was begun
        assert metrics_of(api).samefile(tmp_path / "m")
    api.pid = os.getpid()
    assert metrics_of(api) is None
    (tmp_path / "vm.metrics").touch()
    assert metrics_of(api) == tmp_path / "vm.metrics"


@pytest.fixture
def tap():
    """Make a tap that this process holds open, and set it up; give its descriptor and name."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no tap can be made here: {error.strerror}")
    # Source: linux/if_tun.h, IFF_TAP | IFF_NO_PI; linux/sockios.h.
    request = array.array("B", struct.pack("16sH22x", b"rondo%d", 0x0002 | 0x1000))
    try:
        fcntl.ioctl(descriptor, 0x400454CA, request)  # TUNSETIFF
        name = request.tobytes()[:16].rstrip(b"\0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", name, 1))  # SIOCSIFFLAGS, IFF_UP
    except OSError as error:
        os.close(descriptor)
        pytest.skip(f"no tap can be made here: {error.strerror}")
    yield descriptor, name.decode()
    os.close(descriptor)


def test_what_a_guest_sends_through_its_tap_is_counted_as_transmitted(tap, path, clock):
    """Found by the kernel's word on what the process has open; what it carried before the watch is not counted."""
    descriptor, name = tap
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + bytes(86)
    os.write(descriptor, frame)
    assert taps_of(os.getpid()) == (name,)
    with Store(path, [Schema("counters", "counter", 8, (Tier("1s", "60s"),))], clock=clock) as store:
        traffic = TapTraffic(store, os.getpid())
        traffic.record(clock())
        for _ in range(3):
            os.write(descriptor, frame)
        clock.advance(1)
        traffic.record(clock())
        labels = {"direction": "transmit", "interface": name}
        assert store.counter("net_packets_total", labels).value == 3
        assert store.counter("net_bytes_total", labels).value == 3 * len(frame)
        assert store.counter("net_errors_total", labels).value == 0


def test_a_directory_is_watched_by_a_command(tmp_path, processes, capfd):
    """Until its timeout, with a line for what it does and one for what came of it."""
    assert run(["watch", "--discover", str(tmp_path), "--store", str(tmp_path / "vms"), "--timeout", "100ms"]) == 0
    first, last = capfd.readouterr().err.splitlines()
    assert str(tmp_path) in first
    assert last == "rondo: timeout; 0 machines recorded"
