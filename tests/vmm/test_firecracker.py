"""Firecracker's metrics stream: what of it becomes which series, and that no stream does harm."""

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo_cli.main import run
from rondo_core import Store, StoreReader
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_vmm.errors import ConfigError
from rondo_vmm.firecracker.flush import MAX_LINE_BYTES, parse_flush
from rondo_vmm.firecracker.recorder import firecracker_schemas, position_in
from rondo_vmm.firecracker.watch import FirecrackerWatcher, FlushLines

START_MS = 1_795_000_000_000
AGGREGATE = {"min_us": 1, "max_us": 90}


def flush(second=0, **groups):
    """Make a line in the form that Firecracker 1.x writes, with a disk, an interface and what they did."""
    block = {"read_count": 2, "write_count": 3, "flush_count": 1, "read_bytes": 8192, "write_bytes": 4096}
    block |= {"execute_fails": 1, "invalid_reqs_count": 1, "read_agg": {**AGGREGATE, "sum_us": 500_000}}
    block |= {"write_agg": {**AGGREGATE, "sum_us": 0}, "queue_event_count": 7}
    net = {"rx_bytes_count": 100, "tx_bytes_count": 50, "rx_packets_count": 2, "tx_packets_count": 1}
    net |= {"rx_fails": 0, "tx_fails": 1, "tx_malformed_frames": 1}
    vcpu = {"exit_io_in": 10, "exit_io_out": 20, "exit_mmio_read": 3, "exit_mmio_write": 4, "failures": 0}
    vcpu |= {"exit_io_in_agg": {**AGGREGATE, "sum_us": 1000}, "exit_io_out_agg": {**AGGREGATE, "sum_us": 3000}}
    whole = {
        "utc_timestamp_ms": START_MS + 1000 * second,
        "api_server": {"process_startup_time_us": 12_000, "process_startup_time_cpu_us": 9000},
        "block": block,
        "block_rootfs": block,
        "net": net,
        "net_eth0": net,
        "vcpu": vcpu,
        "uart": {"write_count": 64, "read_count": 0, "error_count": 0},
        "seccomp": {"num_faults": 0},
    }
    return json.dumps({**whole, **groups}).encode() + b"\n"


def totals(path):
    """Give each series' last value, by name and labels."""
    with StoreReader(path) as reader:
        found = reader.query('{__name__!~"rondo_.*"}', fn=None)
        return {(each.series.name, *sorted(dict(each.series.labels).values())): each.values[-1] for each in found}


