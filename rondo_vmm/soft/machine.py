"""A virtual CPU in software: the package unicorn runs the guest's instructions, the bus is the same.

Its exits are those that the same guest would cause on /dev/kvm; they say nothing of a hypervisor's cost.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from rondo_core.clock import monotonic_ns
from rondo_core.errors import one_line
from rondo_vmm.boot.kernel import Start
from rondo_vmm.devices.board import Board
from rondo_vmm.errors import GuestError, VmmError
from rondo_vmm.hookspecs import EXIT_REASONS, HLT, IO, MMIO, SHUTDOWN
from rondo_vmm.observe.exit_totals import ExitTotals

TRANSLATED_BYTES = 1 << 20  # bare kernels are small; unicorn's own 1 GiB costs each machine a whole huge page of 2 MiB
SLICE_US = 50_000  # how long the CPU runs before it looks whether it was stopped


class SoftMachine:
    """A machine with one virtual CPU in software, which it is itself."""

    name = "soft"

    def __init__(self, board: Board) -> None:
        """Map memory and devices. Raises: VmmError: unicorn is not installed, or does not load."""
        try:
            import unicorn
            from unicorn import x86_const
        except ImportError as error:
            if find_spec("unicorn") is not None:
                raise VmmError(f"the package unicorn does not load: {one_line(error)}") from None
            raise VmmError("the software CPU needs the package unicorn; pip install unicorn") from None
        self._x86: Any = x86_const
        self._unicorn: Any = unicorn
        self._board = board
        self.exits = [0] * len(EXIT_REASONS)
        self.vcpus = [self]
        self.completed: dict[str, int] = {}
        self._add = ExitTotals(self.exits).add
        self._before = 0
        self._failure: BaseException | None = None
        self._cpu: Any = self._unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self._cpu.ctl_set_tcg_buffer_size(TRANSLATED_BYTES)
        memory = board.memory
        self._cpu.mem_map_ptr(0, memory.size_bytes, unicorn.UC_PROT_ALL, ctypes.c_void_p(memory.host_address()))

    def set_up(self, start: Start) -> None:
        """Put the CPU at its entry; the software CPU starts in flat 32-bit mode."""
        cpu, x86 = self._cpu, self._x86
        for base, length in self._board.bus.mmio_ranges():
            cpu.mmio_map(base, length, self._mmio_read, base, self._mmio_write, base)
        cpu.hook_add(self._unicorn.UC_HOOK_INSN, self._port_in, None, 1, 0, x86.UC_X86_INS_IN)
        cpu.hook_add(self._unicorn.UC_HOOK_INSN, self._port_out, None, 1, 0, x86.UC_X86_INS_OUT)
        cpu.reg_write(x86.UC_X86_REG_ESI, start.rsi)
        cpu.reg_write(x86.UC_X86_REG_EIP, start.entry)

    def interrupt_line(self, irq: int) -> Callable[[int], None]:  # noqa: ARG002 - it has no interrupt controller
        """Give what takes a level and does nothing."""
        return lambda _level: None

    def run(self, totals: ExitTotals) -> str:
        """Run until the guest ends or `stop` is called; see Machine.run."""
        board, cpu, eip = self._board, self._cpu, self._x86.UC_X86_REG_EIP
        self._add = totals.add
        self._before = monotonic_ns()
        while not board.stopped:
            started = monotonic_ns()
            try:
                cpu.emu_start(cpu.reg_read(eip), 1 << 32, SLICE_US)
            except self._unicorn.UcError as error:
                self._raise_failure()
                self._add(SHUTDOWN, self._before, monotonic_ns())
                raise GuestError(
                    f"the guest failed at rip {cpu.reg_read(eip):#x}: {error}; its kernel is at fault"
                ) from None
            self._raise_failure()
            if board.ended:
                return board.ended
            if not board.stopped and self._halted(started):
                self._add(HLT, self._before, monotonic_ns())
                board.sleep_until_alarm()
                self._before = monotonic_ns()
                if board.ended:
                    return board.ended
        return ""

    def stop(self) -> None:
        """Take the CPU out of the guest within a slice, or out of its sleep."""
        self._board.stop()

    def close(self) -> None:
        """Forget the CPU."""
        self._cpu = None

    def _halted(self, started: int) -> bool:
        """Tell HLT from the end of a slice: the instruction before the next one is HLT (0xf4)."""
        if self._board.clock.alarm_ns:
            return True
        address = self._cpu.reg_read(self._x86.UC_X86_REG_EIP) - 1
        inside = 0 <= address < self._board.memory.size_bytes
        return inside and monotonic_ns() - started < SLICE_US * 1000 and self._board.memory.read(address, 1) == b"\xf4"

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _exit(self, index: int, left: int) -> None:
        self._before = self._add(index, self._before, left)
        if self._board.ended or self._board.stopped:
            self._cpu.emu_stop()

    def _fail(self, error: BaseException) -> None:
        """Keep what a device raised until the CPU is back in Python: an exception cannot cross it."""
        self._failure = self._failure or error
        self._cpu.emu_stop()

    # -- exits; unicorn gives (cpu, port or offset, size, ...)

    def _port_in(self, _cpu: Any, port: int, size: int, _user: Any) -> int:
        left = monotonic_ns()
        try:
            value = self._board.bus.port_read(port, size)
            self._exit(IO, left)
        except Exception as error:  # noqa: BLE001 - carried over the C code below
            self._fail(error)
            return 0
        return value

    def _port_out(self, _cpu: Any, port: int, size: int, value: int, _user: Any) -> None:
        left = monotonic_ns()
        try:
            self._board.bus.port_write(port, size, value)
            self._exit(IO, left)
        except Exception as error:  # noqa: BLE001 - carried over the C code below
            self._fail(error)

    def _mmio_read(self, _cpu: Any, offset: int, size: int, base: int) -> int:
        left = monotonic_ns()
        try:
            value = self._board.bus.mmio_read(base + offset, size)
            self._exit(MMIO, left)
        except Exception as error:  # noqa: BLE001 - carried over the C code below
            self._fail(error)
            return 0
        return value

    def _mmio_write(self, _cpu: Any, offset: int, size: int, value: int, base: int) -> None:
        left = monotonic_ns()
        try:
            self._board.bus.mmio_write(base + offset, size, value)
            self._exit(MMIO, left)
        except Exception as error:  # noqa: BLE001 - carried over the C code below
            self._fail(error)
