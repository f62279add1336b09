"""Complete instructions that a host's KVM cannot emulate, where /dev/kvm is itself emulated.

Such a host ends KVM_RUN with an internal error, "emulation failed", at instructions that it does not know. Those that
kernels use are few; here they are done to the CPU's registers and memory instead. On real hardware nothing of this
runs. Source: Intel SDM volume 2, the pages of each instruction.

Limit: a completed cmpxchg16b is atomic towards the monitor's other CPUs only as long as the guest has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from rondo_vmm.errors import GuestMemoryError

RSP, RBP, RIP, RFLAGS = 6, 7, 16, 17  # indexes as KVM orders registers
# The numbers that instructions give registers -> KVM's order: rax rcx rdx rbx rsp rbp rsi rdi r8..r15.
REGISTER = (0, 2, 3, 1, 6, 7, 4, 5, *range(8, 16))
CF, PF, AF, ZF, SF, OF, AC = 1, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11, 1 << 18
BREAKPOINT = 3
MASK = (1 << 64) - 1
LEGACY_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"


class Cpu(Protocol):
    """What instructions work on; kvm.state.CpuState is one."""

    registers: list[int]
    long_mode: bool
    fs_base: int
    gs_base: int

    def read(self, linear: int, length: int) -> bytes:
        """Copy bytes out of memory."""

    def write(self, linear: int, data: bytes) -> None:
        """Copy bytes into memory."""

    def mxcsr(self) -> int:
        """Give the control and status register of SSE."""

    def set_mxcsr(self, value: int) -> None:
        """Set it."""

    def inject(self, vector: int) -> None:
        """Raise an exception."""

    def save(self) -> None:
        """Take the registers over."""


@attrs.frozen
class Instruction:
    """An instruction, taken apart.

    Attributes:
        opcode: its bytes without prefixes, 0x0f included; rep, operand16, wide: whether f3, 66, REX.W are there.
        modrm: that byte; reg: its register field with REX.R; register: the r/m field's, or -1 where it is memory.
        address: the memory operand's linear address; length: bytes of the whole instruction.
    """

    opcode: bytes
    rep: bool = False
    operand16: bool = False
    wide: bool = False
    modrm: int = 0
    reg: int = 0
    register: int = -1
    address: int = 0
    length: int = 1


def complete(code: bytes, cpu: Cpu) -> str:
    """Do the instruction that `code` begins with, and give its name; "" where it is none of those known here.

    Raises: KvmError: the CPU does not take the result.
    """
    if not cpu.long_mode:
        return ""
    try:
        instruction = decode(code, cpu)
        name = _find(instruction)
        if name:
            _ALL[name](instruction, cpu)
    except (IndexError, GuestMemoryError):
        return ""
    if name:
        cpu.registers[RIP] = cpu.registers[RIP] + instruction.length & MASK
        cpu.save()
    return name


def decode(code: bytes, cpu: Cpu) -> Instruction:
    """Take an instruction of 64-bit code apart. Raises: IndexError: it is cut off."""
    at, prefixes, rex = 0, set(), 0
    while code[at] in LEGACY_PREFIXES:
        prefixes.add(code[at])
        at += 1
    if code[at] & 0xF0 == 0x40:
        rex, at = code[at], at + 1
    rep, operand16, wide = 0xF3 in prefixes, 0x66 in prefixes, bool(rex & 8)
    if code[at] != 0x0F:
        return Instruction(code[at : at + 1], rep, operand16, wide, length=at + 1)
    opcode, at = code[at : at + 2], at + 2
    modrm, after = code[at], at + 1
    mode, reg, rm = modrm >> 6, modrm >> 3 & 7 | (rex & 4) << 1, modrm & 7
    if mode == 3:
        return Instruction(opcode, rep, operand16, wide, modrm, reg, rm | (rex & 1) << 3, 0, after)
    offset, after = _offset(code, after, mode, rm, rex, cpu)
    base = cpu.fs_base if 0x64 in prefixes else cpu.gs_base if 0x65 in prefixes else 0
    if mode == 0 and rm == 5:
        offset += cpu.registers[RIP] + after
    if 0x67 in prefixes:
        offset &= 0xFFFFFFFF
    return Instruction(opcode, rep, operand16, wide, modrm, reg, -1, base + offset & MASK, after)


def _offset(code: bytes, at: int, mode: int, rm: int, rex: int, cpu: Cpu) -> tuple[int, int]:
    """Give a memory operand's offset, but for rip, and where the instruction goes on."""
    registers, offset, plain = cpu.registers, 0, mode == 0 and rm == 5
    if rm == 4:
        sib, at = code[at], at + 1
        index, base = sib >> 3 & 7 | (rex & 2) << 2, sib & 7
        if index != 4:
            offset += registers[REGISTER[index]] << (sib >> 6)
        plain = mode == 0 and base == 5
        if not plain:
            offset += registers[REGISTER[base | (rex & 1) << 3]]
    elif not plain:
        offset += registers[REGISTER[rm | (rex & 1) << 3]]
    size = 4 if plain or mode == 2 else mode
    if len(code) < at + size:
        raise IndexError(at)
    return offset + int.from_bytes(code[at : at + size], "little", signed=True), at + size


