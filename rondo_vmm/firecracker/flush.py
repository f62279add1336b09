"""A line of Firecracker's metrics -> samples. Pure, and safe with any bytes.

Each flush is one JSON object on one line: `utc_timestamp_ms`, then groups of numbers. Counters are what came since the
flush before; a few others ("store" metrics) stand for themselves.
Source: Firecracker's src/vmm/src/logger/metrics.rs, and the metrics.rs of each device.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

NS_PER_MS = 1_000_000
US_PER_S = 1_000_000
MAX_LINE_BYTES = 1 << 18
MAX_VALUE = 2**63
MAX_DEVICES = 8  # of each class that have series of their own; Firecracker itself has room for 19 in all
LOAD = "vm_snapshot_load_seconds"
# Signals that end Firecracker; a SIGPIPE is only counted. Source: Firecracker's src/vmm/src/signal_handler.rs.
DEADLY = ("sigsegv", "sigbus", "sigill", "sigxfsz", "sigxcpu", "sighup")
OTHER = "other"  # the sum of those beyond
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@attrs.frozen
class FlushSample:
    """One number: what a counter adds, or a gauge stands at. `device`: the label and the name of which it is."""

    kind: Literal["counter", "gauge"]
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    help: str
    unit: str
    device: tuple[str, str] | None = None


@attrs.frozen
class Rule:
    """Which fields of a group, summed and divided, make one series."""

    fields: tuple[str, ...]
    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    divisor: int = 1
    kind: Literal["counter", "gauge"] = "counter"


def _rule(fields: str, name: str, words: str, unit: str = "", **labels: str) -> Rule:
    return Rule(tuple(fields.split()), name, words, tuple(labels.items()), unit, US_PER_S if unit == "seconds" else 1)


_EXITS, _HANDLING = "Exits of the virtual CPUs to the monitor.", "Time in which the monitor handled exits."
_IO_TIME = "exit_io_in_agg.sum_us exit_io_out_agg.sum_us"
_MMIO_TIME = "exit_mmio_read_agg.sum_us exit_mmio_write_agg.sum_us"
_REQUESTS, _BYTES = "Requests of the disk, by what they ask.", "Bytes moved by requests."
_PACKETS, _ERRORS = "Packets of the interface.", "Packets of the interface that failed."
GROUPS: dict[str, tuple[Rule, ...]] = {
    "vcpu": (
        _rule("exit_io_in exit_io_out", "vcpu_exits_total", _EXITS, reason="io"),
        _rule("exit_mmio_read exit_mmio_write", "vcpu_exits_total", _EXITS, reason="mmio"),
        _rule("failures", "vcpu_exits_total", _EXITS, reason="other"),
        _rule(
            "exit_io_in_agg.sum_us exit_io_out_agg.sum_us", "vcpu_exit_seconds_total", _HANDLING, "seconds", reason="io"
        ),
        _rule(
            "exit_mmio_read_agg.sum_us exit_mmio_write_agg.sum_us",
            "vcpu_exit_seconds_total",
            _HANDLING,
            "seconds",
            reason="mmio",
        ),
    ),
    "balloon": (
        _rule("inflate_count", "balloon_requests_total", "Requests of the balloon.", op="inflate"),
        _rule("deflate_count", "balloon_requests_total", "Requests of the balloon.", op="deflate"),
    ),
    "entropy": (_rule("entropy_bytes", "rng_bytes_total", "Random bytes given to the guest.", "bytes"),),
    "vsock": (
        _rule("rx_bytes_count", "vsock_bytes_total", "Bytes through the socket device.", "bytes", direction="receive"),
        _rule("tx_bytes_count", "vsock_bytes_total", "Bytes through the socket device.", "bytes", direction="transmit"),
    ),
    "uart": (
        _rule("read_count", "serial_bytes_total", "Bytes through the serial console.", "bytes", direction="read"),
        _rule("write_count", "serial_bytes_total", "Bytes through the serial console.", "bytes", direction="write"),
    ),
    "logger": (_rule("missed_metrics_count", "vmm_metrics_missed_total", "Flushes that Firecracker could not write."),),
    "api_server": (
        Rule(
            ("process_startup_time_us",),
            "vmm_startup_seconds",
            "Time from the monitor's start to its API's.",
            (),
            "seconds",
            US_PER_S,
            "gauge",
        ),
    ),
    "i8042": (_rule("reset_count", "vm_resets_total", "Resets that the guest asked for, which end the monitor."),),
    "latencies_us": (
        Rule(
            ("load_snapshot",),
            LOAD,
            "Time in which the machine was loaded from a snapshot.",
            (),
            "seconds",
            US_PER_S,
            "gauge",
        ),
    ),
    "seccomp": (Rule(("num_faults",), "vmm_seccomp_faults", "System calls that the filter refused.", kind="gauge"),),
}
DEVICES: dict[str, tuple[str, tuple[Rule, ...]]] = {
    "block": (
        "disk",
        (
            _rule("read_count", "blk_requests_total", _REQUESTS, op="read"),
            _rule("write_count", "blk_requests_total", _REQUESTS, op="write"),
            _rule("flush_count", "blk_requests_total", _REQUESTS, op="flush"),
            _rule("read_bytes", "blk_bytes_total", _BYTES, "bytes", direction="read"),
            _rule("write_bytes", "blk_bytes_total", _BYTES, "bytes", direction="write"),
            _rule("read_agg.sum_us", "blk_request_seconds_total", "Time in requests.", "seconds", op="read"),
            _rule("write_agg.sum_us", "blk_request_seconds_total", "Time in requests.", "seconds", op="write"),
            _rule("execute_fails invalid_reqs_count", "blk_errors_total", "Requests that failed or are not supported."),
        ),
    ),
    "net": (
        "interface",
        (
            _rule("rx_bytes_count", "net_bytes_total", "Bytes of the interface.", "bytes", direction="receive"),
            _rule("tx_bytes_count", "net_bytes_total", "Bytes of the interface.", "bytes", direction="transmit"),
            _rule("rx_packets_count", "net_packets_total", _PACKETS, direction="receive"),
            _rule("tx_packets_count", "net_packets_total", _PACKETS, direction="transmit"),
            _rule("rx_fails", "net_errors_total", _ERRORS, direction="receive"),
            _rule("tx_fails tx_malformed_frames", "net_errors_total", _ERRORS, direction="transmit"),
        ),
    ),
}
OF_DEVICES = sum(len(rules) for _, rules in DEVICES.values())
COUNTERS = sum(len(rules) for rules in GROUPS.values()) + (MAX_DEVICES + 1) * OF_DEVICES


@attrs.frozen
class Flush:
    """One line: when Firecracker wrote it, ns since the epoch, 0 where it does not say; and what it holds.

    Attributes: `ending`: what Firecracker says of its own end, as the last thing that it writes; empty before.
    """

    at_ns: int
    samples: tuple[FlushSample, ...]
    ending: str = ""


def parse_flush(line: bytes) -> Flush | None:
    """Read a line; None where it is no flush of Firecracker's. Never raises."""
    try:
        flush = json.loads(line.lstrip(b"\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(flush, dict):
        return None
    at_ms = _number(flush.get("utc_timestamp_ms"))
    samples = tuple(_samples(flush))
    return Flush(int((at_ms or 0) * NS_PER_MS), samples, _ending(flush)) if samples or at_ms else None


def _ending(flush: Mapping[str, Any]) -> str:
    """Say how Firecracker ends by its own account: the gravest that it counts."""

    def counted(group: str, field: str) -> bool:
        values = flush.get(group)
        return isinstance(values, dict) and bool(_number(values.get(field)))

    if counted("seccomp", "num_faults"):
        return "monitor ended by seccomp"
    for name in DEADLY:
        if counted("signals", name):
            return f"monitor ended by {name.upper()}"
    if counted("vmm", "panic_count"):
        return "monitor panicked"
    return "reset" if counted("i8042", "reset_count") else ""


def _samples(flush: Mapping[str, Any]) -> Iterator[FlushSample]:
    for group, rules in GROUPS.items():
        yield from _of_group(flush.get(group), rules)
    for group, (label, rules) in DEVICES.items():
        own = [key for key in flush if key.startswith(f"{group}_") and _ID.fullmatch(key[len(group) + 1 :])]
        # Older versions have the sum of all devices only; newer ones have it beside them.
        for key in own or [group]:
            yield from _of_group(flush.get(key), rules, (label, key[len(group) + 1 :] or "all"))


def _of_group(group: Any, rules: tuple[Rule, ...], device: tuple[str, str] | None = None) -> Iterator[FlushSample]:
    if not isinstance(group, dict):
        return
    for rule in rules:
        found = [value for field in rule.fields if (value := _number(_field(group, field))) is not None]
        if found:
            value = sum(found) / rule.divisor
            yield FlushSample(rule.kind, rule.name, rule.labels, value, rule.help, rule.unit, device)


def _field(group: Mapping[str, Any], path: str) -> Any:
    name, _, inner = path.partition(".")
    value = group.get(name)
    if inner:
        return value.get(inner) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float | None:
    """Give what can be a count or a time; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_VALUE:
        return None
    return value
