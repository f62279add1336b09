"""The VirtioDevice protocol: all that a transport knows of a device."""

from __future__ import annotations

from typing import Protocol

from rondo_vmm.devices.virtio.queue import Queue


class VirtioDevice(Protocol):
    """A device. One thread at a time calls it; a GuestError that it raises makes it need a reset.

    Attributes: `device_id`: section 5; `features`: what it offers, bits 0 to 23; `queue_sizes`: the largest size of
    each of its queues, a power of two.
    """

    @property
    def device_id(self) -> int:
        """Say what kind of device it is."""

    @property
    def features(self) -> int:
        """Say what it can do."""

    @property
    def queue_sizes(self) -> tuple[int, ...]:
        """Say what queues it has."""

    def accept(self, features: int) -> None:
        """Learn which of the features the driver took; before the first notification."""

    def config(self) -> bytes:
        """Give the configuration space as it stands."""

    def write_config(self, offset: int, data: bytes) -> None:
        """Take what the driver wrote into the configuration space, wherever that is."""

    def notify(self, index: int, queue: Queue) -> None:
        """Serve what the driver has made available on a queue, as far as it was there at the call.

        Raises: GuestError: the driver lies.
        """

    def reset(self) -> None:
        """Forget what the driver did."""