def _find(it: Instruction) -> str:
    memory, extension, name = it.register < 0, it.reg & 7, ""
    match it.opcode:
        case b"\xcc":
            name = "int3"
        case b"\x9b":
            name = "fwait"
        case b"\x0f\x01" if it.modrm in {0xCA, 0xCB}:
            name = "clac" if it.modrm == 0xCA else "stac"
        case b"\x0f\xae" if memory and extension in {2, 3} and not it.rep:
            name = "ldmxcsr" if extension == 2 else "stmxcsr"
        case b"\x0f\xb8" if it.rep:
            name = "popcnt"
        case b"\x0f\xc7" if memory and extension == 1 and it.wide:
            name = "cmpxchg16b"
    return name


# -- the instructions


def _nothing(_it: Instruction, _cpu: Cpu) -> None:
    """The host runs no x87 code with an exception pending."""


def _int3(_it: Instruction, cpu: Cpu) -> None:
    cpu.inject(BREAKPOINT)


def _clac(_it: Instruction, cpu: Cpu) -> None:
    cpu.registers[RFLAGS] &= ~AC


def _stac(_it: Instruction, cpu: Cpu) -> None:
    cpu.registers[RFLAGS] |= AC


def _ldmxcsr(it: Instruction, cpu: Cpu) -> None:
    cpu.set_mxcsr(int.from_bytes(cpu.read(it.address, 4), "little"))


def _stmxcsr(it: Instruction, cpu: Cpu) -> None:
    cpu.write(it.address, cpu.mxcsr().to_bytes(4, "little"))


def _popcnt(it: Instruction, cpu: Cpu) -> None:
    size = 8 if it.wide else 2 if it.operand16 else 4
    if it.register < 0:
        value = int.from_bytes(cpu.read(it.address, size), "little")
    else:
        value = cpu.registers[REGISTER[it.register]] & (1 << 8 * size) - 1
    target = REGISTER[it.reg]
    kept = cpu.registers[target] & ~0xFFFF if size == 2 else 0
    cpu.registers[target] = kept | value.bit_count()
    cpu.registers[RFLAGS] &= ~(CF | PF | AF | ZF | SF | OF)
    if not value:
        cpu.registers[RFLAGS] |= ZF


def _cmpxchg16b(it: Instruction, cpu: Cpu) -> None:
    rax, rbx, rcx, rdx = (cpu.registers[each] for each in range(4))
    there = int.from_bytes(cpu.read(it.address, 16), "little")
    if there == rdx << 64 | rax:
        cpu.write(it.address, (rcx << 64 | rbx).to_bytes(16, "little"))
        cpu.registers[RFLAGS] |= ZF
    else:
        cpu.registers[0], cpu.registers[3] = there & MASK, there >> 64
        cpu.registers[RFLAGS] &= ~ZF


_ALL: dict[str, Callable[[Instruction, Cpu], None]] = {
    "int3": _int3,
    "fwait": _nothing,
    "clac": _clac,
    "stac": _stac,
    "ldmxcsr": _ldmxcsr,
    "stmxcsr": _stmxcsr,
    "popcnt": _popcnt,
    "cmpxchg16b": _cmpxchg16b,
}
