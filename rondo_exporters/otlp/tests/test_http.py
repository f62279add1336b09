"""What the receiver's answer means for the samples, and what a request looks like."""

import gzip
import logging
import socket
import threading
import time

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from rondo_exporter_otlp import http
from rondo_exporter_otlp.http import OtlpHttp
from rondo_exporter_otlp.plugin import OPTIONS, read_settings

from rondo_core import Batch, ManualClock, Part, Schema, Series, Store, StoreReader, Tier
from rondo_core.errors import BatchTooLargeError, ExportError, PermanentExportError, RetryableExportError
from rondo_core.export.runner import open_runner
from rondo_core.plugins.options import read_options

S = 10**9
START_NS = 1_700_000_000 * S


def batch(rows=1, first=0, name="level"):
    stamps = START_NS + S * np.arange(first, first + rows)
    return Batch(
        (
            Part(
                "gauges", 0, S, "gauge", (Series(name, (), "gauge", "gauges", 0),), stamps, {"last": np.ones((rows, 1))}
            ),
        )
    )


@pytest.fixture
def connect(receiver):
    opened = []

    def make(url=None, **config):
        config = read_options("otlp", OPTIONS, {"endpoint": url or receiver.url, **config})
        opened.append(OtlpHttp(read_settings(config), ManualClock(1_700_000_000 * S)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def partial(rejected, message=""):
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (202, None),
        (301, ExportError),
        (400, PermanentExportError),
        (401, ExportError),
        (403, ExportError),
        (404, ExportError),
        (408, RetryableExportError),
        (409, PermanentExportError),
        (413, BatchTooLargeError),
        (422, PermanentExportError),
        (429, RetryableExportError),
        (500, RetryableExportError),
        (501, RetryableExportError),
        (502, RetryableExportError),
        (503, RetryableExportError),
        (504, RetryableExportError),
    ],
)
def test_a_status_means_one_thing(connect, receiver, status, kind):
    """2xx: taken; 429, 5xx: later; 400, 409, 422: these never; 413: in smaller pieces; else: not so at all."""
    receiver.answers = [(status, {"Location": "/elsewhere"}, b"the reason\nof it" if status > 299 else b"")]
    root = receiver.url.removesuffix("/v1/metrics")
    to = f"; it redirects to {root}/elsewhere: write that URL, redirects are not followed" if status // 100 == 3 else ""
    if kind is None:
        assert connect().send(batch()) == 0
    else:
        with pytest.raises(ExportError) as caught:
            connect().send(batch())
        assert type(caught.value) is kind
        assert str(caught.value) == f"{receiver.url}: answered {status}: the reason of it{to}"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("86400", 3600.0),
        ("Tue, 14 Nov 2023 22:13:25 GMT", 5.0),
        ("Tue, 14 Nov 2023 22:13:15 GMT", 0.0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_heeded(connect, receiver, header, seconds):
    """Seconds and HTTP-dates are understood, at most an hour; anything else is no wish."""
    receiver.answers = [(503, {"Retry-After": header}, b"")]
    with pytest.raises(RetryableExportError) as caught:
        connect().send(batch())
    assert caught.value.retry_after_s == seconds


def test_a_status_message_is_read_from_protobuf(connect, receiver):
    """google.rpc.Status, which servers answer errors with, is shown as its message."""
    status = b"\x08\x03\x12\x0bbad request\x1a\x02\x0a\x00"
    receiver.answers = [(400, {"Content-Type": "application/x-protobuf"}, status)]
    with pytest.raises(PermanentExportError, match=r"answered 400: bad request$"):
        connect().send(batch())


def test_rejected_points_are_counted_and_not_sent_again(tmp_path, receiver, caplog):
    """Of a partial success the rejected count as refused, the rest as sent; the cursor moves; a warning says why."""
    path, clock = tmp_path / "store.rondo", ManualClock(START_NS)
    with Store(path, [Schema("gauges", "gauge", 2, (Tier("1s", "60s"),))], clock=clock) as store:
        for second in range(10):
            store.gauge("level").set(second)
            clock.advance(1)
    receiver.answers = [(200, {}, partial(3, "too\nold"))]
    with caplog.at_level(logging.WARNING), StoreReader(path) as reader:
        outcome = open_runner(reader, "otlp", {"endpoint": receiver.url}).finish(1, 10)
    n_points = sum(not point.flags for points in receiver.taken.values() for point in points)
    assert (outcome.refused_samples, outcome.samples + 3, outcome.stopped) == (3, n_points, False)
    assert "rejected 3 data points: too old" in caplog.text
    with StoreReader(path) as reader:
        assert open_runner(reader, "otlp", {"endpoint": receiver.url}).finish(1, 10).samples == 0


def test_a_message_without_rejections_is_a_warning(connect, receiver, caplog):
    """0 rejected points with a message: everything was taken, and the message is shown."""
    receiver.answers = [(200, {}, partial(0, "please upgrade"))]
    with caplog.at_level(logging.WARNING):
        assert connect().send(batch()) == 0
    assert caplog.messages == [f"{receiver.url}: please upgrade"]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"<html>", b"\0" * (http.MAX_RESPONSE_BYTES + 1)])
