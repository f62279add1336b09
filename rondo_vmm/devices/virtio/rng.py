"""virtio-rng, section 5.4: the host's random bytes."""

from __future__ import annotations

import os

from rondo_vmm.devices.virtio.queue import Queue, QueueError, total_bytes

MAX_BYTES = 64 << 10  # a device may give fewer than there is room for


class Rng:
    """A source of randomness without configuration."""

    device_id = 4
    features = 0
    queue_sizes = (64,)

    def accept(self, features: int) -> None:
        """There is nothing to choose."""

    def config(self) -> bytes:
        """There is none."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """There is none."""

    def reset(self) -> None:
        """There is nothing to forget."""

    def notify(self, index: int, queue: Queue) -> None:  # noqa: ARG002 - there is one queue
        """Fill what waits. Raises: QueueError, GuestMemoryError."""
        for _ in range(queue.waiting()):
            chain = queue.pop()
            if not chain.writable:
                raise QueueError(f"random bytes wanted at descriptor {chain.head}: no room for any")
            queue.push(chain.head, chain.put(os.urandom(min(total_bytes(chain.writable), MAX_BYTES))))
