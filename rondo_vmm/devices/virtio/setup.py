"""The virtio devices that were asked for: put on a board, bound to plugins, released at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rondo_vmm.config import VmConfig, disk_name
from rondo_vmm.devices.board import Board

if TYPE_CHECKING:
    from rondo_core import Plugins
    from rondo_core.hookspecs import Declare, Tick
    from rondo_vmm.devices.virtio.balloon import Balloon, BalloonState
    from rondo_vmm.devices.virtio.block.backend import RawImage
    from rondo_vmm.devices.virtio.block.device import BlockDevice
    from rondo_vmm.devices.virtio.console import Console
    from rondo_vmm.devices.virtio.device import VirtioDevice
    from rondo_vmm.devices.virtio.mmio import Mmio

Line = Callable[[int], None]


class VirtioDevices:
    """The devices of one machine; where there are none, nothing of them is imported or recorded.

    Attributes: `transports`: in the order of their slots: disks, then randomness, balloon and console.
    """

    def __init__(self, config: VmConfig, board: Board, line: Callable[[int], Line]) -> None:
        """Open the disks and put all devices on the bus.

        Args: `line` gives, for the number of an interrupt line, what sets its level.
        Raises: DiskError: a disk image cannot be used; ConfigError: there are more devices than slots.
        """
        self._board = board
        self._images: list[RawImage] = []
        self._disks: dict[str, BlockDevice] = {}
        self._balloon: Balloon | None = None
        self._console: Console | None = None
        self.transports: list[Mmio] = []
        try:
            devices = self._make(config)
            if devices:
                from rondo_vmm.devices.virtio.slots import add_virtio, interrupt_of

                for index, device in enumerate(devices):
                    self.transports.append(add_virtio(board, device, index, line(interrupt_of(index))))
        except BaseException:
            self.close()
            raise

    def _make(self, config: VmConfig) -> list[VirtioDevice]:
        devices: list[VirtioDevice] = []
        if config.disks:
            from rondo_vmm.devices.virtio.block.backend import RawImage
            from rondo_vmm.devices.virtio.block.device import BlockDevice

            for index, path in enumerate(config.disks):
                self._images.append(RawImage(path, read_only=config.disk_read_only))
                name = disk_name(index)
                self._disks[name] = BlockDevice(self._board.memory, self._images[-1], name)
            devices += self._disks.values()
        if config.rng:
            from rondo_vmm.devices.virtio.rng import Rng

            devices.append(Rng())
        if config.balloon:
            from rondo_vmm.devices.virtio.balloon import Balloon

            self._balloon = Balloon(self._board.memory)
            self._balloon_slot = len(devices)
            devices.append(self._balloon)
        if config.guest_samples:
            from rondo_vmm.devices.virtio.console import Console

            self._console = Console()
            devices.append(self._console)
        return devices

    def kernel_parameters(self) -> str:
        """Give what a Linux kernel that has no other way to find the devices needs on its command line."""
        if not self.transports:
            return ""
        from rondo_vmm.devices.virtio.slots import command_line

        return command_line(len(self.transports))

    def bind(self, plugins: Plugins, declare: Declare) -> list[Tick]:
        """Let plugins observe disks, memory and the guest's lines, each guarded; before the machine runs.

        Returns: what is called on every tick.
        """
        for name, disk in self._disks.items():
            disk.observers += plugins.bind_guarded("rondo_vmm_block_bind", once=True, declare=declare, disk=name)
        if self._console is not None:
            observers = plugins.bind_guarded("rondo_vmm_guest_line_bind", once=True, declare=declare)
            self._console.lines.observers += observers
        if not self.transports:
            return []
        balloon = None if self._balloon is None else partial(self._look_at, self._balloon)
        memory = self._board.memory
        return plugins.bind_guarded("rondo_vmm_memory_bind", declare=declare, memory=memory, balloon=balloon)

    def _look_at(self, balloon: Balloon) -> BalloonState:
        """Say how the balloon stands, and ask the guest for its next statistics."""
        self.transports[self._balloon_slot].run(balloon.ask)
        return balloon.state

    def close(self) -> None:
        """Release the disk images; more than once is once."""
        for image in self._images:
            image.close()