def test_a_file_is_replayed_each_flush_at_its_own_time(tmp_path, path, capfd):
    """Counters add what each flush brought; every series has its point at the flush's second, and the run its end."""
    file = tmp_path / "metrics"
    file.write_bytes(flush(0) + flush(1) + flush(4))
    assert run(["watch", "firecracker", "--metrics", str(file), "--store", str(path)]) == 0
    assert "end of file" in capfd.readouterr().err
    assert (
        totals(path).items()
        >= {
            ("vcpu_exits_total", "io"): 90,
            ("vcpu_exits_total", "mmio"): 21,
            ("vcpu_exits_total", "other"): 0,
            ("vcpu_exit_seconds_total", "io"): pytest.approx(0.012),
            ("blk_requests_total", "read", "rootfs"): 6,
            ("blk_requests_total", "rootfs", "write"): 9,
            ("blk_requests_total", "flush", "rootfs"): 3,
            ("blk_bytes_total", "read", "rootfs"): 24576,
            ("blk_bytes_total", "rootfs", "write"): 12288,
            ("blk_errors_total", "rootfs"): 6,
            ("blk_request_seconds_total", "read", "rootfs"): pytest.approx(1.5),
            ("net_bytes_total", "eth0", "receive"): 300,
            ("net_errors_total", "eth0", "transmit"): 6,
            ("serial_bytes_total", "write"): 192,
            ("vmm_startup_seconds",): pytest.approx(0.012),
            ("vmm_metrics_lines_total", "taken"): 3,
        }.items()
    )
    with StoreReader(path) as reader:
        exits = reader.query("vcpu_exits_total{reason=io}", tier=0)[0]
        by_second = dict(zip((exits.timestamps_ns // NS_PER_S).tolist(), exits.values.tolist(), strict=True))
        start = START_MS // 1000
        assert (by_second[start], by_second[start + 1], by_second[start + 4]) == (30, 60, 90)
        assert reader.runs()[-1].ended == "end of file"


def test_devices_are_told_apart_and_their_sum_is_not_counted_twice(tmp_path, path):
    """`block` beside `block_<id>` is the sum of them; alone, as older versions write it, it is the disk "all"."""
    both = tmp_path / "metrics"
    line = json.loads(flush())
    del line["block_rootfs"]
    both.write_bytes(flush(block_data={"read_bytes": 1}) + json.dumps(line).encode())
    assert run(["watch", "firecracker", "--metrics", str(both), "--store", str(path)]) == 0
    found = totals(path)
    assert found["blk_bytes_total", "read", "rootfs"] == 8192
    assert found["blk_bytes_total", "data", "read"] == 1
    assert found["blk_bytes_total", "all", "read"] == 8192


def test_a_fifo_is_followed_until_its_writer_ends(tmp_path, path, stalls):
    """Lines may come in pieces; every second has a point while the writer lives, and the store says how it ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    watcher = FirecrackerWatcher(fifo)

    def write():
        with fifo.open("wb", buffering=0) as stream:
            line = flush(0)
            for piece in (line[:100], line[100:] + flush(1)[:-1]):
                stream.write(piece)

    writer = threading.Thread(target=write)
    with Store(path, firecracker_schemas(), clock=watcher.clock) as store:
        writer.start()
        result = watcher.run(store, timeout_s=60)
        store.close(result.ended)
    writer.join()
    assert (result.ended, result.exit_status) == ("gone", 0)
    assert totals(path)["vcpu_exits_total", "io"] == 60
    with StoreReader(path) as reader:
        uptime = reader.query("vmm_uptime_seconds", tier=0)[0]
        stalls.assert_every_second(uptime, range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))


def test_what_is_no_flush_is_counted_and_passed_over(tmp_path, path):
    """Garbage, other JSON, lines without end and numbers that cannot be: the flushes between them are still taken."""
    garbage = [
        b"\xff\xfe\x00", b"{", b"[1, 2]", b"3", b"null", b"{}", b"[" * 100_000, b'{"vcpu": 3}',
        b'{"vcpu": {"exit_io_in": ' + b"9" * 5000 + b"}}",
    ]  # fmt: skip
    strange = [
        b'{"vcpu": {"exit_io_in": 1e999, "exit_io_out": -4, "exit_mmio_read": true, "failures": NaN}}',
        b'{"utc_timestamp_ms": 9e18, "vcpu": {"exit_io_in": "7", "exit_io_out": null, "failures": [1]}}',
        b'{"utc_timestamp_ms": 1, "block_a b": {"read_bytes": 5}, "block": [], "net": 7}',
    ]
    file = tmp_path / "metrics"
    long = b"x" * (3 * MAX_LINE_BYTES)
    file.write_bytes(b"\n".join([*garbage, flush(0)[:-1], long, *strange, flush(1)[:-1], long]))
    assert run(["watch", "firecracker", "--metrics", str(file), "--store", str(path)]) == 0
    found = totals(path)
    assert found["vcpu_exits_total", "io"] == 60
    assert found["vcpu_exits_total", "mmio"] == 14
    assert found["vmm_metrics_lines_total", "too_long"] == 2
    assert found["vmm_metrics_lines_total", "garbled"] + found["vmm_metrics_lines_total", "taken"] == 14


def test_a_stream_cannot_bring_more_series_than_there_is_room_for(tmp_path, path):
    """Devices under ever new names are left out when the store is full; those that it knows are recorded on."""
    file = tmp_path / "metrics"
    lines = [json.dumps({f"block_{n}": {"read_bytes": 1}, "vcpu": {"exit_io_in": 1}}) for n in range(2000)]
    file.write_text("\n".join(lines))
    assert run(["watch", "firecracker", "--metrics", str(file), "--store", str(path)]) == 0
    found = totals(path)
    assert found["vcpu_exits_total", "io"] == 2000
    assert sum(name[0] == "blk_bytes_total" for name in found) < 200


def exits_at(path):
    """Give (second, total) of each point of the port exits."""
    with StoreReader(path) as reader:
        found = reader.query("vcpu_exits_total{reason=io}", tier=0)[0]
        return list(zip((found.timestamps_ns // NS_PER_S).tolist(), found.values.tolist(), strict=True))


def watch(file, path):
    assert run(["watch", "firecracker", "--metrics", str(file), "--store", str(path)]) == 0


def test_a_file_that_is_replayed_again_counts_each_flush_once(tmp_path, path):
    """As it is, and as its machine goes on writing it; what was recorded of the past stays as it was."""
    file = tmp_path / "metrics"
    file.write_bytes(flush(0) + flush(1))
    watch(file, path)
    before = exits_at(path)
    watch(file, path)
    assert exits_at(path) == before
    with file.open("ab") as more:
        more.write(flush(5) + flush(9))
    watch(file, path)
    assert exits_at(path)[: len(before)] == before
    assert exits_at(path)[-1] == (START_MS // 1000 + 9, 120)
    assert totals(path)["vmm_metrics_lines_total", "taken"] == 4


def test_a_line_that_is_still_being_written_is_taken_when_it_is_whole(tmp_path, path):
    """At whichever byte the replay came upon its end: also where all of it is there but its end of line."""
    file = tmp_path / "metrics"
    line = flush(1)
    for cut in (1, len(line) // 2, len(line) - 1, len(line)):
        store = path.with_name(f"{cut}.rondo")
        file.write_bytes(flush(0) + line[:cut])
        watch(file, store)
        file.write_bytes(flush(0) + line + flush(2))
        watch(file, store)
        found = totals(store)
        assert found["vcpu_exits_total", "io"] == 90
        assert found["vmm_metrics_lines_total", "taken"] == 3
        assert found["vmm_metrics_lines_total", "garbled"] == 0


def test_a_file_that_was_begun_anew_is_read_from_its_beginning(tmp_path, path):
    """As by a rotation: what of it was taken already is known by its time, and counted as known."""
    file = tmp_path / "metrics"
    file.write_bytes(flush(0) + flush(1) + flush(2))
    watch(file, path)
    file.write_bytes(flush(2) + flush(3))
    watch(file, path)
    found = totals(path)
    assert found["vcpu_exits_total", "io"] == 120
    assert (found["vmm_metrics_lines_total", "taken"], found["vmm_metrics_lines_total", "known"]) == (4, 1)
    file.write_bytes(flush(60))
    watch(file, path)
    assert exits_at(path)[-1] == (START_MS // 1000 + 60, 150)


def test_a_file_that_was_cut_while_it_is_written_loses_no_flush(tmp_path, path):
    """As by a rotation with copytruncate: what its writer goes on with lies behind a hole, in whose line a flush ends."""
    file = tmp_path / "metrics"
    file.write_bytes(flush(0) + flush(1))
    watch(file, path)
    with file.open("wb") as cut:
        cut.seek(5 * MAX_LINE_BYTES)
        cut.write(flush(2) + flush(3))
    watch(file, path)
    found = totals(path)
    assert found["vcpu_exits_total", "io"] == 120
    assert found["vmm_metrics_lines_total", "taken"] == 4
    assert {found["vmm_metrics_lines_total", each] for each in ("garbled", "too_long")} == {0}


def test_flushes_of_one_instant_are_all_counted(tmp_path, path):
    """And those that say no time; each once, however often they are replayed."""
    file = tmp_path / "metrics"
    file.write_bytes(flush(0) * 3 + flush(0, utc_timestamp_ms=0) * 2)
    watch(file, path)
    watch(file, path)
    assert totals(path)["vcpu_exits_total", "io"] == 150


def test_what_waits_in_a_fifo_keeps_its_own_times(tmp_path, path):
    """Also what is older than the finest tier; then come the seconds as they are lived."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writing = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    now_s = wall_ns() // NS_PER_S
    ages = (1200, 120, 60)
    for age in ages:
        os.write(writing, flush(0, utc_timestamp_ms=(now_s - age) * 1000))
    watcher = FirecrackerWatcher(fifo, path)
    with Store(path, firecracker_schemas(), clock=watcher.clock) as store:
        os.close(writing)
        result = watcher.run(store, timeout_s=60)
        store.close(result.ended)
    assert result.ended == "gone"
    with StoreReader(path) as reader:
        found = reader.query("vcpu_exits_total{reason=io}", tier="auto")[0]
        reached = {}
        for at_ns, total in zip(found.timestamps_ns.tolist(), found.values.tolist(), strict=True):
            reached.setdefault(total, at_ns // NS_PER_S - now_s)
    assert abs(reached[30] + 1200) <= 300  # of the coarsest tier that has it
    assert (reached[60], reached[90]) == (-120, -60)


def test_devices_beyond_the_room_are_summed_as_other(tmp_path, path, capfd):
    """The disks add up to what all of them did, whatever their order; that some share a series is said."""
    file = tmp_path / "metrics"
    reads = {f"block_d{number}": {"read_count": number + 1} for number in range(12)}
    turned = dict(reversed(reads.items()))
    lines = [json.dumps({"utc_timestamp_ms": START_MS + 1000 * at, **each}) for at, each in enumerate((reads, turned))]
    file.write_text("\n".join(lines) + "\n")
    watch(file, path)
    assert "4 disks beyond the first 8 are recorded together, as other" in capfd.readouterr().err
    with file.open("a") as more:
        more.write(json.dumps({"utc_timestamp_ms": START_MS + 5000, "block_new": {"read_count": 100}, **reads}) + "\n")
    watch(file, path)
    found = {name[1]: value for name, value in totals(path).items() if name[0] == "blk_requests_total"}
    assert found == {**{f"d{number}": 3 * (number + 1) for number in range(8)}, "other": 3 * (9 + 10 + 11 + 12) + 100}


NUMBERS = st.one_of(st.integers(-5, 2**70), st.floats(), st.booleans(), st.none(), st.text(max_size=5))
KEYS = st.sampled_from(
    ["vcpu", "block", "block_a", "net_b", "api_server", "read_bytes", "read_agg", "sum_us", "exit_io_in"]
)


@given(st.recursive(NUMBERS, lambda inner: st.dictionaries(KEYS, inner) | st.lists(inner), max_leaves=30))
def test_any_json_is_taken_or_refused_without_a_raise(value):
    """Every sample that comes out is a number that a counter takes."""
    found = parse_flush(json.dumps(value).encode())
    for sample in found.samples if found else ():
        assert 0 <= sample.value < 2**66


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data, cuts):
    """One piece or many: the same lines."""
    whole, pieces, found, rest = FlushLines(), FlushLines(), [], data
    for cut in cuts:
        found += pieces.feed(rest[:cut])
        rest = rest[cut:]
    found += pieces.feed(rest) + pieces.end()
    assert found == whole.feed(data) + whole.end()


def test_what_cannot_be_watched_is_said_in_one_line(tmp_path):
    """A missing path and a directory."""
    with pytest.raises(ConfigError, match="mkfifo"):
        FirecrackerWatcher(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="neither a FIFO nor a file"):
        FirecrackerWatcher(tmp_path)


def test_a_watcher_says_what_it_watches_and_what_came_of_it(tmp_path, path, capfd):
    """Two lines, the second time too: what it declares itself does not contradict itself."""
    file = tmp_path / "metrics"
    file.write_text(json.dumps({"utc_timestamp_ms": 1_700_000_000_000, "vcpu": {"exit_io_in": 1}}) + "\n")
    for _ in range(2):
        assert run(["watch", "firecracker", "--metrics", str(file), "--store", str(path)]) == 0
        assert len(capfd.readouterr().err.splitlines()) == 2
    with StoreReader(path) as reader:
        assert all(each.help for each in reader.registry if each.name.startswith("vmm_"))


def test_a_store_that_read_no_file_yet_has_read_none(path):
    """Another watch may go on in it, from the beginning of its file."""
    Store(path).close()
    position = position_in(path)
    assert (position.size_bytes, position.digest, position.newest_ns) == (0, 0, 0)
