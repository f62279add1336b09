"""What disks, memory and the guest's own lines leave in the store, from the driver's chains to the query."""

import struct

import attrs
import pytest

from rondo_core import Plugins, Store, StoreReader, hookimpl
from rondo_core.clock import wall_ns
from rondo_vmm import VmConfig, hookspecs
from rondo_vmm.config import MAX_DISKS
from rondo_vmm.devices.board import Board
from rondo_vmm.devices.virtio.setup import VirtioDevices
from rondo_vmm.errors import ConfigError, DiskError
from rondo_vmm.memory import GuestMemory
from rondo_vmm.observe.guest_line import parse
from rondo_vmm.observe.recording import monitor_plugins
from rondo_vmm.plugins.guest_samples import MALFORMED, RECORDED, REFUSED, UNTIMELY, GuestSamples
from rondo_vmm.schemas import schemas_for, vmm_schemas

NOW_NS = 1_700_000_000 * 10**9
MIB = 1 << 20


@attrs.define
class Whole:
    """A machine's devices, bound to a store, with a driver for each."""

    store: object
    virtio: object
    drivers: dict
    plugins: object
    ticks: list
    board: object

    def tick(self):
        now_ns = wall_ns()
        for tick in self.ticks:
            tick(now_ns)
        self.store.tick(now_ns)


@pytest.fixture
def whole(path, tmp_path, drive):
    """Two disks, a balloon and a console, all of the monitor's plugins bound."""
    config = VmConfig(disks=(tmp_path / "a.img", tmp_path / "b.img"), balloon=True, rng=True, guest_samples=True)
    for disk in config.disks:
        disk.write_bytes(bytes(MIB))
    board = Board(GuestMemory(8 * MIB))
    lines = []
    virtio = VirtioDevices(config, board, lambda number: lambda level: lines.append((number, level)))
    plugins = monitor_plugins()
    with Store(path, schemas_for(config)) as store:
        store.bind_recorders(plugins)
        ticks = virtio.bind(plugins, store)
        drivers = {}
        for name, transport in zip(("vda", "vdb", "rng", "balloon", "console"), virtio.transports, strict=True):
            driver = drive(transport.device)
            driver.memory, driver.transport, driver.free = board.memory, transport, 0x10000 + len(drivers) * 0x80000
            drivers[name] = driver.start()
        yield Whole(store, virtio, drivers, plugins, ticks, board)
        virtio.close()
        assert plugins.failures == {}


def last(path, selector):
    with StoreReader(path) as reader:
        found = list(reader.query(selector, tier=0))
        values = {tuple(value for _, value in sorted(data.series.labels)): data.values for data in found}
        return {labels: kept[-1] for labels, kept in values.items() if len(kept)}


def test_hook_rondo_vmm_block_bind(path, whole):
    """Every request is counted under its op and disk, every byte that was moved under its direction, failures apart."""
    vda, vdb = whole.drivers["vda"], whole.drivers["vdb"]
    vda.block(1, 0, bytes(4096))
    vda.block(0, 0, room=1024)
    vda.block(0, 0, room=512)
    vda.block(4)
    vda.block(8, room=20)
    vda.block(11, 0, struct.pack("<QII", 0, 8, 0))
    vda.block(13, 0, struct.pack("<QII", 0, 8, 0))
    vda.block(99)
    vda.block(0, 2**40, room=512)
    for sector in range(3):
        header = vdb.place(struct.pack("<IIQ", 1, 0, sector))
        vdb.offer(0, vdb.chain(0, [(header, 16, False), (vdb.take(512), 512, False), (vdb.take(1), 1, True)]))
    vdb.notify(0)
    whole.tick()
    counted = last(path, "blk_requests_total{disk=vda}")
    ops = ("read", "write", "flush", "get_id", "discard", "write_zeroes", "other")
    assert {op: value for (_, op), value in counted.items()} == dict(zip(ops, (3, 1, 1, 1, 1, 1, 1), strict=True))
    assert last(path, "blk_bytes_total{disk=vda}") == {("read", "vda"): 1536, ("write", "vda"): 4096}
    assert last(path, "blk_errors_total") == {("vda",): 2, ("vdb",): 0}
    assert last(path, "blk_queue_depth") == {("vda",): 1, ("vdb",): 3}
    with StoreReader(path) as reader:
        durations = {dict(d.series.labels)["disk"]: d for d in reader.query("blk_request_duration_ns", fn="total")}
        assert (durations["vda"].values[-1], durations["vdb"].values[-1]) == (9, 3)
        assert durations["vda"].series.unit == "nanoseconds"


