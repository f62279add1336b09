"""A virtual CPU on /dev/kvm and its exit loop.

Per exit there is nothing but bound callables: KVM_RUN, a look at a clock, the handler of the exit's reason, and the
sums from which the plugins have them.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import signal
import struct
import threading
from collections.abc import Callable

from rondo_core.clock import monotonic_ns
from rondo_vmm.boot import longmode
from rondo_vmm.boot.kernel import Start
from rondo_vmm.devices.board import Board
from rondo_vmm.errors import GuestError, KvmError, VmmError
from rondo_vmm.hookspecs import EXIT_REASONS, HLT, IO, MMIO, OTHER, SHUTDOWN
from rondo_vmm.kvm import ioctl, uapi
from rondo_vmm.observe.exit_totals import ExitTotals

KICK = signal.SIGRTMIN
_REASON_INDEX = {uapi.EXIT_IO: IO, uapi.EXIT_MMIO: MMIO, uapi.EXIT_HLT: HLT, uapi.EXIT_SHUTDOWN: SHUTDOWN}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class KvmVcpu:
    """One virtual CPU. `stop` needs `install_kick` to have been called from the main thread.

    Attributes: `completed`: instructions by name that the monitor ran because the host's KVM cannot.
    """

    def __init__(
        self,
        board: Board,
        descriptor: int,
        map_bytes: int,
        lock: threading.Lock | None = None,
        mend: str = "use --machine soft",
    ) -> None:
        """Map its run structure.

        Args: `lock`: what to hold while devices answer, where other CPUs use them too; `mend`: what to do about an
            exit that cannot be handled.
        """
        self._board = board
        self._vcpu = descriptor
        self._lock = lock
        self._mend = mend
        self._run = mmap.mmap(descriptor, map_bytes)
        self._bytes = memoryview(self._run)
        self.exits = [0] * len(EXIT_REASONS)
        self.completed: dict[str, int] = {}
        self._thread: int | None = None
        self._kicking = threading.RLock()  # a thread that has ended cannot be kicked: the C library would crash
        self._failure: VmmError | None = None

    def set_up(self, start: Start) -> None:
        """Enter flat 32-bit protected mode with paging off, or 64-bit mode, as the boot protocols ask.

        Raises: KvmError.
        """
        sregs = bytearray(uapi.SREGS_BYTES)
        ioctl.call(self._vcpu, uapi.GET_SREGS, sregs)
        for index, name in enumerate(uapi.SREGS_SEGMENTS):
            kind, selector = (0xB, 0x10) if name == "cs" else (0x3, 0x18)
            wide = int(start.long_mode and name == "cs")
            flat = uapi.SEGMENT.pack(0, 0xFFFFFFFF, selector, kind, 1, 0, 1 - wide, 1, wide, 1, 0)
            sregs[index * uapi.SEGMENT_BYTES : (index + 1) * uapi.SEGMENT_BYTES] = flat
        cr0, cr4, efer = uapi.CR0_PE_ET, 0, 0
        if start.long_mode:
            cr0, cr4, efer = cr0 | uapi.CR0_PG, uapi.CR4_PAE, uapi.EFER_LME_LMA
            uapi.DTABLE.pack_into(sregs, uapi.SREGS_GDT, longmode.GDT, longmode.GDT_LIMIT)
            _U64.pack_into(sregs, uapi.SREGS_CR3, longmode.PML4)
        _U64.pack_into(sregs, uapi.SREGS_CR0, cr0)
        _U64.pack_into(sregs, uapi.SREGS_CR4, cr4)
        _U64.pack_into(sregs, uapi.SREGS_EFER, efer)
        ioctl.call(self._vcpu, uapi.SET_SREGS, bytes(sregs))
        registers = [0] * 18
        registers[uapi.REGS_RIP], registers[uapi.REGS_RFLAGS] = start.entry, 2
        registers[uapi.REGS_RSI], registers[uapi.REGS_RBX] = start.rsi, start.rbx
        ioctl.call(self._vcpu, uapi.SET_REGS, uapi.REGS.pack(*registers))

    def set_features(self, cpuid: bytearray) -> None:
        """Say what CPUID tells, and put FPU and memory types into the state that firmware leaves. Raises: KvmError."""
        ioctl.call(self._vcpu, uapi.SET_CPUID2, cpuid)
        fpu = bytearray(uapi.FPU_BYTES)
        struct.pack_into("<H", fpu, uapi.FPU_FCW, uapi.FCW_RESET)
        ioctl.call(self._vcpu, uapi.SET_FPU, bytes(fpu))
        msrs = (
            (uapi.MSR_MTRR_DEFAULT_TYPE, uapi.MTRR_ENABLED_WRITE_BACK),
            (uapi.MSR_MISC_ENABLE, uapi.MISC_ENABLE_FAST_STRING),
        )
        # A host that lacks one of these stops there: kernels do without.
        table = uapi.MSRS_HEADER.pack(len(msrs)) + b"".join(uapi.MSR.pack(*msr) for msr in msrs)
        with contextlib.suppress(KvmError):
            ioctl.call(self._vcpu, uapi.SET_MSRS, bytearray(table))

    def run(self, totals: ExitTotals) -> str:
        """Run until the guest ends or `stop` is called; see Vcpu.run."""
        self._thread = threading.get_ident()
        try:
            return self._loop(totals)
        finally:
            with self._kicking:
                self._thread = None

    def _loop(self, totals: ExitTotals) -> str:
        board, vcpu = self._board, self._vcpu
        reason = self._bytes[uapi.RUN_EXIT_REASON : uapi.RUN_EXIT_REASON + 4].cast("I")
        handlers = self._handlers()
        indexes = [_REASON_INDEX.get(number, OTHER) for number in range(64)]
        enter, request, now, add = fcntl.ioctl, uapi.RUN, monotonic_ns, totals.add
        before = now()
        while not board.stopped:
            try:
                enter(vcpu, request, 0)
            except (InterruptedError, BlockingIOError):  # kicked, or woken by another CPU's start-up interrupt
                continue
            except OSError as error:
                raise KvmError("KVM_RUN", error.errno or 0) from None
            left = now()
            number = reason[0] & 63
            index = indexes[number]
            handlers[number]()
            before = add(index, before, left)
            if index == HLT:
                board.sleep_until_alarm()
                before = now()
            if board.ended:
                if self._failure is not None:
                    raise self._failure
                return board.ended
        return ""

    def enter(self) -> int:
        """Run until the next exit and give its number in the KVM API, without handling it. Raises: KvmError."""
        while True:
            try:
                fcntl.ioctl(self._vcpu, uapi.RUN, 0)
            except InterruptedError:
                continue
            except OSError as error:
                raise KvmError("KVM_RUN", error.errno or 0) from None
            (number,) = _U32.unpack_from(self._bytes, uapi.RUN_EXIT_REASON)
            return int(number)

    def stop(self) -> None:
        """Take the CPU out of the guest."""
        self._bytes[uapi.RUN_IMMEDIATE_EXIT] = 1
        with self._kicking:
            if self._thread is not None and signal.getsignal(KICK) not in {signal.SIG_DFL, None}:
                signal.pthread_kill(self._thread, KICK)

    def close(self) -> None:
        """Unmap."""
        self._thread = None
        with contextlib.suppress(BufferError):
            self._bytes.release()
            self._run.close()

    # -- exits

    def _handlers(self) -> list[Callable[[], None]]:
        """Give what handles an exit, by its number in the KVM API."""
        handlers: list[Callable[[], None]] = [self._other] * 64
        handlers[uapi.EXIT_IO] = self._alone(self._port)
        handlers[uapi.EXIT_MMIO] = self._alone(self._mmio)
        handlers[uapi.EXIT_HLT] = self._nothing
        handlers[uapi.EXIT_SHUTDOWN] = self._shutdown
        return handlers

    def _alone(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Let devices answer one CPU at a time; with one CPU there is nothing to wait for."""
        lock = self._lock
        if lock is None:
            return handler

        def alone() -> None:
            with lock:
                handler()

        return alone

    def _nothing(self) -> None:
        """HLT: the loop sleeps after the plugins have seen it."""

    def _port(self) -> None:
        view, bus = self._bytes, self._board.bus
        size, port = view[uapi.RUN_IO_SIZE], view[uapi.RUN_IO_PORT] | view[uapi.RUN_IO_PORT + 1] << 8
        (count,) = _U32.unpack_from(view, uapi.RUN_IO_COUNT)
        (at,) = _U64.unpack_from(view, uapi.RUN_IO_DATA_OFFSET)
        if view[uapi.RUN_IO_DIRECTION] == uapi.IO_OUT:
            for start in range(at, at + count * size, size):
                bus.port_write(port, size, int.from_bytes(view[start : start + size], "little"))
        else:
            for start in range(at, at + count * size, size):
                view[start : start + size] = bus.port_read(port, size).to_bytes(size, "little")

    def _mmio(self) -> None:
        view, bus = self._bytes, self._board.bus
        (address,) = _U64.unpack_from(view, uapi.RUN_MMIO_ADDRESS)
        size = min(_U32.unpack_from(view, uapi.RUN_MMIO_LENGTH)[0], 8)
        data = view[uapi.RUN_MMIO_DATA : uapi.RUN_MMIO_DATA + size]
        if view[uapi.RUN_MMIO_IS_WRITE]:
            bus.mmio_write(address, size, int.from_bytes(data, "little"))
        else:
            data[:] = bus.mmio_read(address, size).to_bytes(size, "little")

    def _shutdown(self) -> None:
        what = f"the guest shut its CPU down (triple fault) at rip {self._rip():#x}; its kernel is at fault"
        self._fail(GuestError(what))

    def _other(self) -> None:
        (number,) = _U32.unpack_from(self._bytes, uapi.RUN_EXIT_REASON)
        if number == uapi.EXIT_INTR:
            return
        (detail,) = _U32.unpack_from(self._bytes, uapi.RUN_SUBERROR)
        if number == uapi.EXIT_SYSTEM_EVENT:
            self._board.finish(uapi.SYSTEM_EVENTS.get(detail, f"system event {detail}"))
            return
        if number == uapi.EXIT_INTERNAL_ERROR:
            self._internal_error(detail)
            return
        rip = self._rip()
        if number == uapi.EXIT_FAIL_ENTRY:
            what = f"KVM cannot enter the guest (hardware reason {detail:#x}) at rip {rip:#x}"
            self._fail(VmmError(f"{what}; {self._mend}"))
        else:
            what = f"the guest made KVM exit for reason {number} at rip {rip:#x}"
            self._fail(GuestError(f"{what}, which this monitor does not know; {self._mend}"))

    def _internal_error(self, detail: int) -> None:
        code = b""
        if detail == uapi.SUBERROR_EMULATION:
            from rondo_vmm.kvm.completion import complete
            from rondo_vmm.kvm.state import CpuState

            state = CpuState(self._vcpu, self._board.memory)
            code = state.code()
            name = complete(code, state)
            if name:
                self.completed[name] = self.completed.get(name, 0) + 1
                return
        what = uapi.SUBERRORS.get(detail, f"KVM internal error {detail}")
        bytes_there = f" (bytes {code[:8].hex(' ')})" if code else ""
        self._fail(GuestError(f"the guest reached {what} at rip {self._rip():#x}{bytes_there}; {self._mend}"))

    def _fail(self, error: VmmError) -> None:
        """End the run with an error, once the observers have seen the exit."""
        self._failure = error
        self._board.finish("failed")

    def _rip(self) -> int:
        registers = bytearray(uapi.REGS.size)
        ioctl.call(self._vcpu, uapi.GET_REGS, registers)
        rip: int = uapi.REGS.unpack(registers)[uapi.REGS_RIP]
        return rip


def install_kick() -> None:
    """Let `stop` interrupt a CPU that runs guest code: a signal that does nothing but end the ioctl.

    Raises: VmmError: not called from the main thread, where alone Python installs signal handlers.
    """
    if signal.getsignal(KICK) not in {signal.SIG_DFL, None}:
        return
    try:
        signal.signal(KICK, lambda *_: None)
    except ValueError:
        raise VmmError("a VM on /dev/kvm is started from the main thread first; call run_vm there") from None
