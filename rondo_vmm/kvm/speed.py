"""How fast /dev/kvm runs a guest's kernel: where the host emulates it, a thousand times slower than the processor."""

from __future__ import annotations

import struct

from rondo_core.clock import monotonic_ns
from rondo_vmm.boot.kernel import Start
from rondo_vmm.devices.board import Board
from rondo_vmm.errors import VmmError
from rondo_vmm.kvm import uapi
from rondo_vmm.kvm.vcpu import KvmVcpu
from rondo_vmm.kvm.vm import DEVICE, KvmVm
from rondo_vmm.memory import GuestMemory

EMULATED_NS = 50.0  # an instruction: a processor takes less than 1 ns for it, an emulated /dev/kvm 500 ns and more
TURNS, TRIES = 1000, 3
ENTRY, MEMORY_BYTES = 0x1000, 0x10000
# Source: Intel SDM volume 2: mov ecx, TURNS; dec ecx; jnz to the dec; hlt.
_LOOP = struct.Struct("<BI4sB")


def instruction_ns() -> float:
    """Measure what an instruction of a guest's kernel takes here, in a loop of 2,000 that ends in HLT.

    Raises: KvmError, VmmError: /dev/kvm cannot be used, or does not run the loop to its end.
    """
    memory = GuestMemory(MEMORY_BYTES)
    vm = KvmVm(memory)
    try:
        vcpu = KvmVcpu(Board(memory), vm.create_vcpu(), vm.vcpu_map_bytes)
        try:
            short, long = (min(_run_ns(vcpu, memory, turns) for _ in range(TRIES)) for turns in (1, TURNS))
        finally:
            vcpu.close()
    finally:
        vm.close()
    return (long - short) / (2 * (TURNS - 1))


def _run_ns(vcpu: KvmVcpu, memory: GuestMemory, turns: int) -> int:
    memory.write(ENTRY, _LOOP.pack(0xB9, turns, b"\xff\xc9\x75\xfc", 0xF4))
    vcpu.set_up(Start(ENTRY))
    before_ns = monotonic_ns()
    number = vcpu.enter()
    took_ns = monotonic_ns() - before_ns
    if number != uapi.EXIT_HLT:
        raise VmmError(f"{DEVICE}: a loop of {turns} turns ended with exit {number}; the host's KVM is at fault")
    return took_ns


def emulated() -> str:
    """Say by what one sees that /dev/kvm is itself emulated; empty where it is not.

    Raises: KvmError, VmmError: see `instruction_ns`.
    """
    took_ns = instruction_ns()
    return f"{DEVICE} is itself emulated here, {took_ns:.0f} ns an instruction" if took_ns > EMULATED_NS else ""