def test_hook_rondo_vmm_memory_bind(path, whole):
    """Size, what of it is resident, and the balloon's state at each tick; what the guest does not tell stays absent."""
    balloon, memory = whole.drivers["balloon"], whole.board.memory
    memory.write(4 * MIB, b"x" * MIB)
    told = balloon.place(struct.pack("<HQHQHQ", 4, 5 * MIB, 2, 7, 6, 2**64 - 1))
    balloon.offer(2, balloon.chain(2, [(told, 30, False)]))
    balloon.notify(2)
    balloon.write(0x104, 3)
    whole.tick()
    assert len(balloon.used(2)) == 1
    assert last(path, "vm_memory_size_bytes") == {(): 8 * MIB}
    assert last(path, "vm_memory_resident_bytes") == {(): memory.resident_bytes()}
    assert MIB <= memory.resident_bytes() < 3 * MIB
    assert last(path, "vm_balloon_size_bytes") == {(): 8 * MIB - 3 * 4096}
    assert last(path, "vm_balloon_target_bytes") == {(): 8 * MIB}
    assert last(path, "balloon_free_bytes") == {(): 5 * MIB}
    assert last(path, "balloon_major_faults_total") == {(): 7}
    assert last(path, "balloon_available_bytes") == {}


def test_hook_rondo_vmm_guest_line_bind(path, whole):
    """A guest's lines become gauges and counters of their own names; bad ones are counted and nothing else."""
    console = whole.drivers["console"]
    text = (
        b'load 0.5\nrequests_total{path="/a"} 17\nrequests_total{path="/a"} 20\nrequests_total{path="/a"} 2\nno\n\xff\n'
    )
    console.run(1, [(console.place(text), len(text), False)])
    whole.tick()
    lines = {key[0]: value for key, value in last(path, "vmm_guest_lines_total").items()}
    assert lines == {"recorded": 4, "malformed": 2, "refused": 0, "untimely": 0}
    assert last(path, "guest_requests_total") == {("/a",): 22}
    assert last(path, "guest_load") == {(): 0.5}


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        (b"a 1", ("a", (), 1.0, None)), (b"a:b_C9 -1.5e3", ("a:b_C9", (), -1500.0, None)), (b"a{} .5 ", ("a", (), 0.5, None)),
        (b'a{x="1",b="2"}   3.  1700000000123', ("a", (("b", "2"), ("x", "1")), 3.0, 1700000000123)),
        (b'a{x="\\"\\\\\\n,}{"} 1', ("a", (("x", '"\\\n,}{'),), 1.0, None)), ('a{x="é"} 1'.encode(), ("a", (("x", "é"),), 1.0, None)),
        (b"", None), (b" ", None), (b"a", None), (b"a ", None), (b" a 1", None), (b"1a 1", None), (b"a nan", None), (b"a inf", None),
        (b"a 1e999", None), (b"a 1e101", None), (b"a 0x10", None), (b"a 1_0", None), (b"a 1 -5", None), (b"a 1 1.5", None), (b"a 1 2 3", None),
        (b'a{x="1} 1', None), (b"a{x=1} 1", None), (b'a{x="1"', None), (b'a{x="1",x="2"} 1', None), (b'a{__x="1"} 1', None),
        (b'a{x="\\t"} 1', None), (b'a{x="1" y="2"} 1', None), (b"a 1\x00", None), (b"\xff 1", None), ("é 1".encode(), None),
        ("a \u0661".encode(), None), (b"a{" + b'x="",' * 9 + b"} 1", None), (b"a" * 129 + b" 1", None), (b"a " + b"1" * 1030, None),
        (b'a{x="' + b"y" * 129 + b'"} 1', None),
    ],
)  # fmt: skip
def test_a_line_is_a_sample_or_it_is_not(line, sample):
    """Names, labels in any order, escapes, a number, a time in ms; nothing that is nearly one."""
    assert parse(line) == sample


