"""What CPUID tells a guest: all that the host can do, and each virtual CPU its own number."""

from __future__ import annotations

from collections.abc import Sequence

from rondo_vmm.kvm import uapi

Entry = tuple[int, ...]  # function, index, flags, eax, ebx, ecx, edx

# Source: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
FEATURES, TOPOLOGIES, AMD_SIZES = 0x1, {0xB, 0x1F}, 0x80000008
HYPERVISOR, CX16, HTT = 1 << 31, 1 << 13, 1 << 28
SMT_LEVEL, CORE_LEVEL = 1 << 8, 2 << 8


def for_vcpu(supported: Sequence[Entry], number: int, vcpus: int, hide_cx16: bool = False) -> list[Entry]:
    """Give a CPU's table: `vcpus` cores of one package, of which it is the one of that number.

    Args: `hide_cx16`: leave out cmpxchg16b, which hosts that emulate KVM lack.
    """
    bits = (vcpus - 1).bit_length()
    table: list[Entry] = []
    for entry in supported:
        function, index, flags, eax, ebx, ecx, edx = entry
        if function in TOPOLOGIES:
            continue
        if function == FEATURES:
            ebx = ebx & 0xFF00 | min(vcpus, 255) << 16 | number << 24
            ecx = ecx & ~CX16 | HYPERVISOR if hide_cx16 else ecx | HYPERVISOR
            edx = edx | HTT if vcpus > 1 else edx & ~HTT
        elif function == AMD_SIZES:
            ecx = ecx & ~0xF0FF | bits << 12 | vcpus - 1
        table.append((function, index, flags, eax, ebx, ecx, edx))
    if any(entry[0] in TOPOLOGIES for entry in supported):
        table.append((0xB, 0, 1, 0, 1, SMT_LEVEL, number))
        table.append((0xB, 1, 1, bits, vcpus, CORE_LEVEL | 1, number))
    return table


def pack(table: Sequence[Entry]) -> bytearray:
    """Give it as struct kvm_cpuid2."""
    entries = b"".join(uapi.CPUID_ENTRY.pack(*entry) for entry in table)
    return bytearray(uapi.CPUID_HEADER.pack(len(table)) + entries)
