"""Record the machine that the process runs on: CPU by mode, memory, load, pressure, disks and network interfaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rondo_core import Option, hookimpl
from rondo_core.builtin.kernel_files import FollowedTotal, Take, Tick, open_files, rate_limited, read_first
from rondo_core.builtin.pressure import RESOURCES, stalled
from rondo_core.hookspecs import Declare

_HERTZ = os.sysconf("SC_CLK_TCK")
_SECTOR_BYTES = 512  # Source: Documentation/admin-guide/iostats.rst
_CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMORY_LINES = 24  # of some 50; those that are taken are among the first 16
_MEMORY = {
    b"MemTotal": ("host_memory_total_bytes", "Memory of the machine."),
    b"MemFree": ("host_memory_free_bytes", "Memory that nothing uses."),
    b"MemAvailable": ("host_memory_available_bytes", "Memory that programs can have without swapping."),
    b"SwapTotal": ("host_swap_total_bytes", "Swap space."),
    b"SwapFree": ("host_swap_free_bytes", "Swap space that nothing uses."),
}


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name the bounds."""
    return [
        Option("max_disks", "integer", "how many disks are recorded", 4),
        Option("max_interfaces", "integer", "how many network interfaces are recorded", 4),
    ]


@hookimpl
def rondo_recorder_bind(declare: Declare, config: Mapping[str, Any]) -> Callable[[int], None]:
    """Declare the series of what the kernel shows of itself here."""
    return bind(declare, config)


def bind(declare: Declare, config: Mapping[str, Any], root: Path = Path("/")) -> Callable[[int], None]:
    """Declare the series of what is below a root that has `proc` and `sys`."""
    proc, ticks = root / "proc", list[Tick]()
    ticks += [rate_limited(tick) for tick in open_files([(proc / "stat", partial(_cpu, declare))])]
    ticks += open_files([(proc / "meminfo", partial(_memory, declare)), (proc / "loadavg", partial(_load, declare))])
    ticks += open_files([(proc / "pressure" / each, stalled(declare, "host", each)) for each in RESOURCES])
    disks = [path.parent for path in sorted((root / "sys/block").glob("*/device"))][: max(0, config["max_disks"])]
    ticks += open_files([(path / "stat", partial(_disk, declare, path.name)) for path in disks])
    network = proc / "net/dev"
    if names := _interfaces(network, root / "sys/class/net")[: max(0, config["max_interfaces"])]:
        ticks += [rate_limited(tick) for tick in open_files([(network, partial(_network, declare, names))])]

    def tick(now_ns: int) -> None:
        for each in ticks:
            each(now_ns)

    return tick


def _cpu(declare: Declare) -> Take:
    name, text = "host_cpu_seconds_total", "CPU time of the machine, by what it was used for."
    totals = [FollowedTotal(declare.counter(name, help=text, unit="seconds", mode=mode)) for mode in _CPU_MODES]

    def take(data: bytes, now_ns: int) -> None:
        fields = data.split(None, 9)
        if fields[0] != b"cpu":
            raise ValueError
        for total, ticks in zip(totals, fields[1:9], strict=True):
            total.follow(int(ticks) / _HERTZ, now_ns)

    return take


def _memory(declare: Declare) -> Take:
    gauges = {key: declare.gauge(name, help=text, unit="bytes") for key, (name, text) in _MEMORY.items()}

    def take(data: bytes, now_ns: int) -> None:
        for line in data.split(b"\n", _MEMORY_LINES)[:_MEMORY_LINES]:
            key, _, rest = line.partition(b":")
            if key in gauges:
                gauges[key].set(int(rest[:-3]) * 1024, now_ns)

    return take


def _load(declare: Declare) -> Take:
    text = "Mean number of runnable or blocked tasks over so many minutes."
    gauges = [declare.gauge(f"host_load{minutes}", help=text) for minutes in ("1", "5", "15")]

    def take(data: bytes, now_ns: int) -> None:
        for gauge, load in zip(gauges, data.split(None, 3)[:3], strict=True):
            gauge.set(float(load), now_ns)

    return take


def _disk(declare: Declare, device: str) -> Take:
    def follow(name: str, text: str, unit: str = "") -> FollowedTotal:
        return FollowedTotal(declare.counter(f"host_disk_{name}_total", help=text, unit=unit, device=device))

    reads, writes = follow("reads_completed", "Reads."), follow("writes_completed", "Writes.")
    read_bytes = follow("read_bytes", "Bytes read.", "bytes")
    written_bytes = follow("written_bytes", "Bytes written.", "bytes")

    def take(data: bytes, now_ns: int) -> None:
        fields = data.split(None, 7)
        reads.follow(int(fields[0]), now_ns)
        read_bytes.follow(int(fields[2]) * _SECTOR_BYTES, now_ns)
        writes.follow(int(fields[4]), now_ns)
        written_bytes.follow(int(fields[6]) * _SECTOR_BYTES, now_ns)

    return take


def _interfaces(path: Path, devices: Path) -> list[str]:
    """Name the interfaces, those of hardware first, without the loopback."""
    found = read_first([path])
    names = [line.partition(":")[0].strip() for line in found[1].splitlines()[2:]] if found else []
    return sorted((name for name in names if name != "lo"), key=lambda name: not (devices / name / "device").exists())


def _network(declare: Declare, interfaces: list[str]) -> Take:
    def follow(name: str, text: str, interface: str, unit: str = "") -> FollowedTotal:
        return FollowedTotal(declare.counter(f"host_network_{name}_total", help=text, unit=unit, interface=interface))

    totals = {
        interface.encode(): (
            follow("receive_bytes", "Bytes received.", interface, "bytes"),
            follow("receive_errors", "Packets that could not be received, or were dropped.", interface),
            follow("transmit_bytes", "Bytes sent.", interface, "bytes"),
            follow("transmit_errors", "Packets that could not be sent, or were dropped.", interface),
        )
        for interface in interfaces
    }

    def take(data: bytes, now_ns: int) -> None:
        for line in data.split(b"\n"):
            name, _, rest = line.partition(b":")
            followed = totals.get(name.strip())
            if followed is not None:
                fields = rest.split()
                followed[0].follow(int(fields[0]), now_ns)
                followed[1].follow(int(fields[2]) + int(fields[3]), now_ns)
                followed[2].follow(int(fields[8]), now_ns)
                followed[3].follow(int(fields[10]) + int(fields[11]), now_ns)

    return take
