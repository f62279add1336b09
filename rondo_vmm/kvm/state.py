"""A stopped virtual CPU's registers and its view of memory, for those who complete an instruction for it."""

from __future__ import annotations

import struct

from rondo_vmm.errors import GuestMemoryError, KvmError
from rondo_vmm.kvm import ioctl, uapi
from rondo_vmm.memory import GuestMemory

PAGE_BYTES = 4096
LONGEST_INSTRUCTION = 15
_U32 = struct.Struct("<I")


class CpuState:
    """Registers by number, memory by linear address. What is not mapped raises GuestMemoryError.

    Attributes: `registers`: rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags, written back by `save`;
        `long_mode`: whether 64-bit code runs; `fs_base`, `gs_base`: where those segments begin.
    """

    def __init__(self, descriptor: int, memory: GuestMemory) -> None:
        """Read the registers. Raises: KvmError."""
        self._vcpu, self._memory = descriptor, memory
        registers, sregs = bytearray(uapi.REGS.size), bytearray(uapi.SREGS_BYTES)
        ioctl.call(descriptor, uapi.GET_REGS, registers)
        ioctl.call(descriptor, uapi.GET_SREGS, sregs)
        self.registers = list(uapi.REGS.unpack(registers))
        segments = dict(enumerate(uapi.SREGS_SEGMENTS))
        parts = {name: uapi.SEGMENT.unpack_from(sregs, index * uapi.SEGMENT_BYTES) for index, name in segments.items()}
        self.long_mode = bool(parts["cs"][8])
        self.fs_base, self.gs_base = parts["fs"][0], parts["gs"][0]

    def code(self) -> bytes:
        """Give the bytes at rip, as far as they are mapped."""
        rip = self.registers[uapi.REGS_RIP]
        for length in (LONGEST_INSTRUCTION, PAGE_BYTES - rip % PAGE_BYTES):
            try:
                return self.read(rip, length)
            except GuestMemoryError:
                continue
        return b""

    def read(self, linear: int, length: int) -> bytes:
        """Copy bytes out, across pages. Raises: GuestMemoryError."""
        return b"".join(self._memory.read(at, size) for at, size in self._pieces(linear, length))

    def write(self, linear: int, data: bytes) -> None:
        """Copy bytes in, across pages. Raises: GuestMemoryError."""
        done = 0
        for at, size in self._pieces(linear, len(data)):
            self._memory.write(at, data[done : done + size])
            done += size

    def save(self) -> None:
        """Give the registers back to the CPU. Raises: KvmError."""
        ioctl.call(self._vcpu, uapi.SET_REGS, uapi.REGS.pack(*self.registers))

    def set_mxcsr(self, value: int) -> None:
        """Set the control and status register of SSE. Raises: KvmError."""
        xsave = self._xsave()
        _U32.pack_into(xsave, uapi.XSAVE_MXCSR, value)
        xsave[uapi.XSAVE_XSTATE_BV] |= uapi.XSTATE_SSE
        ioctl.call(self._vcpu, uapi.SET_XSAVE, xsave)

    def mxcsr(self) -> int:
        """Give the control and status register of SSE. Raises: KvmError."""
        value: int = _U32.unpack_from(self._xsave(), uapi.XSAVE_MXCSR)[0]
        return value

    def inject(self, vector: int) -> None:
        """Let the CPU take an exception without error code when it runs again. Raises: KvmError."""
        events = bytearray(uapi.EVENTS_BYTES)
        ioctl.call(self._vcpu, uapi.GET_VCPU_EVENTS, events)
        events[0:3] = bytes((1, vector, 0))
        ioctl.call(self._vcpu, uapi.SET_VCPU_EVENTS, bytes(events))

    def _xsave(self) -> bytearray:
        xsave = bytearray(uapi.XSAVE_BYTES)
        ioctl.call(self._vcpu, uapi.GET_XSAVE, xsave)
        return xsave

    def _pieces(self, linear: int, length: int) -> list[tuple[int, int]]:
        """Give (guest physical address, bytes) of each page's part, all looked up before any is used."""
        pieces = []
        while length > 0:
            size = min(length, PAGE_BYTES - linear % PAGE_BYTES)
            pieces.append((self._translate(linear), size))
            linear, length = linear + size & (1 << 64) - 1, length - size
        return pieces

    def _translate(self, linear: int) -> int:
        table = bytearray(uapi.TRANSLATION.pack(linear, 0, 0))
        try:
            ioctl.call(self._vcpu, uapi.TRANSLATE, table)
        except KvmError:
            raise GuestMemoryError(linear, 1, self._memory.size_bytes) from None
        _, physical, valid = uapi.TRANSLATION.unpack(table)
        if not valid:
            raise GuestMemoryError(linear, 1, self._memory.size_bytes)
        return int(physical)
