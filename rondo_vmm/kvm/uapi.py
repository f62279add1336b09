"""Numbers and structures of the KVM API. Source: include/uapi/linux/kvm.h and Documentation/virt/kvm/api.rst."""

from __future__ import annotations

import struct

API_VERSION = 12

GET_API_VERSION = 0xAE00
CREATE_VM = 0xAE01
CHECK_EXTENSION = 0xAE03
GET_VCPU_MMAP_SIZE = 0xAE04
GET_SUPPORTED_CPUID = 0xC008AE05
CREATE_VCPU = 0xAE41
SET_USER_MEMORY_REGION = 0x4020AE46
SET_TSS_ADDR = 0xAE47
CREATE_IRQCHIP = 0xAE60
IRQ_LINE = 0x4008AE61
CREATE_PIT2 = 0x4040AE77
RUN = 0xAE80
GET_REGS, SET_REGS = 0x8090AE81, 0x4090AE82
GET_SREGS, SET_SREGS = 0x8138AE83, 0x4138AE84
TRANSLATE = 0xC018AE85
SET_MSRS = 0x4008AE89
SET_FPU = 0x41A0AE8D
SET_CPUID2 = 0x4008AE90
GET_VCPU_EVENTS, SET_VCPU_EVENTS = 0x8040AE9F, 0x4040AEA0
GET_XSAVE, SET_XSAVE = 0x9000AEA4, 0x5000AEA5

NAMES = {
    value: f"KVM_{name}" for name, value in list(globals().items()) if isinstance(value, int) and name != "API_VERSION"
}

CAP_MAX_VCPUS = 66

# Where Intel's KVM may put the three pages it needs to run real mode: above the guest's memory, and below 2 GiB, since
# Python passes an ioctl's number as a C int.
TSS_ADDRESS = 0x7FFBD000

MEMORY_REGION = struct.Struct("<IIQQQ")  # slot, flags, guest address, size, host address
IRQ_LEVEL = struct.Struct("<II")  # line, level
PIT_CONFIG = struct.Struct("<I60x")  # flags
PIT_SPEAKER_DUMMY = 1  # port 0x61, by which kernels measure time, is answered too
REGS = struct.Struct("<18Q")  # rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags
REGS_RBX, REGS_RSI, REGS_RIP, REGS_RFLAGS = 1, 4, 16, 17
SEGMENT = struct.Struct("<QIH8B2x")  # base limit selector type present dpl db s l g avl
SEGMENT_BYTES = 24
DTABLE = struct.Struct("<QH6x")  # base limit
SREGS_BYTES = 312
SREGS_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
SREGS_GDT, SREGS_IDT = 192, 208
SREGS_CR0 = 224  # cr0 cr2 cr3 cr4 cr8 efer apic_base follow, 8 bytes each
SREGS_CR3, SREGS_CR4, SREGS_EFER = 240, 248, 264
CR0_PE_ET = 0x11
CR0_PG = 1 << 31
CR4_PAE = 0x20
EFER_LME_LMA = 0x500
FPU_BYTES, FPU_FCW, FCW_RESET = 416, 128, 0x37F
# KVM_GET_FPU and KVM_SET_FPU leave mxcsr out; it is in the XSAVE area, which holds it while bit 1 of XSTATE_BV is set.
XSAVE_BYTES, XSAVE_MXCSR, XSAVE_XSTATE_BV, XSTATE_SSE = 4096, 24, 512, 2
TRANSLATION = struct.Struct("<QQB7x")  # linear, physical, valid, then two of no use here
EVENTS_BYTES = 64  # exception: injected, number, has an error code
CPUID_HEADER, CPUID_ENTRY = struct.Struct("<I4x"), struct.Struct("<IIIIIII12x")  # function index flags eax ebx ecx edx
MSRS_HEADER, MSR = struct.Struct("<I4x"), struct.Struct("<I4xQ")
MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING = 0x1A0, 1
MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK = 0x2FF, 0x806

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
SUBERROR_EMULATION = 1
SUBERRORS = {1: "an instruction that this host's KVM cannot emulate", 2: "an exception while delivering another"}
SYSTEM_EVENTS = {1: "power-off", 2: "reset", 3: "crash"}
