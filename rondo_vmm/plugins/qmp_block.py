"""Record what QEMU's disks are asked for and what they take: requests by op, bytes by direction, time, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import OnReplies, Questions
from rondo_vmm.plugins.totals import Discovery, Follow, Follower

Record = Callable[[Mapping[str, float], int], None]
# op -> the prefix of QEMU's fields; Source: BlockDeviceStats of QEMU's QAPI.
OPS = {"read": "rd", "write": "wr", "flush": "flush", "discard": "unmap"}
DIRECTIONS = {"read": "rd_bytes", "write": "wr_bytes"}


@hookimpl
def rondo_qmp_bind(declare: Declare) -> tuple[Questions, OnReplies]:
    """Follow each disk from when it is first seen; what the store has no room for is left out."""
    disks: dict[str, Record] = {}
    names: dict[str, str] = {}  # of devices: a snapshot gives one another node, and is no new disk
    discovery = Discovery()

    def on_replies(replies: Mapping[str, Any], now_ns: int) -> None:
        for found in replies.get("blockstats", ()):
            name = _name(found)
            if not name or "stats" not in found:
                continue
            name = names.setdefault(str(found.get("qdev") or name), name)
            if name not in disks:
                disks[name] = _follow(declare, name, fresh=discovery.fresh)
            disks[name](found["stats"], now_ns)
        if "blockstats" in replies:
            discovery.mark_scanned()

    return {"blockstats": ("query-blockstats", {})}, on_replies


def _name(found: Mapping[str, Any]) -> str:
    """Call a disk by the id of its drive or device; without any by its node; 64 characters at most."""
    path = str(found.get("qdev", ""))
    device = path.removeprefix("/machine/peripheral/").partition("/")[0] if "/machine/peripheral/" in path else ""
    return str(found.get("device") or device or found.get("node-name") or "")[:64]


def _follow(declare: Declare, disk: str, *, fresh: bool) -> Record:
    followed = Follower(declare, fresh=fresh, disk=disk)
    fields: dict[str, Follow] = {}
    times: dict[str, Follow] = {}
    for op, prefix in OPS.items():
        words = "Requests of the disk, by what they ask."
        fields[f"{prefix}_operations"] = followed("blk_requests_total", words, op=op)
        times[f"{prefix}_total_time_ns"] = followed("blk_request_seconds_total", "Time in requests.", "seconds", op=op)
    for way, field in DIRECTIONS.items():
        fields[field] = followed("blk_bytes_total", "Bytes moved by requests.", "bytes", direction=way)
    failed = followed("blk_errors_total", "Requests that failed or are not supported.")

    def record(stats: Mapping[str, float], now_ns: int) -> None:
        for field, put in fields.items():
            put(stats.get(field, 0), now_ns)
        for field, put in times.items():
            put(stats.get(field, 0) / NS_PER_S, now_ns)
        failed(sum(value for field, value in stats.items() if field.startswith(("failed_", "invalid_"))), now_ns)

    return record
