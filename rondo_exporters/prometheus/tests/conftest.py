"""A reader of the wire that shares no code with the exporter, and a receiver that objects to whatever the protocol forbids."""

import importlib.util
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import snappy

from rondo_core import Batch, Part, Series
from rondo_core.testing import HttpReceiver

STALE_BITS = 0x7FF0000000000002
S = 10**9
START_NS = 1_700_000_000 * S


# -- reading the wire


def fields(message):
    """Take a protobuf message apart: (field number, wire type, value)."""
    at = 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                assert byte or shift == 7, "a varint longer than it need be"
                return number

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        else:
            size = 8 if tag & 7 == 1 else varint()
            assert tag & 7 in (1, 2), f"wire type {tag & 7}"
            assert at + size <= len(message), "a field beyond the message's end"
            value = bytes(message[at : at + size])
            at += size
        yield tag >> 3, tag & 7, value


def parse_request(body):
    """Give [(labels, [(ms, bits)])] of a WriteRequest, labels in the order of the wire, values as 64 bits."""
    found = []
    for number, wire, body_of_series in fields(body):
        assert (number, wire) == (1, 2), f"field {number} of WriteRequest"
        labels, samples = [], []
        for inner, inner_wire, content in fields(body_of_series):
            assert inner in (1, 2), f"field {inner} of TimeSeries"
            assert inner_wire == 2
            read = {each: value for each, _, value in fields(content)}
            if inner == 1:
                assert not samples, "a label after a sample"
                labels.append((read[1].decode(), read[2].decode()))
            else:
                ms = read.get(2, 0)
                samples.append((ms - (1 << 64) if ms >> 63 else ms, struct.unpack("<Q", read[1])[0]))
        found.append((tuple(labels), samples))
    return found


def as_float(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def read_wire(body):
    """Give {"name{k=v,..}": [(ms, value)]}, with "stale" as a marker's value."""
    found = {}
    for labels, samples in parse_request(body):
        inner = ",".join(f"{key}={value}" for key, value in labels if key != "__name__")
        key = dict(labels)["__name__"] + (f"{{{inner}}}" if inner else "")
        assert key not in found, f"{key}: twice in one request"
        found[key] = [(ms, "stale" if bits == STALE_BITS else as_float(bits)) for ms, bits in samples]
    return found


@pytest.fixture(name="read_wire")
def read_wire_fixture():
    return read_wire


@pytest.fixture(name="parse_request")
def parse_request_fixture():
    return parse_request


# -- batches


def make_part(kind, names, rows, start_ns=START_NS, **statistics):
    """Make a part: names as "name" or ("name", {label: value}); statistics as rows of values."""
    series = []
    for column, name in enumerate(names):
        text, labels = (name, {}) if isinstance(name, str) else name
        series.append(Series(text, tuple(sorted(labels.items())), kind, f"{kind}s", column))
    stamps = np.array([start_ns + row * S for row in range(rows)] if isinstance(rows, int) else rows, np.int64)
    values = {name: np.array(each, np.float64).reshape(len(stamps), len(series)) for name, each in statistics.items()}
    return Part(f"{kind}s", 0, S, kind, tuple(series), stamps, values)


@pytest.fixture(name="make_part")
def make_part_fixture():
    return make_part


@pytest.fixture
def one_sample():
    return Batch((make_part("gauge", ["level"], 1, last=[1.5]),))


# -- a receiver


class Receiver(HttpReceiver):
    """A strict remote-write 1.0 receiver; what it must not be sent is noted in `objections`."""

    def __init__(self):
        self.requests = []  # (path, headers, {series: samples})
        self.refuse = None  # a function of what was sent, that gives a status, headers and body, or None
        self.taken = {}  # series: every sample that was answered with 2xx
        super().__init__("/api/v1/write")

    def take(self, path, headers, body):
        sent = {}
        try:
            sent = self.check(headers, body)
        except (AssertionError, ArithmeticError, LookupError, ValueError, snappy.UncompressError) as error:
            self.objections.append(f"{type(error).__name__}: {error}")
        self.requests.append((path, headers, sent))
        answer = self.answers.pop(0) if self.answers else (self.refuse and self.refuse(sent)) or (204, {}, b"")
        if answer[0] < 300:
            self.accept(sent)
        return answer

    def check(self, headers, body):
        expected = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "User-Agent": "rondo-exporter-prometheus/0.1.0",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        for name, value in expected.items():
            assert headers.get_all(name) == [value], f"{name}: {headers.get_all(name)}"
        raw = snappy.decompress(body)  # the block format only; a framed stream does not unpack
        for labels, samples in parse_request(raw):
            names = [name for name, _ in labels]
            assert names == sorted(set(names)), f"labels unsorted or repeated: {names}"
            assert "__name__" in names
            assert all(value for _, value in labels), f"an empty label: {labels}"
            assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in names)
            assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", dict(labels)["__name__"])
            assert samples, f"{labels}: no sample"
            stamps = [ms for ms, _ in samples]
            assert stamps == sorted(set(stamps)), f"{labels}: not in time order"
            assert all(bits == STALE_BITS or as_float(bits) == as_float(bits) for _, bits in samples), "NaN"
        return read_wire(raw)

    def accept(self, sent):
        for key, samples in sent.items():
            before = self.taken.setdefault(key, [])
            if before and samples[0][0] <= before[-1][0]:
                self.objections.append(f"{key}: a sample again, or too late")
            before += samples


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()
    assert running.objections == []


# -- a receiver of both versions


@pytest.fixture(name="strict", scope="session")
def strict_module():
    specification = importlib.util.spec_from_file_location("strict", Path(__file__).with_name("strict.py"))
    strict = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(strict)
    return strict


@pytest.fixture
def read_2(strict):
    """Read a message of 2.0, and object to what it may not be."""
    return strict.read_2


@pytest.fixture
def strict_receiver(strict):
    """Start strict receivers; see strict.py."""
    running = []

    def start(*args, **options):
        running.append(strict.StrictReceiver(*args, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()
        assert each.violations == []
