"""virtio-console with one port, section 5.3: the channel by which a guest hands in lines; /dev/hvc0 in Linux."""

from __future__ import annotations

from collections.abc import Sequence

from rondo_core.clock import wall_ns
from rondo_vmm.devices.virtio.queue import Queue, QueueError, split
from rondo_vmm.hookspecs import MAX_LINE_BYTES, OnLine

RECEIVE, TRANSMIT = range(2)
MAX_CHAIN_BYTES = 64 << 10


class GuestLines:
    """Cut a stream of bytes into lines; of one that is too long, only its beginning is kept."""

    def __init__(self, observers: Sequence[OnLine] = ()) -> None:
        """Tell `observers` of each line, without its end, at most MAX_LINE_BYTES + 1 bytes of it."""
        self.observers: list[OnLine] = list(observers)
        self._begun = b""

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take the next bytes."""
        *whole, begun = (self._begun + data).split(b"\n")
        self._begun = begun[: MAX_LINE_BYTES + 1]
        for line in whole:
            for observe in self.observers:
                observe(line[: MAX_LINE_BYTES + 1].rstrip(b"\r"), now_ns)


class Console:
    """A console that never says anything."""

    device_id = 3
    features = 0
    queue_sizes = (64, 64)

    def __init__(self, observers: Sequence[OnLine] = ()) -> None:
        """Tell `observers` of the lines that the guest writes."""
        self.lines = GuestLines(observers)

    def accept(self, features: int) -> None:
        """There is nothing to choose."""

    def config(self) -> bytes:
        """Give columns, rows, ports and the emergency register: none were negotiated."""
        return bytes(12)

    def write_config(self, offset: int, data: bytes) -> None:
        """The emergency register is not there."""

    def reset(self) -> None:
        """Forget the line that was begun."""
        self.lines = GuestLines(self.lines.observers)

    def notify(self, index: int, queue: Queue) -> None:
        """Take what the guest wrote; buffers to receive into wait for ever. Raises: QueueError, GuestMemoryError."""
        if index != TRANSMIT:
            return
        for _ in range(queue.waiting()):
            chain = queue.pop()
            if chain.writable or split(chain.readable, MAX_CHAIN_BYTES)[1]:
                raise QueueError(f"console output at descriptor {chain.head}: at most {MAX_CHAIN_BYTES} bytes, to read")
            self.lines.feed(chain.take(MAX_CHAIN_BYTES), wall_ns())
            queue.push(chain.head, 0)
