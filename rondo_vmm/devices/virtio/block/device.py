"""virtio-blk, section 5.2: requests are done one after the other, on the thread that notified."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from rondo_core.clock import monotonic_ns, wall_ns
from rondo_vmm.devices.virtio.block import request as block_request
from rondo_vmm.devices.virtio.block.backend import SECTOR_BYTES, RawImage
from rondo_vmm.devices.virtio.block.request import IOERR, OK, UNSUPPORTED, BlockRequest
from rondo_vmm.devices.virtio.queue import Queue, total_bytes
from rondo_vmm.memory import GuestMemory

# op's index in OPS, bytes, status, ns, how many requests waited at the notification, wall clock ns
OnRequest = Callable[[int, int, int, int, int, int], None]

# Source: section 5.2.3, feature bits.
F_SIZE_MAX, F_SEG_MAX, F_RO, F_FLUSH, F_DISCARD, F_WRITE_ZEROES = 1 << 1, 1 << 2, 1 << 5, 1 << 9, 1 << 13, 1 << 14
# Source: section 5.2.4: capacity, size_max, seg_max, (geometry to queues), then the limits of discard and write zeroes.
CONFIG = struct.Struct("<QII20xIIIIIB3x")
QUEUE_SIZE = 256
MAX_SEGMENTS, MAX_SEGMENT_BYTES = 126, 128 << 10
MAX_BYTES = MAX_SEGMENTS * MAX_SEGMENT_BYTES  # what one request may move, so that none takes for ever
MAX_RANGES, MAX_DISCARD_SECTORS, MAX_ZERO_SECTORS = 16, 1 << 22, MAX_BYTES // SECTOR_BYTES
FAILURES = (OSError, EOFError)


class BlockDevice:
    """A disk on a raw image."""

    device_id = 2
    queue_sizes = (QUEUE_SIZE,)

    def __init__(
        self, memory: GuestMemory, image: RawImage, serial: str = "rondo", observers: Sequence[OnRequest] = ()
    ) -> None:
        """Serve `image`. Args: `serial`: what get-id answers, at most 20 bytes; `observers` are told of requests."""
        self._memory, self._image = memory, image
        self._serial = serial.encode()[: block_request.ID_BYTES].ljust(block_request.ID_BYTES, b"\0")
        self.observers: list[OnRequest] = list(observers)
        more = F_RO if image.read_only else F_DISCARD | F_WRITE_ZEROES
        self.features = F_SIZE_MAX | F_SEG_MAX | F_FLUSH | more
        self._write_through = True
        self._do = (
            self._read,
            self._write,
            self._flush,
            self._get_id,
            self._discard,
            self._write_zeroes,
            lambda _: (UNSUPPORTED, 0, 0),
        )
        limits = (MAX_DISCARD_SECTORS, MAX_RANGES, 1, MAX_ZERO_SECTORS, 1, 1)
        self._config = CONFIG.pack(image.sectors, MAX_SEGMENT_BYTES, MAX_SEGMENTS, *limits)

    def accept(self, features: int) -> None:
        """A driver that cannot flush gets every write on the disk before it is told of it."""
        self._write_through = not features & F_FLUSH

    def config(self) -> bytes:
        """Give capacity and limits."""
        return self._config

    def write_config(self, offset: int, data: bytes) -> None:
        """Nothing of it can be written."""

    def reset(self) -> None:
        """There is nothing that a driver changed."""
        self._write_through = True

    def notify(self, index: int, queue: Queue) -> None:  # noqa: ARG002 - there is one queue
        """Do the requests that wait. Raises: QueueError, GuestMemoryError."""
        depth = queue.waiting()
        for _ in range(depth):
            request = block_request.parse(queue.pop())
            started = monotonic_ns()
            try:
                status, written, moved = self._do[request.op](request)
            except FAILURES:
                status, written, moved = IOERR, 0, 0
            self._memory.write(request.status, bytes((status,)))
            queue.push(request.chain.head, written + 1)
            took, now_ns = monotonic_ns() - started, wall_ns()
            for observe in self.observers:
                observe(request.op, moved, status, took, depth, now_ns)

    def _fits(self, sector: int, count: int) -> bool:
        return sector + count <= self._image.sectors

    def _size(self, request: BlockRequest) -> int:
        """Give how many bytes a read or write is about; 0: it cannot be done."""
        size = total_bytes(request.data)
        whole = size % SECTOR_BYTES == 0 and size <= MAX_BYTES
        return size if whole and self._fits(request.sector, size // SECTOR_BYTES) else 0

    # Each gives the status, the bytes written into the chain, and the bytes moved from or to the disk.

    def _read(self, request: BlockRequest) -> tuple[int, int, int]:
        size = self._size(request)
        if not size:
            return IOERR, 0, 0
        self._image.read(self._memory, request.data, request.sector)
        return OK, size, size

    def _write(self, request: BlockRequest) -> tuple[int, int, int]:
        size = self._size(request)
        if not size or self._image.read_only:
            return IOERR, 0, 0
        self._image.write(self._memory, request.data, request.sector)
        if self._write_through:
            self._image.flush()
        return OK, 0, size

    def _flush(self, _request: BlockRequest) -> tuple[int, int, int]:
        if not self._image.read_only:
            self._image.flush()
        return OK, 0, 0

    def _get_id(self, request: BlockRequest) -> tuple[int, int, int]:
        return OK, request.chain.put(self._serial), 0

    def _discard(self, request: BlockRequest) -> tuple[int, int, int]:
        ranges = self._ranges(request, MAX_RANGES, MAX_DISCARD_SECTORS, flags=0)
        if not isinstance(ranges, list):
            return ranges, 0, 0
        for sector, count, _ in ranges:
            self._image.discard(sector, count)
        return OK, 0, 0

    def _write_zeroes(self, request: BlockRequest) -> tuple[int, int, int]:
        ranges = self._ranges(request, 1, MAX_ZERO_SECTORS, flags=block_request.UNMAP)
        if not isinstance(ranges, list):
            return ranges, 0, 0
        for sector, count, flags in ranges:
            self._image.write_zeroes(sector, count, unmap=bool(flags & block_request.UNMAP))
        if self._write_through:
            self._image.flush()
        return OK, 0, 0

    def _ranges(
        self, request: BlockRequest, limit: int, max_sectors: int, flags: int
    ) -> list[tuple[int, int, int]] | int:
        """Give the ranges, each inside the disk, or the status that says why not; all are looked at before one is done.

        Source: section 5.2.6.2: an unknown flag is unsupported, a range beyond the disk is an error.
        """
        ranges = request.ranges(limit)
        if ranges is None or self._image.read_only:
            return IOERR
        if any(given & ~flags for _, _, given in ranges):
            return UNSUPPORTED
        possible = all(0 < count <= max_sectors and self._fits(sector, count) for sector, count, _ in ranges)
        return ranges if possible else IOERR
