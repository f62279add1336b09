"""Instructions that a host's KVM lacks, completed by the monitor: each as the processor would have done it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo_vmm import VmConfig, run_vm
from rondo_vmm.errors import GuestMemoryError
from rondo_vmm.kvm.completion import REGISTER, RFLAGS, RIP, complete

NUMBERS = st.integers(0, 2**64 - 1)
ZF, AC, OTHERS = 1 << 6, 1 << 18, 0x202


class Cpu:
    """A CPU with a page of memory at 0x1000."""

    def __init__(self, **registers):
        self.registers = [0] * 18
        self.registers[RIP], self.registers[RFLAGS] = 0x400000, OTHERS
        names = (
            "rax",
            "rbx",
            "rcx",
            "rdx",
            "rsi",
            "rdi",
            "rsp",
            "rbp",
            *(f"r{n}" for n in range(8, 16)),
            "rip",
            "rflags",
        )
        for name, value in registers.items():
            self.registers[names.index(name)] = value
        self.long_mode = True
        self.fs_base, self.gs_base = 0x100, 0x200
        self.memory = bytearray(4096)
        self.injected, self.saved, self._mxcsr = [], 0, 0x1F80

    def read(self, linear, length):
        if not 0x1000 <= linear <= 0x2000 - length:
            raise GuestMemoryError(linear, length, 0)
        return bytes(self.memory[linear - 0x1000 : linear - 0x1000 + length])

    def write(self, linear, data):
        self.read(linear, len(data))
        self.memory[linear - 0x1000 : linear - 0x1000 + len(data)] = data

    def mxcsr(self):
        return self._mxcsr

    def set_mxcsr(self, value):
        self._mxcsr = value

    def inject(self, vector):
        self.injected.append(vector)

    def save(self):
        self.saved += 1


@pytest.mark.parametrize(
    ("code", "name", "length"),
    [("9b", "fwait", 1), ("0f01ca", "clac", 3), ("0f01cb", "stac", 3), ("cc", "int3", 1), ("0fae10", "ldmxcsr", 3),
     ("0fae18", "stmxcsr", 3), ("f30fb8c1", "popcnt", 4), ("480fc70e", "cmpxchg16b", 4),
     ("65f0490fc70c24", "cmpxchg16b", 7)],
)  # fmt: skip
def test_an_instruction_is_known_and_stepped_over(code, name, length):
    """rip stands behind it, and the CPU got its registers once."""
    cpu = Cpu(rax=0x1000, rsi=0x1100, r12=0x1000)
    assert complete(bytes.fromhex(code) + bytes(8), cpu) == name
    assert cpu.registers[RIP] == 0x400000 + length
    assert cpu.saved == 1


@pytest.mark.parametrize(
    "code", ["", "0f", "f3", "90", "0f0b", "0f01c8", "0fae38", "0fb8c1", "0fc70e", "f30fb8", "f30fb804", "660f6fc1"]
)
def test_what_is_not_known_is_left_alone(code):
    """Other instructions, and pieces of known ones, change nothing: the exit stays an error that names the bytes."""
    cpu = Cpu(rax=0x1000, rsi=0x1100)
    before = list(cpu.registers)
    assert complete(bytes.fromhex(code), cpu) == ""
    assert (cpu.registers, cpu.saved, cpu.injected) == (before, 0, [])


def test_an_operand_that_is_not_mapped_is_left_to_the_guest():
    """Nothing is changed where the memory cannot be had."""
    cpu = Cpu(rax=0x5000)
    assert complete(bytes.fromhex("f30fb800"), cpu) == ""
    assert cpu.saved == 0


def test_only_64_bit_code_is_completed():
    """In other modes the same bytes mean other things."""
    cpu = Cpu()
    cpu.long_mode = False
    assert complete(b"\x9b", cpu) == ""


@given(value=NUMBERS, target=st.integers(0, 15), source=st.integers(0, 15), size=st.sampled_from([2, 4, 8]))
def test_popcnt_counts_the_bits_of_any_register(value, target, source, size):
    """In every width, from and to every register; ZF says whether there were none, the upper bits are as they ought."""
    cpu = Cpu()
    cpu.registers[REGISTER[target]] = 2**64 - 1
    cpu.registers[REGISTER[source]] = value
    before = cpu.registers[REGISTER[target]]
    rex = 0x40 | (size == 8) << 3 | target >> 3 << 2 | source >> 3
    code = bytes([*([0x66] if size == 2 else []), 0xF3, rex, 0x0F, 0xB8, 0xC0 | (target & 7) << 3 | source & 7])
    assert complete(code, cpu) == "popcnt"
    ones = (value & (1 << 8 * size) - 1).bit_count()
    assert cpu.registers[REGISTER[target]] == (before & ~0xFFFF | ones if size == 2 else ones)
    assert cpu.registers[RFLAGS] == OTHERS | (ZF if not ones else 0)


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("f30fb803", 0x1010),  # (rbx)
        ("f30fb84308", 0x1018),  # 8(rbx)
        ("f30fb843f8", 0x1008),  # -8(rbx)
        ("f30fb88300010000", 0x1110),  # 0x100(rbx)
        ("f30fb8048b", 0x1010 + 4 * 0x20),  # (rbx,rcx,4)
        ("f30fb8448b04", 0x1010 + 4 * 0x20 + 4),  # 4(rbx,rcx,4)
        ("f3420fb80463", 0x1010 + 2 * 3),  # (rbx,r12,2)
        ("f30fb804 2500110000".replace(" ", ""), 0x1100),  # absolute
        ("f30fb805f80fc0ff", 0x1000),  # rip-relative: 0x400008 - 0x3ff008
        ("64f30fb803", 0x1110),  # fs:(rbx)
        ("65f30fb803", 0x1210),  # gs:(rbx)
        ("f3410fb84500", 0x1400),  # (r13)
    ],
)
def test_every_form_of_a_memory_operand_is_found(code, address):
    """Base, index, scale, displacement, rip and the segments that count in 64-bit mode."""
    cpu = Cpu(rbx=0x1010, rcx=0x20, r12=3, r13=0x1400)
    cpu.write(address, b"\x01\x03\x07\x0f")
    assert complete(bytes.fromhex(code), cpu) == "popcnt"
    assert cpu.registers[0] == 10


@given(there=st.integers(0, 2**128 - 1), same=st.booleans(), rbx=NUMBERS, rcx=NUMBERS)
def test_cmpxchg16b_exchanges_or_loads(there, same, rbx, rcx):
    """Equal: memory gets rcx:rbx and ZF is set; not equal: rdx:rax get memory, which stays."""
    expected = there if same else there ^ 1 << 77
    cpu = Cpu(rsi=0x1100, rax=expected & 2**64 - 1, rdx=expected >> 64, rbx=rbx, rcx=rcx, rflags=OTHERS | ZF)
    cpu.write(0x1100, there.to_bytes(16, "little"))
    assert complete(bytes.fromhex("f0480fc70e"), cpu) == "cmpxchg16b"
    after = int.from_bytes(cpu.read(0x1100, 16), "little")
    assert after == (rcx << 64 | rbx if same else there)
    assert bool(cpu.registers[RFLAGS] & ZF) == same
    if not same:
        assert cpu.registers[3] << 64 | cpu.registers[0] == there


def test_flags_exceptions_and_control_registers():
    """stac and clac change AC alone; int3 raises vector 3; ldmxcsr and stmxcsr carry 32 bits."""
    cpu = Cpu(rax=0x1000)
    complete(b"\x0f\x01\xcb", cpu)
    assert cpu.registers[RFLAGS] == OTHERS | AC
    complete(b"\x0f\x01\xca", cpu)
    assert cpu.registers[RFLAGS] == OTHERS
    complete(b"\xcc", cpu)
    assert cpu.injected == [3]
    cpu.write(0x1000, struct.pack("<I", 0x1FA0))
    complete(b"\x0f\xae\x10", cpu)
    assert cpu.mxcsr() == 0x1FA0
    cpu.write(0x1000, bytes(8))
    complete(b"\x0f\xae\x18", cpu)
    assert cpu.read(0x1000, 8) == struct.pack("<Q", 0x1FA0)


@pytest.mark.kvm
@pytest.mark.binutils
def test_a_guest_sees_no_difference(guests, tmp_path):
    """On real hardware nothing is completed, on a host that lacks them all are; the guest's results are the same."""
    kernel = guests.kernel(guests.assemble("instructions.S", tmp_path), tmp_path / "kernel")
    console = []
    result = run_vm(VmConfig(machine="kvm", kernel=kernel, timeout_s=30), None, console.append)
    assert (result.ended, result.error) == ("power-off", "")
    said = b"".join(console)
    assert struct.unpack("<7Q2B6xQQ", said) == (
        (0xF0F0F0F0F0F0F0F1).bit_count(), 2, 2, 2, 1, 0, 0x1FA0, 1, 0, 3, 4,
    )  # fmt: skip
    assert sum(result.completed.values()) == result.exits["other"]
