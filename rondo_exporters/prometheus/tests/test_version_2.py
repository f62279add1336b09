"""What a batch becomes as remote-write 2.0, and with whom it is spoken."""

import http.server
import logging
import math
import random
import ssl
import subprocess
import threading

import attrs
import numpy as np
import pytest
from rondo_exporter_prometheus.columns import LabelSets
from rondo_exporter_prometheus.encode2 import Encoder2
from rondo_exporter_prometheus.plugin import OPTIONS, read_settings
from rondo_exporter_prometheus.remote_write import RemoteWrite

from rondo_core import Batch, ManualClock, Part, Schema, Series, Store, Tier
from rondo_core.errors import BatchTooLargeError, ExportError, RetryableExportError
from rondo_core.export.drain import Drain
from rondo_core.plugins.options import read_options

S, MS = 10**9, 1_700_000_000_000


@pytest.fixture
def connect():
    opened = []

    def open_exporter(receiver, **config):
        settings = read_settings(read_options("prometheus", OPTIONS, {"url": receiver.url, **config}))
        opened.append(RemoteWrite(settings, ManualClock()))
        return opened[-1]

    yield open_exporter
    for exporter in opened:
        exporter.close()


@pytest.fixture
def sketched(tmp_path):
    """A batch of one summary with a sketch: two buckets with observations, a second apart."""
    clock = ManualClock(MS * 10**6)
    schema = Schema("waits", "summary", 2, (Tier("1s", "60s"),), sketch=True)
    with Store(tmp_path / "s.rondo", [schema], clock=clock) as store:
        wait = store.summary("wait_seconds", help="How long.", unit="seconds")
        for value in (0.0, 0.5, 0.5, 1.0, 8.0):
            wait.observe(value)
        clock.advance(2)
        wait.observe(3.0)
        clock.advance(1)
        [part] = [part for part in Drain(store.view).next({}, 1 << 62, 100).batch.parts if part.schema == "waits"]
        yield Batch((part,), part.series, (MS + 2000) * 10**6, frozenset({"waits"}))


def gauge(second, value=1.0, name="level"):
    series = (Series(name, (), "gauge", "gauges", 0, "How high.", "metres", MS * 10**6),)
    stamps = np.array([(MS + second * 1000) * 10**6], np.int64)
    return Batch((Part("gauges", 0, S, "gauge", series, stamps, {"last": np.array([[value]])}),))


def named(series):
    return {
        (dict(labels)["__name__"], dict(labels).get("quantile", ""), metadata[0]): (points, metadata)
        for labels, points, metadata in series
    }


def test_totals_say_when_they_began_and_every_series_what_it_is(read_2):
    """A counter has a start, one bucket before the one it was declared in, a gauge none; both have help and unit."""
    counter = Series("hits_total", (("code", "200"),), "counter", "counters", 0, "Hits.", "", MS * 10**6 + 5)
    stamps = np.array([MS * 10**6, (MS + 1000) * 10**6], np.int64)
    part = Part("counters", 0, S, "counter", (counter,), stamps, {"last": np.array([[3.0], [4.0]])})
    request = Encoder2(LabelSets((("instance", "vm1"),))).encode(Batch((part, *gauge(0).parts)))
    hits, level = read_2(request.body)
    assert hits == (
        (("__name__", "hits_total"), ("code", "200"), ("instance", "vm1")),
        [(MS - 1000, 0.0, 0), (MS, 3.0, MS - 1000), (MS + 1000, 4.0, MS - 1000)],
        (1, "Hits.", ""),
    )
    assert level == ((("__name__", "level"), ("instance", "vm1")), [(MS, 1.0, 0)], (2, "How high.", "metres"))
    assert (request.n_samples, request.n_histograms) == (4, 0)


def test_what_went_before_changes_no_byte(read_2):
    """An encoder that has encoded other series, more or fewer of them, writes what a new one does."""
    rng, encoder = random.Random(5), Encoder2(LabelSets())
    kinds = [gauge(0, name=name).parts[0] for name in ("a", "b", "c")]
    kinds.append(attrs.evolve(kinds[0], series=(kinds[0].series[0]._replace(help="Another help."),)))
    for _ in range(60):
        batch = Batch(tuple(rng.sample(kinds[:3], rng.randint(1, 3))) if rng.random() < 0.8 else (kinds[3],))
        request = encoder.encode(batch)
        assert request == Encoder2(LabelSets()).encode(batch)
        assert [metadata[1] for _, _, metadata in read_2(request.body)] == [part.series[0].help for part in batch.parts]


