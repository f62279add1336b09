"""The serial port both ways, by interrupt and polled, and what is between it and people: lines, input, escapes."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo_vmm.devices.serial import FIFO_BYTES, Serial
from rondo_vmm.devices.serial_input import SerialInput
from rondo_vmm.hookspecs import MILESTONES
from rondo_vmm.observe.console_lines import MAX_LINE_BYTES, ConsoleLines
from rondo_vmm.observe.milestones import Milestones

DATA, IER, IIR, LCR, MCR, LSR, MSR = range(7)


@pytest.fixture
def line():
    return []


@pytest.fixture
def uart(line):
    return Serial(lambda _: None, line.append)


def test_received_bytes_raise_the_line_until_they_are_read(uart, line):
    """Only while the guest wants to know; identification says received data, and the bytes come in order."""
    assert uart.receive(b"ab") == 2
    assert line == []
    assert uart.read(LSR, 1) == 0x61
    uart.write(IER, 1, 1)
    assert line == [1]
    assert uart.read(IIR, 1) == 0x04
    assert [uart.read(DATA, 1), uart.read(DATA, 1)] == [ord("a"), ord("b")]
    assert line == [1, 0]
    assert (uart.read(LSR, 1), uart.read(IIR, 1), uart.read(DATA, 1)) == (0x60, 0x01, 0)


def test_an_empty_transmitter_interrupts_once_per_reason(uart, line):
    """When the interrupt is enabled and after each byte; reading the identification takes it away."""
    uart.write(IER, 1, 2)
    assert (line, uart.read(IIR, 1), line) == ([1, 0], 0x02, [1, 0])
    assert uart.read(IIR, 1) == 0x01
    uart.write(DATA, 1, 65)
    uart.write(DATA, 1, 66)
    assert line == [1, 0, 1]
    assert uart.read(IIR, 1) == 0x02
    uart.write(IER, 1, 0)
    uart.write(DATA, 1, 67)
    assert line == [1, 0, 1, 0]


def test_the_receiver_comes_before_the_transmitter(uart, line):
    """Two reasons at once: the line stays up until both are gone."""
    uart.write(IER, 1, 3)
    uart.receive(b"x")
    assert (uart.read(IIR, 1), uart.read(DATA, 1), line) == (0x04, ord("x"), [1])
    assert (uart.read(IIR, 1), line) == (0x02, [1, 0])


def test_the_receiver_takes_a_fifo_and_no_more(uart):
    """What there is no room for is not taken, and room is made by reading or by clearing the FIFO."""
    assert uart.receive(bytes(range(40))) == FIFO_BYTES
    assert uart.receive(b"x") == 0
    assert not uart.wait_for_room(0)
    assert uart.read(DATA, 1) == 0
    assert uart.wait_for_room(0)
    assert uart.receive(b"xy") == 1
    uart.write(IIR, 1, 0x03)
    assert (uart.read(LSR, 1), uart.read(IIR, 1), uart.wait_for_room(0)) == (0x60, 0xC1, True)


def test_loop_back_ties_outputs_to_inputs(uart):
    """Drivers find the port by it: modem control comes back as modem status, and a byte sent is received."""
    uart.write(MCR, 1, 0x1A)
    assert uart.read(MSR, 1) == 0x90
    uart.write(DATA, 1, 0x5A)
    assert (uart.read(LSR, 1), uart.read(DATA, 1)) == (0x61, 0x5A)
    uart.write(MCR, 1, 0x03)
    assert uart.read(MSR, 1) == 0xB0


@given(st.lists(st.tuples(st.sampled_from(["read", "write", "receive"]), st.integers(0, 7), st.integers(0, 2**32))))
def test_no_access_is_an_error_and_nothing_grows(operations):
    """Registers in any order and with any value: bytes come out, the level is 0 or 1, the FIFO keeps its size."""
    line, sent = [], []
    uart = Serial(sent.append, line.append)
    for what, offset, value in operations:
        if what == "read":
            assert 0 <= uart.read(offset, 1) <= 0xFF
        elif what == "write":
            uart.write(offset, 1, value)
        else:
            uart.receive(value.to_bytes(5, "little"))
        assert len(uart._received) <= FIFO_BYTES
    assert line == [(number + 1) % 2 for number in range(len(line))]
    assert all(len(each) == 1 for each in sent)


def test_lines_are_told_with_the_time_of_their_first_byte():
    """Ends are cut off, and a line without one is told when the machine ends."""
    passed, told = [], []
    lines = ConsoleLines(passed.append)
    lines(b"x")
    lines.observer = lambda line, now_ns: told.append((line, now_ns > 0))
    for byte in b"one\r\n\nlast":
        lines(bytes((byte,)))
    lines.flush()
    lines.flush()
    assert told == [(b"one", True), (b"", True), (b"last", True)]
    assert b"".join(passed) == b"xone\r\n\nlast"


def test_a_flood_without_an_end_takes_no_memory():
    """It is told in pieces of a bounded length."""
    told = []
    lines = ConsoleLines(lambda _: None)
    lines.observer = lambda line, _: told.append(len(line))
    for _ in range(10 * MAX_LINE_BYTES + 5):
        lines(b"x")
    assert told == [MAX_LINE_BYTES] * 10
    assert len(lines._line) == 5


def test_a_guest_cannot_make_up_milestones():
    """Only known names count, each once, whatever a guest prints."""
    told = []
    milestones = Milestones(1000, [lambda *facts: told.append(facts)])
    for text in (b"Linux", b"[1.0] Run /init as init process", b"rondo-guest phase io", b"rondo-guest phase io",
                 b"rondo-guest phase evil", b"rondo-guest phase \xff\xfe", b"rondo-guest done", b"rondo-guest done"):  # fmt: skip
        milestones.on_line(text, 3000)
    assert told == [(name, 2000, 3000) for name in ("first_byte", "init", "phase_io", "done")]
    assert {name for name, _, _ in told} < set(MILESTONES)


@pytest.fixture
def typed(uart):
    """A console that reads a pipe; gives what the guest reads until it has so many bytes."""
    reader, writer = os.pipe()
    escaped = threading.Event()
    console = SerialInput(reader, uart, escaped.set)
    console.start()

    def give(data, expect):
        os.write(writer, data)
        got = bytearray()
        arrived = threading.Event()
        uart._interrupt = lambda level: arrived.set() if level else None
        uart.write(IER, 1, 1)
        while len(got) < expect:
            if uart.read(LSR, 1) & 1:
                got.append(uart.read(DATA, 1))
            else:
                assert arrived.wait(20)
                arrived.clear()
        uart.write(IER, 1, 0)
        return bytes(got)

    yield give, escaped
    console.close()
    os.close(reader)
    os.close(writer)


def test_what_is_typed_reaches_the_guest_whole(typed):
    """More than a FIFO at once comes in order, as fast as the guest reads."""
    give, _ = typed
    text = bytes(byte % 250 + 2 for byte in range(1000))
    assert give(text, 1000) == text


def test_ctrl_a_x_ends_the_machine(typed):
    """Ctrl-A twice is one Ctrl-A, Ctrl-A and another key are both."""
    give, escaped = typed
    assert give(b"a\x01\x01b\x01c", 5) == b"a\x01b\x01c"
    assert not escaped.is_set()
    assert give(b"\x01xz", 1) == b"z"
    assert escaped.wait(20)


def test_a_console_that_the_guest_never_reads_ends_all_the_same(uart):
    """Its thread waits for room, and close ends it."""
    reader, writer = os.pipe()
    console = SerialInput(reader, uart)
    console.start()
    os.write(writer, bytes(100))
    os.close(writer)
    console.close()
    os.close(reader)
    assert len(uart._received) <= FIFO_BYTES
