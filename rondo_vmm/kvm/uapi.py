"""Numbers and structures of the KVM API. Source: include/uapi/linux/kvm.h and Documentation/virt/kvm/api.rst."""

from __future__ import annotations

import struct

API_VERSION = 12

GET_API_VERSION = 0xAE00
CREATE_VM = 0xAE01
GET_VCPU_MMAP_SIZE = 0xAE04
CREATE_VCPU = 0xAE41
SET_USER_MEMORY_REGION = 0x4020AE46
SET_TSS_ADDR = 0xAE47
RUN = 0xAE80
GET_REGS, SET_REGS = 0x8090AE81, 0x4090AE82
GET_SREGS, SET_SREGS = 0x8138AE83, 0x4138AE84

NAMES = {
    GET_API_VERSION: "KVM_GET_API_VERSION",
    CREATE_VM: "KVM_CREATE_VM",
    GET_VCPU_MMAP_SIZE: "KVM_GET_VCPU_MMAP_SIZE",
    CREATE_VCPU: "KVM_CREATE_VCPU",
    SET_USER_MEMORY_REGION: "KVM_SET_USER_MEMORY_REGION",
    SET_TSS_ADDR: "KVM_SET_TSS_ADDR",
    RUN: "KVM_RUN",
    GET_REGS: "KVM_GET_REGS",
    SET_REGS: "KVM_SET_REGS",
    GET_SREGS: "KVM_GET_SREGS",
    SET_SREGS: "KVM_SET_SREGS",
}

# Where Intel's KVM may put the three pages it needs to run real mode: above the guest's memory, and below 2 GiB, since
# Python passes an ioctl's number as a C int.
TSS_ADDRESS = 0x7FFBD000

MEMORY_REGION = struct.Struct("<IIQQQ")  # slot, flags, guest address, size, host address
REGS = struct.Struct("<18Q")  # rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags
REGS_RSI, REGS_RIP, REGS_RFLAGS = 4, 16, 17
SEGMENT = struct.Struct("<QIH8B2x")  # base limit selector type present dpl db s l g avl
SEGMENT_BYTES = 24
SREGS_BYTES = 312
SREGS_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
SREGS_CR0 = 224  # cr0 cr2 cr3 cr4 cr8 efer apic_base follow, 8 bytes each
SREGS_CR4, SREGS_EFER = 248, 264
CR0_PE_ET = 0x11

# struct kvm_run
RUN_IMMEDIATE_EXIT = 1
RUN_EXIT_REASON = 8
RUN_IO_DIRECTION, RUN_IO_SIZE, RUN_IO_PORT, RUN_IO_COUNT, RUN_IO_DATA_OFFSET = 32, 33, 34, 36, 40
RUN_MMIO_ADDRESS, RUN_MMIO_DATA, RUN_MMIO_LENGTH, RUN_MMIO_IS_WRITE = 32, 40, 48, 52
RUN_HARDWARE_REASON = 32
RUN_SUBERROR = 32
RUN_SYSTEM_EVENT = 32

EXIT_IO, EXIT_HLT, EXIT_MMIO, EXIT_SHUTDOWN, EXIT_FAIL_ENTRY, EXIT_INTR = 2, 5, 6, 8, 9, 10
EXIT_INTERNAL_ERROR, EXIT_SYSTEM_EVENT = 17, 24
IO_OUT = 1
SUBERRORS = {1: "an instruction that this host's KVM cannot emulate", 2: "an exception while delivering another"}
SYSTEM_EVENTS = {1: "power-off", 2: "reset", 3: "crash"}