def test_a_start_that_is_not_before_its_samples_is_left_out(read_2):
    """A clock that stepped back leaves samples before the declaration: they say nothing of a start."""
    counter = Series("hits_total", (), "counter", "counters", 0, "", "", (MS + 60_000) * 10**6)
    part = Part("counters", 0, S, "counter", (counter,), np.array([MS * 10**6]), {"last": np.array([[3.0]])})
    [(_, points, _)] = read_2(Encoder2(LabelSets()).encode(Batch((part,))).body)
    assert points == [(MS, 3.0, 0)]


def test_a_sketch_is_quantiles_and_a_native_histogram(sketched, read_2):
    """Each bucket with observations has a gauge histogram of its own; count and sum are those of a summary."""
    request = Encoder2(LabelSets()).encode(attrs.evolve(sketched, ended=()))
    found = named(read_2(request.body))
    about = "How long.", "seconds"
    start = MS - 1000
    assert found["wait_seconds_count", "", 5] == (
        [(start, 0.0, 0), (MS, 5.0, start), (MS + 2000, 6.0, start)],
        (5, *about),
    )
    assert found["wait_seconds_max", "", 2] == ([(MS, 8.0, 0), (MS + 2000, 3.0, 0)], (2, *about))
    for share, exact in (("0.5", 0.5), ("0.9", 8.0), ("0.99", 8.0), ("0.999", 8.0)):
        points, metadata = found["wait_seconds", share, 5]
        assert metadata == (5, *about)
        assert [ms for ms, _, _ in points] == [MS, MS + 2000]
        assert math.isclose(points[0][1], exact, rel_tol=0.03)
        assert points[1][1] == 3.0  # the extremes are known exactly
    points, metadata = found["wait_seconds", "", 4]
    assert metadata == (4, *about)
    (first_ms, (schema, zeroes, total, buckets), _), (second_ms, one, _) = points
    assert (first_ms, zeroes, total) == (MS, 1, 10.0)
    assert dict(buckets) == {math.log2(value) * 2**schema: n for value, n in ((0.5, 2), (1.0, 1), (8.0, 1))}
    assert (second_ms, one) == (MS + 2000, (one[0], 0, 3.0, ((math.ceil(math.log2(3) * 2 ** one[0]), 1),)))
    assert request.n_histograms == 2


def test_a_sketch_finer_than_any_native_histogram_is_added_up(tmp_path, read_2):
    """Scale 20, with which a sketch begins, becomes schema 8: each value lies in the bucket that the schema says."""
    clock, values = ManualClock(MS * 10**6), [3.0 + 0.00001 * n for n in range(100)]
    schema = Schema("waits", "summary", 2, (Tier("1s", "60s"),), sketch=True)
    with Store(tmp_path / "s.rondo", [schema], clock=clock) as store:
        wait = store.summary("wait_seconds")
        for value in values:
            wait.observe(value)
        clock.advance(1)
        batch = Drain(store.view).next({}, 1 << 62, 100).batch
    [(_, value, _)] = named(read_2(Encoder2(LabelSets()).encode(batch).body))["wait_seconds", "", 4][0]
    expected = {}
    for each in values:
        index = math.ceil(math.log2(each) * 256)
        expected[index] = expected.get(index, 0) + 1
    assert (value[0], dict(value[3])) == (8, expected)


def test_the_end_of_a_run_marks_quantiles_and_histograms_too(sketched, read_2):
    """Whatever was sent of a summary with a sketch ends; of one without a sketch there is no quantile to end."""
    ended = attrs.evolve(sketched, parts=())
    found = named(read_2(Encoder2(LabelSets()).encode(ended).body))
    assert len(found) == 4 + 4 + 1
    assert {points[0][:2] for points, _ in found.values()} == {(MS + 2001, "stale")}
    plain = named(read_2(Encoder2(LabelSets()).encode(attrs.evolve(ended, sketched=frozenset())).body))
    assert len(plain) == 4