def test_a_guest_neither_moves_the_stores_time_nor_fills_it(path):
    """Its times count within a minute; a new series beyond the bound, and a total below 0, are refused."""
    with Store(path, vmm_schemas(guest_samples=True), clock=lambda: NOW_NS) as store:
        samples = GuestSamples(store, 3)
        ms = NOW_NS // 10**6
        for at_ms, outcome in ((ms, RECORDED), (ms - 59_000, RECORDED), (ms - 61_000, UNTIMELY), (ms + 4000, RECORDED)):
            assert samples.take(b"a 1 %d" % at_ms, NOW_NS) == outcome
        for at_ms in (ms + 6000, 10**15 - 1, 0):
            assert samples.take(b"a 1 %d" % at_ms, NOW_NS) == UNTIMELY
        store.tick(NOW_NS)
        assert store.view.query("guest_a", tier=0)[0].timestamps_ns[-1] == NOW_NS
        assert samples.take(b"b_total -1", NOW_NS) == REFUSED
        assert [samples.take(b"c%d 1" % n, NOW_NS) for n in range(3)] == [RECORDED, REFUSED, REFUSED]
        assert samples.take(b"c0 2", NOW_NS) == RECORDED
        assert samples.take(b"gone", NOW_NS) == MALFORMED
        full = GuestSamples(store, 1000)
        outcomes = [full.take(b"d%d 1" % n, NOW_NS) for n in range(100)]
        room = outcomes.count(RECORDED)
        assert 0 < room < 100
        assert outcomes == [RECORDED] * room + [REFUSED] * (100 - room)


def test_a_block_hook_that_raises_stops_neither_the_disk_nor_the_others(path, tmp_path, drive):
    """It is reported once, and left alone; requests go on and are recorded."""

    class Broken:
        @hookimpl
        def rondo_vmm_block_bind(self):
            def on_request(*_):
                raise RuntimeError("no")

            return on_request

    config = VmConfig(disks=(tmp_path / "a.img",))
    config.disks[0].write_bytes(bytes(MIB))
    board = Board(GuestMemory(8 * MIB))
    virtio = VirtioDevices(config, board, lambda number: lambda level: None)
    plugins = Plugins(hookspecs)
    plugins.register(Broken(), "broken")
    plugins.load("rondo.recorders", ["block_io"])
    with Store(path, schemas_for(config)) as store:
        virtio.bind(plugins, store)
        driver = drive(virtio.transports[0].device)
        driver.memory, driver.transport = board.memory, virtio.transports[0]
        driver.start()
        assert [driver.block(0, n, room=512)[0] for n in range(3)] == [0, 0, 0]
        virtio.close()
    assert plugins.failures == {"broken": 1}
    with StoreReader(path) as reader:
        assert reader.query("blk_requests_total{op=read}")[0].values[-1] == 3


def test_devices_that_cannot_be_had_are_one_line(tmp_path):
    """A disk given twice is in use; too many disks are a usage error; nothing stays locked."""
    image = tmp_path / "a.img"
    image.write_bytes(bytes(MIB))
    for paths, error in (((image, image), DiskError), ((tmp_path, image), DiskError)):
        with pytest.raises(error) as caught:
            VirtioDevices(VmConfig(disks=paths), Board(GuestMemory(MIB)), lambda number: lambda level: None)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="at most 4"):
        VmConfig(disks=(image,) * (MAX_DISKS + 1))
    with pytest.raises(ConfigError, match="read-only disk"):
        VmConfig(disk_read_only=True)
    virtio = VirtioDevices(VmConfig(disks=(image,)), Board(GuestMemory(MIB)), lambda number: lambda level: None)
    assert virtio.kernel_parameters() == "virtio_mmio.device=4K@0xd0001000:5"
    virtio.close()
