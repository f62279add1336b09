"""Record the network of a machine whose monitor does not count it: by the taps that its process holds open."""

from __future__ import annotations

import os

from rondo_core.hookspecs import Declare
from rondo_vmm.plugins.proc import read_proc
from rondo_vmm.plugins.totals import Discovery, Follow, Follower

MAX_TAPS = 8
LOOK_TICKS = 10  # between two looks for taps that were plugged in
_DEVICE = "/dev/net/tun"
_NET_DEV_BYTES = 1 << 20
_BYTES, _PACKETS = "Bytes of the interface.", "Packets of the interface."
_ERRORS = "Packets of the interface that failed."
# What the host receives of a tap is what the guest transmits. Source: net/core/net-procfs.c, dev_seq_printf_stats.
_FIELDS = (
    ("net_bytes_total", _BYTES, "bytes", "transmit", (0,)),
    ("net_packets_total", _PACKETS, "", "transmit", (1,)),
    ("net_errors_total", _ERRORS, "", "transmit", (2,)),  # what the host drops is of no protocol that it knows
    ("net_bytes_total", _BYTES, "bytes", "receive", (8,)),
    ("net_packets_total", _PACKETS, "", "receive", (9,)),
    ("net_errors_total", _ERRORS, "", "receive", (10, 11)),
)
PER_TAP = len(_FIELDS)


def taps_of(pid: int) -> tuple[str, ...]:
    """Give the names of the taps that a process has open, sorted; none where it is another user's, or gone."""
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - no paths are made
            if os.readlink(f"/proc/{pid}/fd/{name}") == _DEVICE:  # noqa: PTH115 - as above
                # Source: drivers/net/tun.c, tun_chr_show_fdinfo.
                told = read_proc(f"/proc/{pid}/fdinfo/{name}").decode(errors="replace")
                found.add(told.partition("iff:")[2].partition("\n")[0].strip())
    except OSError:
        pass
    return tuple(sorted(found - {""}))[:MAX_TAPS]


class TapTraffic:
    """The taps of one process, in the network namespace that it is in."""

    def __init__(self, declare: Declare, pid: int) -> None:
        """Declare nothing yet: what there is is seen with the first record."""
        self._declare, self._pid = declare, pid
        self._taps: dict[str, list[Follow]] = {}
        self._until_look = 0
        self._discovery = Discovery()

    def record(self, now_ns: int) -> None:
        """Record what each tap has carried."""
        if self._until_look <= 0:
            self._look()
        self._until_look -= 1
        if not self._taps:
            return
        for name, counts in _traffic_of(self._pid).items():
            for follow, (*_, fields) in zip(self._taps.get(name, ()), _FIELDS, strict=False):
                follow(sum(counts[field] for field in fields), now_ns)

    def _look(self) -> None:
        self._until_look = LOOK_TICKS
        for name in taps_of(self._pid):
            if name not in self._taps and len(self._taps) < MAX_TAPS:
                follower = Follower(self._declare, fresh=self._discovery.fresh, interface=name)
                self._taps[name] = [
                    follower(series, words, unit, direction=direction) for series, words, unit, direction, _ in _FIELDS
                ]
        self._discovery.mark_scanned()


def _traffic_of(pid: int) -> dict[str, list[int]]:
    """Read the counters of the interfaces that a process sees; empty where it has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = bytearray()
            while len(text) < _NET_DEV_BYTES and (more := os.read(descriptor, 1 << 16)):
                text += more
        finally:
            os.close(descriptor)
    except OSError:
        return {}
    found = {}
    for line in text.decode(errors="replace").splitlines():
        name, colon, counts = line.rpartition(":")
        numbers = counts.split()
        if colon and len(numbers) > max(_FIELDS[-1][-1]):
            found[name.strip()] = [int(number) for number in numbers]
    return found