def test_an_answer_that_is_none_of_the_protocols_is_no_failure(connect, receiver, caplog, body):
    """200 with an unreadable body, or one beyond 4 MiB, is taken, with a warning."""
    receiver.answers = [(200, {}, body)]
    with caplog.at_level(logging.WARNING):
        assert connect().send(batch()) == 0
    assert "its answer cannot be read" in caplog.text


def test_a_compressed_answer_is_read(connect, receiver):
    """A response that came as gzip says the same."""
    receiver.answers = [(200, {"Content-Encoding": "gzip"}, gzip.compress(partial(2)))]
    assert connect().send(batch(5)) == 2


def test_requests_are_compressed_unless_told_otherwise(connect, receiver):
    """gzip by default, plain with compression = none; the same points arrive."""
    connect().send(batch(50))
    connect(compression="none").send(batch(50, 50))
    encodings = [headers["Content-Encoding"] for _, headers, _ in receiver.requests]
    assert encodings == ["gzip", None]
    sizes = [int(headers["Content-Length"]) for _, headers, _ in receiver.requests]
    assert sizes[0] < sizes[1] / 2


def test_headers_and_tokens_go_with_every_request(connect, receiver, tmp_path):
    """Own headers and a bearer token, whose file is read anew each time; one connection carries all."""
    file = tmp_path / "token"
    file.write_text("first\n")
    exporter = connect(headers="X-Scope-OrgID=7", bearer_token_file=str(file))
    exporter.send(batch())
    file.write_text("second\n")
    exporter.send(batch(1, 1))
    sent = [headers for _, headers, _ in receiver.requests]
    assert [each["Authorization"] for each in sent] == ["Bearer first", "Bearer second"]
    assert {each["X-Scope-OrgID"] for each in sent} == {"7"}
    assert len(receiver.connections) == 1


def test_no_secret_is_shown(connect, receiver):
    """What the receiver repeats of a token or a header's value is blotted out, and no repr holds one."""
    exporter = connect(headers={"X-Key": "hunter2-key"}, bearer_token="hunter2-token")
    receiver.answers = [(403, {}, b"hunter2-token and hunter2-key are wrong")]
    with pytest.raises(ExportError) as caught:
        exporter.send(batch())
    assert str(caught.value).endswith("answered 403: *** and *** are wrong")
    assert "hunter2" not in repr(exporter) + repr(exporter._settings)


def test_a_request_beyond_64_mib_is_asked_for_in_smaller_pieces(connect, receiver, monkeypatch):
    """What no receiver has to take is not sent."""
    monkeypatch.setattr(http, "MAX_REQUEST_BYTES", 1000)
    with pytest.raises(BatchTooLargeError, match="64 MiB at most"):
        connect().send(batch(100))
    assert receiver.requests == []


def test_no_connection_is_a_reason_to_try_again(connect):
    """A port where no one listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://user:hunter2@127.0.0.1:{probe.getsockname()[1]}/v1/metrics"
        with pytest.raises(RetryableExportError, match="no connection: Connection refused") as caught:
            connect(url).send(batch())
    assert "hunter2" not in str(caught.value)


def test_a_receiver_that_hangs_up_or_stays_silent_is_tried_again(connect):
    """The connection closed before an answer, and no answer within the timeout."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer(hang_up):
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                if not hang_up:
                    connection.settimeout(10)
                    while connection.recv(1 << 16):
                        pass

        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for hang_up in (True, False):
            thread = threading.Thread(target=answer, args=(hang_up,))
            thread.start()
            exporter = connect(url, timeout="200ms")
            with pytest.raises(RetryableExportError):
                exporter.send(batch())
            exporter.close()
            thread.join()


def test_an_answer_that_drips_ends_with_the_timeout(connect, caplog):
    """A 200 whose body never ends is taken, when the time is over, and the connection dropped."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        over = threading.Event()

        def drip():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                try:
                    while not over.wait(0.02):
                        connection.sendall(b"1\r\n\0\r\n")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        assert connect(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout="300ms").send(batch()) == 0
        over.set()
        thread.join()
        assert time.monotonic() - started < 30
    assert "its answer cannot be read" in caplog.text


def test_a_closed_exporter_says_so(connect):
    """close is once or more; then send is an error."""
    exporter = connect()
    exporter.close()
    exporter.close()
    with pytest.raises(ExportError, match="was closed"):
        exporter.send(batch())
