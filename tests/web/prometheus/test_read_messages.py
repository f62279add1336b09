"""Messages of remote read: google's protobuf and snappy read what is written here, and the other way round."""

import struct

import numpy as np
import pytest
import snappy as real_snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from rondo_web.prometheus import snappy
from rondo_web.prometheus.read_messages import query_result, read_request, time_series

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def messages():
    """The messages of remote read, described here from Prometheus's own description of them."""
    file = descriptor_pb2.FileDescriptorProto(name="read.proto", package="t", syntax="proto3")
    kinds = {"int64": 3, "double": 1, "string": 9, "enum": 5, "message": 11}  # an enum is an int32 on the wire

    def add(name, *fields):
        message = file.message_type.add(name=name)
        for number, field, kind, *repeated in fields:
            type_name = {} if kind in kinds else {"type_name": f".t.{kind}"}
            message.field.add(
                name=field, number=number, type=kinds.get(kind, 11), label=3 if repeated else 1, **type_name
            )

    add("Matcher", (1, "type", "enum"), (2, "name", "string"), (3, "value", "string"))
    add(
        "Hints",
        (1, "step_ms", "int64"),
        (2, "func", "string"),
        (3, "start_ms", "int64"),
        (4, "end_ms", "int64"),
        (5, "grouping", "string", True),
        (6, "by", "enum"),
        (7, "range_ms", "int64"),
    )
    add("Query", (1, "start", "int64"), (2, "end", "int64"), (3, "matchers", "Matcher", True), (4, "hints", "Hints"))
    add("ReadRequest", (1, "queries", "Query", True), (2, "accepted", "enum", True))
    add("Label", (1, "name", "string"), (2, "value", "string"))
    add("Sample", (1, "value", "double"), (2, "timestamp", "int64"))
    add("TimeSeries", (1, "labels", "Label", True), (2, "samples", "Sample", True))
    add("QueryResult", (1, "timeseries", "TimeSeries", True))
    add("ReadResponse", (1, "results", "QueryResult", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))
        for name in ("ReadRequest", "ReadResponse")
    }


def test_a_request_is_read_as_it_was_written():
    """Negative times, every sign, hints, what is not known here is passed over."""
    request = messages()["ReadRequest"](accepted=[1, 0])
    query = request.queries.add(start=-5, end=1_700_000_000_000)
    for kind, sign in enumerate(("=", "!=", "=~", "!~")):
        query.matchers.add(type=kind, name=f"n{kind}", value=f"v\u00e9{sign}")
    query.hints.func, query.hints.range_ms, query.hints.step_ms, query.hints.start_ms = "rate", 60_000, 15_000, 7
    query.hints.grouping.extend(["a", "b"])
    request.queries.add(start=1)
    first, second = read_request(request.SerializeToString())
    assert (first.start_ms, first.end_ms, first.func, first.range_ms, first.step_ms, first.by) == (
        -5,
        1_700_000_000_000,
        "rate",
        60_000,
        15_000,
        ("a", "b"),
    )
    assert first.matchers == (
        ("n0", "=", "v\u00e9="),
        ("n1", "!=", "v\u00e9!="),
        ("n2", "=~", "v\u00e9=~"),
        ("n3", "!~", "v\u00e9!~"),
    )
    assert (second.start_ms, second.matchers) == (1, ())


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.floats() | st.just(STALE)), max_size=20))
def test_samples_are_read_back_bit_by_bit(samples):
    """Whatever the width of their times, stale markers too; labels come sorted."""
    samples.sort(key=lambda each: each[0])
    stamps, values = (
        np.array([at for at, _ in samples], np.int64),
        np.array([value for _, value in samples], np.float64),
    )
    body = query_result([time_series({"b": "\u00e9", "__name__": "x"}, stamps, values)]) + query_result([])
    response = messages()["ReadResponse"].FromString(real_snappy.decompress(snappy.wrap(body)))
    first, second = response.results
    (series,) = first.timeseries
    assert not second.timeseries
    assert [(each.name, each.value) for each in series.labels] == [("__name__", "x"), ("b", "\u00e9")]
    assert [each.timestamp for each in series.samples] == stamps.tolist()
    found = np.array([each.value for each in series.samples], np.float64)
    assert found.view(np.uint64).tolist() == values.view(np.uint64).tolist()


@given(
    st.binary(max_size=2000)
    | st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 400)).map(lambda each: each[0] * each[1])
)
def test_what_snappy_packs_is_unpacked(data):
    """Copies that reach into what they make too; and nothing longer than may be."""
    packed = real_snappy.compress(data)
    assert snappy.unpack(packed, len(data)) == data
    assert real_snappy.decompress(snappy.wrap(data)) == data
    if data:
        with pytest.raises(ValueError, match=f"{len(data)} bytes, unpacked; at most"):
            snappy.unpack(packed, len(data) - 1)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_one_error(data):
    """Neither reader raises anything but ValueError, and neither makes more of it than may be."""
    for read in (read_request, lambda given: snappy.unpack(given, 1000)):
        try:
            found = read(data)
        except ValueError:
            continue
        assert len(found) <= 1000


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xff\xff\xff\xff\x0f",
        b"\xff" * 20,
        b"\x80\x80\x04" + b"\xfe\x01\x00" * 43_000,
        b"\x40\x00a" + b"\xfe\x01\x00" * 9,
    ],
)
def test_a_block_that_says_that_it_is_long_is_not_believed(bomb):
    """It is refused by what it says, or as soon as it makes more than it said."""
    with pytest.raises(ValueError, match=r"unpacked|say|too early|beginning"):
        snappy.unpack(bomb, 1 << 17)
