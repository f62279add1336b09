"""What a driver asks of a disk, section 5.2.6: taken from a chain, and checked as far as the chain goes."""

from __future__ import annotations

import struct

import attrs

from rondo_vmm.devices.virtio.queue import Chain, QueueError, split, total_bytes
from rondo_vmm.memory import Segment

HEADER = struct.Struct("<I4xQ")
RANGE = struct.Struct("<QII")  # section 5.2.6: sector, number of sectors, flags
T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPPORTED = 0, 1, 2
UNMAP = 1
ID_BYTES = 20

OPS = ("read", "write", "flush", "get_id", "discard", "write_zeroes", "other")
READ, WRITE, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, OTHER = range(len(OPS))
OP_OF_TYPE = {
    T_IN: READ,
    T_OUT: WRITE,
    T_FLUSH: FLUSH,
    T_GET_ID: GET_ID,
    T_DISCARD: DISCARD,
    T_WRITE_ZEROES: WRITE_ZEROES,
}


@attrs.define
class BlockRequest:
    """One request.

    Attributes: `op`: an index into OPS; `sector`: where, for reads and writes; `chain`: its data, the header and the
    status byte taken off; `status`: where the status byte lies.
    """

    op: int
    sector: int
    chain: Chain
    status: int

    @property
    def data(self) -> list[Segment]:
        """Give the segments of a read's or a write's data."""
        return self.chain.writable if self.op == READ else self.chain.readable

    def ranges(self, limit: int) -> list[tuple[int, int, int]] | None:
        """Give the (sector, count, flags) that a discard is about; None: there are none, too many, or a broken one."""
        size = total_bytes(self.chain.readable)
        if not 0 < size <= limit * RANGE.size or size % RANGE.size:
            return None
        return list(RANGE.iter_unpack(self.chain.take(size)))


def parse(chain: Chain) -> BlockRequest:
    """Take a request from its chain, however the driver has cut it into descriptors.

    Raises: QueueError: it has no whole header, or no byte for the status.
    """
    header = chain.take(HEADER.size)
    if len(header) < HEADER.size or not chain.writable:
        raise QueueError(f"block request at descriptor {chain.head}: no whole header, or no room for its status")
    kind, sector = HEADER.unpack(header)
    chain.writable, status = split(chain.writable, total_bytes(chain.writable) - 1)
    return BlockRequest(OP_OF_TYPE.get(kind, OTHER), sector, chain, status[0][0])
