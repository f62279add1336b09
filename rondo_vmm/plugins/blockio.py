"""Record what a disk is asked for and what it takes: requests by op, bytes by direction, durations, how many wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.block.device import OnRequest


@hookimpl
def rondo_vmm_block_bind(declare: Declare, disk: str) -> OnRequest:
    """Declare one counter per op and direction, all of them from the first second on."""
    from rondo_vmm.devices.virtio.block.request import OPS, WRITE

    count = [
        declare.counter("blk_requests_total", help="Requests of the disk, by what they ask.", op=op, disk=disk).inc
        for op in OPS
    ]
    read, written = (
        declare.counter(
            "blk_bytes_total", help="Bytes moved by requests that were done.", unit="bytes", direction=way, disk=disk
        ).inc
        for way in ("read", "write")
    )
    errors = declare.counter("blk_errors_total", help="Requests that failed or are not supported.", disk=disk).inc
    duration = declare.summary(
        "blk_request_duration_ns", help="Time to do a request.", unit="nanoseconds", disk=disk
    ).observe
    waiting = declare.gauge(
        "blk_queue_depth", help="Requests that waited when the driver last notified the disk.", disk=disk
    ).set

    def on_request(op: int, size_bytes: int, status: int, duration_ns: int, depth: int, now_ns: int) -> None:
        count[op](1.0, now_ns)
        if size_bytes:
            (written if op == WRITE else read)(size_bytes, now_ns)
        if status:
            errors(1.0, now_ns)
        duration(duration_ns, now_ns)
        waiting(depth, now_ns)

    return on_request
