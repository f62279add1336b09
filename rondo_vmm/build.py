"""VmConfig -> a machine that is ready to run: memory, the CPUs, the devices around them, and the kernel in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rondo_vmm.boot.kernel import Kernel, read_kernel
from rondo_vmm.boot.loader import EMULATED_HOST_CMDLINE, LINUX_CMDLINE, load
from rondo_vmm.config import VmConfig, check_command_line
from rondo_vmm.devices import clock, power, serial
from rondo_vmm.devices.board import Board
from rondo_vmm.errors import ConfigError
from rondo_vmm.memory import GuestMemory
from rondo_vmm.rlimits import check_rlimits

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.setup import VirtioDevices
    from rondo_vmm.machine import Machine


class Vm(NamedTuple):
    """A machine, its board, its serial port, its virtio devices where it has any, and why it is that machine."""

    machine: Machine
    board: Board
    serial: serial.Serial
    virtio: VirtioDevices | None
    why: str

    def close(self) -> None:
        """Release it all; every CPU must have left the guest."""
        self.machine.close()
        if self.virtio is not None:
            self.virtio.close()


def build(config: VmConfig, sink: Callable[[bytes], object]) -> Vm:
    """Make the machine; `sink` takes what the guest writes to its serial port.

    Raises: KvmError, VmmError: the machine cannot be had; BootError, ConfigError: the kernel cannot be loaded;
    DiskError: a disk image cannot be used.
    """
    kernel = read_kernel(config.kernel, config.emulated_host, config.memory_mib << 20)
    if kernel.bare and config.vcpus > 1:
        raise ConfigError(f"{kernel.source}: a bare kernel runs on one virtual CPU only; give a Linux kernel")
    cmdline = command_line(config, kernel)
    board = Board(GuestMemory(config.memory_mib << 20))
    machine, why = choose_machine(config, board, kernel)
    virtio: VirtioDevices | None = None
    try:
        uart = add_devices(board, machine, sink)
        if config.has_virtio:
            from rondo_vmm.devices.virtio.setup import VirtioDevices

            virtio = VirtioDevices(config, board, machine.interrupt_line)
        machine.set_up(load(kernel, board.memory, cmdline, config.initrd, config.vcpus, board.mmio_regions))
    except BaseException:
        machine.close()
        if virtio is not None:
            virtio.close()
        raise
    return Vm(machine, board, uart, virtio, why)


def command_line(config: VmConfig, kernel: Kernel) -> str:
    """Give what the kernel is told: what a Linux kernel needs on this machine, then what was asked for.

    Raises: ConfigError: it is too long.
    """
    if kernel.bare:
        return config.cmdline
    needed = [LINUX_CMDLINE, EMULATED_HOST_CMDLINE] if config.emulated_host else [LINUX_CMDLINE]
    cmdline = " ".join([*needed, config.cmdline]).strip()
    check_command_line(cmdline)
    return cmdline


def choose_machine(config: VmConfig, board: Board, kernel: Kernel) -> tuple[Machine, str]:
    """Make the machine that was asked for, or the best that there is; say why it is that one.

    Raises: KvmError, VmmError: it cannot be had; ConfigError: it cannot run this kernel.
    """
    from rondo_vmm.kvm import vm

    why = "asked for"
    wanted = config.machine
    if wanted == "auto":
        trouble = vm.usable()
        wanted, why = ("soft", trouble) if trouble else ("kvm", "/dev/kvm can be used")
    check_rlimits(config.vcpus, soft=wanted == "soft")
    if wanted == "kvm":
        from rondo_vmm.kvm.machine import KvmMachine
        from rondo_vmm.kvm.vcpu import install_kick

        install_kick()
        return KvmMachine(board, config.vcpus, linux=not kernel.bare, emulated_host=config.emulated_host), why
    if not kernel.bare:
        trouble = f" ({why})" if config.machine == "auto" else ""
        raise ConfigError(f"{kernel.source}: the software CPU runs bare kernels only{trouble}; it needs --machine kvm")
    from rondo_vmm.soft.machine import SoftMachine

    return SoftMachine(board), why


def add_devices(board: Board, machine: Machine, sink: Callable[[bytes], object]) -> serial.Serial:
    """Put the devices on the bus, and give the serial port."""
    bus = board.bus
    uart = serial.Serial(sink, machine.interrupt_line(serial.COM1_IRQ))
    bus.add_ports(serial.COM1, 8, uart)
    bus.add_ports(power.PM1A_EVENT, power.PM1A_EVENT_COUNT, power.PowerEvents())
    bus.add_ports(power.PM1A_CONTROL, 4, power.PowerOff(board.finish))
    bus.add_ports(power.I8042_DATA, 5, power.KeyboardController(board.finish))
    bus.add_ports(clock.CLOCK_PORT, clock.PORT_COUNT, board.clock)
    bus.add_ports(clock.SCRATCH_PORT, clock.SCRATCH_PORT_COUNT, clock.Scratch(clock.SCRATCH_PORT_COUNT))
    bus.add_mmio(clock.SCRATCH_MMIO, clock.SCRATCH_MMIO_BYTES, clock.Scratch(clock.SCRATCH_MMIO_BYTES))
    return uart
