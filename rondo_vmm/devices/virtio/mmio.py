"""The memory-mapped transport of virtio, version 2, section 4.2: registers between a driver and a device."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rondo_vmm.devices.virtio.device import VirtioDevice
from rondo_vmm.devices.virtio.queue import Queue
from rondo_vmm.errors import GuestError
from rondo_vmm.memory import GuestMemory

# Source: section 4.2.2, table of registers.
MAGIC_VALUE, VERSION, DEVICE_ID, VENDOR_ID = 0x000, 0x004, 0x008, 0x00C
DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x010, 0x014, 0x020, 0x024
QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM, QUEUE_READY, QUEUE_NOTIFY = 0x030, 0x034, 0x038, 0x044, 0x050
INTERRUPT_STATUS, INTERRUPT_ACK, STATUS = 0x060, 0x064, 0x070
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x080, 0x090, 0x0A0  # the low half; the high one 4 bytes on
SHM_SEL, SHM_LEN, SHM_BASE, QUEUE_RESET, CONFIG_GENERATION, CONFIG = 0x0AC, 0x0B0, 0x0B8, 0x0C0, 0x0FC, 0x100
MAGIC, VENDOR = 0x74726976, 0x4F444E52  # "virt", "RNDO"

# Source: section 2.1, device status.
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
# Source: section 6, reserved feature bits.
F_INDIRECT_DESC, F_VERSION_1, F_RING_RESET = 1 << 28, 1 << 32, 1 << 40
USED_BUFFER, CONFIG_CHANGED = 1, 2
ALL_ONES = 0xFFFFFFFF


class Mmio:
    """One device on the bus. Any thread may call it; one at a time is let in.

    Attributes: `failures`: how often the driver made the device need a reset; `failure`: the last time, in one line.
    """

    def __init__(self, memory: GuestMemory, device: VirtioDevice, interrupt: Callable[[int], None]) -> None:
        """Stand before a device. Args: `interrupt` takes the level of the device's line, 0 or 1, as it changes."""
        self.device = device
        self.failures, self.failure = 0, ""
        self._set_line = interrupt
        self._lock = threading.RLock()
        self._offered = device.features | F_INDIRECT_DESC | F_VERSION_1 | F_RING_RESET
        self._queues = [Queue(memory, size) for size in device.queue_sizes]
        self._nowhere = Queue(memory, 0)
        self._generation = 0
        self._readers, self._writers = self._reading(), self._writing()
        self._clear()

    def _clear(self) -> None:
        self._status = self._interrupt = self._accepted = 0
        self._device_half = self._driver_half = self._selected = 0
        for queue in self._queues:
            queue.reset()

    def reset(self) -> None:
        """Be as new, but for the generation of the configuration."""
        with self._lock:
            pending = self._interrupt
            self._clear()
            self.device.reset()
            if pending:
                self._set_line(0)

    # -- for whoever owns the device

    @property
    def live(self) -> bool:
        """Whether a driver has the device going."""
        return self._status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK

    def run(self, action: Callable[[], object], *, changes_config: bool = False) -> None:
        """Let the device act by itself, between what the driver does; tell the driver of what came of it."""
        with self._lock:
            if changes_config:
                self._generation = self._generation + 1 & ALL_ONES
            try:
                action()
            except GuestError as error:
                self._fail(error)
            if not self.live:
                return
            raised = CONFIG_CHANGED if changes_config else 0
            for queue in self._queues:
                if queue.ready and queue.take_interrupt():
                    raised |= USED_BUFFER
            self._raise(raised)

    # -- the driver's side

    def read(self, offset: int, size: int) -> int:
        """Give a register: 32 bits wide below the configuration space, of any width in it; 0 for anything else."""
        with self._lock:
            if offset >= CONFIG:
                return int.from_bytes(self.device.config()[offset - CONFIG : offset - CONFIG + size], "little")
            reader = self._readers.get(offset)
            return reader() if reader is not None and size == 4 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a register; what is not 32 bits wide, or not to be written, goes nowhere."""
        with self._lock:
            if offset >= CONFIG:
                self.device.write_config(offset - CONFIG, (value & (1 << size * 8) - 1).to_bytes(size, "little"))
                return
            writer = self._writers.get(offset)
            if writer is not None and size == 4:
                writer(value & ALL_ONES)

    def _reading(self) -> dict[int, Callable[[], int]]:
        absent = dict.fromkeys((SHM_LEN, SHM_LEN + 4, SHM_BASE, SHM_BASE + 4), lambda: ALL_ONES)
        return {
            **absent,
            MAGIC_VALUE: lambda: MAGIC,
            VERSION: lambda: 2,
            DEVICE_ID: lambda: self.device.device_id,
            VENDOR_ID: lambda: VENDOR,
            DEVICE_FEATURES: lambda: _half(self._offered, self._device_half),
            QUEUE_NUM_MAX: lambda: self._queue.max_size,
            QUEUE_READY: lambda: int(self._queue.ready),
            INTERRUPT_STATUS: lambda: self._interrupt,
            STATUS: lambda: self._status,
            QUEUE_RESET: lambda: 0,
            CONFIG_GENERATION: lambda: self._generation,
        }

    def _writing(self) -> dict[int, Callable[[int], None]]:
        writers: dict[int, Callable[[int], None]] = {
            DEVICE_FEATURES_SEL: lambda value: setattr(self, "_device_half", value),
            DRIVER_FEATURES_SEL: lambda value: setattr(self, "_driver_half", value),
            DRIVER_FEATURES: self._take_features,
            QUEUE_SEL: lambda value: setattr(self, "_selected", value),
            QUEUE_NUM: self._setter("size", 0),
            QUEUE_READY: self._ready_queue,
            QUEUE_NOTIFY: self._notify,
            INTERRUPT_ACK: self._acknowledge,
            STATUS: self._take_status,
            QUEUE_RESET: self._reset_queue,
        }
        for register, name in ((QUEUE_DESC, "table"), (QUEUE_DRIVER, "driver"), (QUEUE_DEVICE, "device")):
            writers[register], writers[register + 4] = self._setter(name, 0), self._setter(name, 32)
        return writers

    def _setter(self, name: str, shift: int) -> Callable[[int], None]:
        """Give what sets 32 bits of an attribute of the selected queue, unless it is in use."""

        def set_bits(value: int) -> None:
            queue = self._queue
            if not queue.ready:
                setattr(queue, name, getattr(queue, name) & ~(ALL_ONES << shift) | value << shift)

        return set_bits

    @property
    def _queue(self) -> Queue:
        return self._queues[self._selected] if self._selected < len(self._queues) else self._nowhere

    def _take_features(self, value: int) -> None:
        if self._status & FEATURES_OK or self._driver_half > 1:
            return
        shift = 32 * self._driver_half
        self._accepted = self._accepted & ~(ALL_ONES << shift) | value << shift

    def _take_status(self, value: int) -> None:
        """Go on in the order of section 3.1.1; a bit out of order, or one taken back, changes nothing."""
        if value == 0:
            self.reset()
            return
        status = self._status
        if status & ~NEEDS_RESET & ~value:
            return
        status |= value & (ACKNOWLEDGE | DRIVER | FAILED)
        known = status & (ACKNOWLEDGE | DRIVER | FEATURES_OK) == ACKNOWLEDGE | DRIVER
        agreed = self._accepted & F_VERSION_1 and not self._accepted & ~self._offered
        if value & FEATURES_OK and known and agreed:
            status |= FEATURES_OK
            self.device.accept(self._accepted)
        if status & FEATURES_OK:
            status |= value & DRIVER_OK
        begins = status & ~self._status & DRIVER_OK
        self._status = status
        if begins:
            # Linux's balloon notifies before this, when nothing may be served yet, and not again.
            for index in range(len(self._queues)):
                self._notify(index)

    def _ready_queue(self, value: int) -> None:
        queue = self._queue
        if not value & 1:
            queue.ready = False
        elif not queue.ready and self._status & (FEATURES_OK | NEEDS_RESET) == FEATURES_OK:
            try:
                queue.start(bool(self._accepted & F_INDIRECT_DESC))
            except GuestError as error:
                self._fail(error)

    def _reset_queue(self, value: int) -> None:
        if value & 1 and self._accepted & F_RING_RESET and self._status & FEATURES_OK:
            self._queue.reset()

    def _notify(self, value: int) -> None:
        if self._status & (DRIVER_OK | NEEDS_RESET) != DRIVER_OK or value >= len(self._queues):
            return
        queue = self._queues[value]
        if not queue.ready:
            return
        try:
            self.device.notify(value, queue)
        except GuestError as error:
            self._fail(error)
        if queue.take_interrupt():
            self._raise(USED_BUFFER)

    def _acknowledge(self, value: int) -> None:
        before = self._interrupt
        self._interrupt = before & ~value
        if before and not self._interrupt:
            self._set_line(0)

    def _raise(self, why: int) -> None:
        before = self._interrupt
        self._interrupt = before | why
        if self._interrupt and not before:
            self._set_line(1)

    def _fail(self, error: GuestError) -> None:
        """Stop serving until the driver resets the device, and tell it, section 2.1.2."""
        self.failures += 1
        self.failure = str(error)
        self._status |= NEEDS_RESET
        if self._status & DRIVER_OK:
            self._raise(CONFIG_CHANGED)


def _half(features: int, which: int) -> int:
    """Give bits 0 to 31 or 32 to 63; there are no others."""
    return features >> 32 * which & ALL_ONES if which < 2 else 0