@pytest.mark.parametrize(("versions", "spoken"), [("12", "2.0"), ("1", "1.0"), ("old", "1.0"), ("deaf", "1.0")])
def test_the_version_that_a_receiver_speaks_is_found_and_kept(connect, strict_receiver, versions, spoken):
    """415, 400 and a 2xx without the written headers mean 1.0: the same batch goes out again, once for good."""
    receiver = strict_receiver(versions)
    exporter = connect(receiver)
    for second in range(3):
        exporter.send(gauge(second))
    assert exporter.protocol == spoken
    assert receiver.n_requests == (3 if spoken == "2.0" else 4)
    assert receiver.taken == {((("__name__", "level"),), False): [(MS + 1000 * second, 1.0) for second in range(3)]}


@pytest.mark.parametrize("versions", ["1", "old"])
def test_whoever_insists_on_2_gets_an_error_and_loses_nothing(connect, strict_receiver, versions):
    """protocol = "2.0" and a receiver of 1.0: the export stops with the mend in words."""
    receiver = strict_receiver(versions)
    with pytest.raises(ExportError, match=r"set protocol to auto or 1\.0") as caught:
        connect(receiver, protocol="2.0").send(gauge(0))
    assert type(caught.value) is ExportError
    assert receiver.taken == {}


def test_a_receiver_that_wrote_the_rest_is_not_asked_again(connect, strict_receiver, caplog):
    """400 beside the number that was written: what is missing is counted and named once, nothing is sent again."""
    receiver = strict_receiver()
    receiver.poison = {((("__name__", "level"),), MS + 1000 * second) for second in (1, 2)}
    exporter = connect(receiver)
    with caplog.at_level(logging.WARNING):
        for second in range(3):
            others = gauge(second, name="other").parts
            exporter.send(Batch((*gauge(second).parts, *others)))
    assert exporter.refused_samples == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{receiver.url}: answered 400: said: it wrote all but 1 of the request; those are dropped"
    ]
    assert receiver.n_requests == 3


def test_a_receiver_without_native_histograms_gets_everything_else_once(connect, strict_receiver, sketched, caplog):
    """It answers 500 to histograms: they are retried, then given up, and no sample goes out twice."""
    receiver = strict_receiver()
    receiver.native = False
    exporter = connect(receiver)
    for _ in range(2):
        with pytest.raises(RetryableExportError):
            exporter.send(sketched)
    with caplog.at_level(logging.WARNING):
        exporter.send(sketched)
    assert "native histograms are not stored there" in caplog.text
    assert receiver.statuses == {204: 1, 500: 3}
    exporter.send(gauge(0))
    assert exporter.protocol == "2.0"
    assert len(receiver.taken) == 4 + 4 + 1


def test_what_is_larger_than_allowed_is_not_sent(connect, strict_receiver):
    """max_bytes bounds a message; the batch may be sent in smaller ones."""
    receiver = strict_receiver()
    with pytest.raises(BatchTooLargeError, match=r"max_bytes: a message of .* bytes; 16 are allowed"):
        connect(receiver, max_bytes=16).send(gauge(0))
    assert receiver.n_requests == 0


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for 127.0.0.1 and one for a sender, each its own authority."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        files = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"]
        try:
            subprocess.run([*command, *files], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no openssl to make certificates with; install the package openssl")
    return directory


@pytest.fixture
def tls_receiver(certificates):
    """A receiver that takes senders with the client's certificate only, and acknowledges what they send."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.taken += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads, taken = True, 0

        def handle_error(self, request, client_address):
            """A sender without the right certificate ends here."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "client.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.url = f"https://127.0.0.1:{server.server_address[1]}/w"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_tls_proves_both_sides(connect, tls_receiver, certificates):
    """The receiver's certificate is checked against ca_file, and the sender shows its own; `insecure` checks nothing."""
    mine = {"client_certificate": certificates / "client.pem", "client_key": certificates / "client.key"}
    connect(tls_receiver, protocol="1.0", ca_file=certificates / "server.pem", **mine).send(gauge(0))
    connect(tls_receiver, protocol="1.0", insecure=True, **mine).send(gauge(1))
    assert tls_receiver.taken == 2
    for wrong in (mine, {"ca_file": certificates / "client.pem", **mine}):
        with pytest.raises(ExportError, match=r"its certificate is not trusted: .*; check ca_file$"):
            connect(tls_receiver, protocol="1.0", **wrong).send(gauge(2))
    with pytest.raises(RetryableExportError):
        connect(tls_receiver, protocol="1.0", ca_file=certificates / "server.pem").send(gauge(2))
    assert tls_receiver.taken == 2
