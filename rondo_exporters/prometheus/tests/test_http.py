"""What goes over the network, and what each answer means."""

import base64
import logging
import socket
import traceback

import pytest
from rondo_exporter_prometheus.plugin import OPTIONS, read_settings
from rondo_exporter_prometheus.remote_write import RemoteWrite

from rondo_core import Batch, ManualClock, Schema, Store, Tier
from rondo_core.errors import BatchTooLargeError, ExportError, PermanentExportError, RetryableExportError
from rondo_core.export.runner import open_runner
from rondo_core.plugins.options import read_options

S = 10**9
MS = 1_700_000_000_000


@pytest.fixture
def connect(receiver):
    """Open an exporter for the receiver, or for the url given."""
    opened = []

    def open_exporter(**config):
        checked = read_options("prometheus", OPTIONS, {"url": receiver.url, "protocol": "1.0", **config})
        exporter = RemoteWrite(read_settings(checked), ManualClock())
        opened.append(exporter)
        return exporter

    yield open_exporter
    for exporter in opened:
        exporter.close()


@pytest.fixture
def silent():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_batch_is_one_post_with_the_protocols_headers(connect, receiver, one_sample):
    """One POST, snappy block format, exactly the protocol's headers (the receiver objects otherwise)."""
    connect(external_labels="instance=vm1").send(one_sample)
    [(path, headers, sent)] = receiver.requests
    assert path == "/api/v1/write"
    assert sent == {"level{instance=vm1}": [(MS, 1.5)]}
    assert "Authorization" not in headers


def test_the_connection_stays_open(connect, receiver, make_part):
    """Requests after the first, refused ones too, use the same connection."""
    exporter = connect()
    receiver.answers = [(204, {}, b""), (200, {}, b"fine"), (400, {}, b"no"), (503, {}, b"not now"), (204, {}, b"")]
    for second in range(5):
        try:
            exporter.send(Batch((make_part("gauge", ["level"], [second * S], last=[1]),)))
        except ExportError:
            assert second in (2, 3)
    assert len(receiver.requests) == 5
    assert len(receiver.connections) == 1


def test_nothing_to_send_is_no_request(connect, receiver):
    """An empty batch is acknowledged without a word."""
    connect().send(Batch(()))
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (202, None),
        (204, None),
        (301, ExportError),
        (307, ExportError),
        (308, ExportError),
        (400, PermanentExportError),
        (401, ExportError),
        (403, ExportError),
        (404, ExportError),
        (405, ExportError),
        (408, RetryableExportError),
        (409, PermanentExportError),
        (413, BatchTooLargeError),
        (415, ExportError),
        (422, PermanentExportError),
        (429, RetryableExportError),
        (500, RetryableExportError),
        (502, RetryableExportError),
        (503, RetryableExportError),
        (599, RetryableExportError),
    ],
)
def test_a_status_means_one_thing(connect, receiver, one_sample, status, kind):
    """2xx: taken; 429, 5xx: later; 400, 409, 422: never; 413: in smaller pieces; all else, redirects too: not so."""
    receiver.answers = [(status, {"Location": "/elsewhere?key=hunter2"}, b"the reason\nof it")]
    root = receiver.url.removesuffix("/api/v1/write")
    to = f"; it redirects to {root}/elsewhere: write that URL, redirects are not followed" if status // 100 == 3 else ""
    if kind is None:
        connect().send(one_sample)
    else:
        with pytest.raises(ExportError) as caught:
            connect().send(one_sample)
        assert type(caught.value) is kind
        assert str(caught.value) == f"{receiver.url}: answered {status}: the reason of it{to}"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("Tue, 14 Nov 2023 22:13:25 GMT", 5.0),
        ("Tue, 14 Nov 2023 22:13:25 -0000", 5.0),
        ("Tue, 14 Nov 2023 22:13:15 GMT", 0.0),
        ("Tue, 14 Nov 2093 22:13:15 GMT", 3600.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_heeded(connect, receiver, one_sample, header, seconds):
    """Seconds and HTTP-dates are understood, never negative, at most an hour; anything else is no wish."""
    for status in (429, 503):
        receiver.answers = [(status, {"Retry-After": header}, b"")]
        with pytest.raises(RetryableExportError) as caught:
            connect().send(one_sample)
        assert caught.value.retry_after_s == seconds


def test_a_long_answer_is_cut_and_put_on_one_line(connect, receiver, one_sample):
    """200 characters at most, whitespace and control characters as one space."""
    receiver.answers = [(400, {}, b"a\r\n\tb\x1b[31m\x00c " + "é".encode() * 5000 + b"\xff")]
    with pytest.raises(PermanentExportError) as caught:
        connect().send(one_sample)
    said = str(caught.value).removeprefix(f"{receiver.url}: answered 400: ")
    assert said.startswith("a b [31m c éé")
    assert len(said) == 200


def test_no_receiver_is_a_reason_to_try_again(connect, one_sample):
    """A refused connection is retryable and named in words."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RetryableExportError) as caught:
        connect(url=f"http://me:hunter2@127.0.0.1:{port}/w").send(one_sample)
    assert str(caught.value) == f"http://127.0.0.1:{port}/w: no connection: Connection refused"
    assert caught.value.retry_after_s is None


def test_no_answer_is_a_reason_to_try_again(connect, silent, one_sample):
    """A receiver that does not answer in time is retryable."""
    with pytest.raises(RetryableExportError, match=r"no answer within 0\.5 s"):
        connect(url=f"http://127.0.0.1:{silent}/w", timeout=0.5).send(one_sample)


def test_an_answer_that_is_no_http_is_a_reason_to_try_again(connect, one_sample):
    """A connection that is closed without an answer is retryable, and the error is one line."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up():
            taken, _ = listening.accept()
            with taken:
                taken.recv(100_000)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(RetryableExportError) as caught:
            connect(url=f"http://127.0.0.1:{listening.getsockname()[1]}/w").send(one_sample)
        thread.join()
    assert "\n" not in str(caught.value)


def test_a_receiver_without_tls_is_named_so(connect, receiver, one_sample):
    """https to a port that speaks http is retryable, and the error says that it is about TLS."""
    with pytest.raises(RetryableExportError, match=r"no connection: .*SSL") as caught:
        connect(url=receiver.url.replace("http:", "https:")).send(one_sample)
    assert "\n" not in str(caught.value)


def test_bearer_token_and_headers_are_sent(connect, receiver, one_sample):
    """A token goes into Authorization; further headers go along."""
    connect(bearer_token="t0ken", headers={"X-Scope-OrgID": "7"}).send(one_sample)
    [(_, headers, _)] = receiver.requests
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["X-Scope-OrgID"] == "7"


def test_basic_credentials_are_sent(connect, receiver, make_part):
    """username and password, or the URL's, go into Authorization as UTF-8."""
    ways = ({"username": "mé", "password": "p:w"}, {"url": receiver.url.replace("//", "//m%C3%A9:p%3Aw@")})
    for second, way in enumerate(ways):
        connect(**way).send(Batch((make_part("gauge", ["level"], [second * S], last=[1]),)))
    sent = [headers["Authorization"] for _, headers, _ in receiver.requests]
    assert sent == ["Basic " + base64.b64encode("mé:p:w".encode()).decode()] * 2


def test_the_token_file_is_read_for_each_request(connect, receiver, make_part, tmp_path):
    """A rotated token is used by the next request; a file that is gone or empty for a while is retryable."""
    file = tmp_path / "token"
    file.write_text("first\n")
    exporter = connect(bearer_token_file=str(file))
    first, second = (Batch((make_part("gauge", ["level"], [at * S], last=[1]),)) for at in (1, 2))
    exporter.send(first)
    file.write_text("second\n")
    exporter.send(second)
    assert [headers["Authorization"] for _, headers, _ in receiver.requests] == ["Bearer first", "Bearer second"]
    for content in ("", "two\nlines", "\xe9"):
        file.write_text(content)
        with pytest.raises(RetryableExportError, match="bearer_token_file: ") as caught:
            exporter.send(second)
        assert "lines" not in str(caught.value)
    file.unlink()
    with pytest.raises(RetryableExportError, match="No such file"):
        exporter.send(second)


def test_the_environment_decides_nothing(connect, receiver, one_sample, monkeypatch, tmp_path):
    """Proxies and netrc of the environment are not used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    connect().send(one_sample)
    [(_, headers, _)] = receiver.requests
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "way",
    [
        {"bearer_token": "hunter2"},
        {"username": "someone", "password": "hunter2"},
        {"headers": {"X-Api-Key": "hunter2"}},
    ],
)
def test_credentials_are_in_no_error_repr_or_log(connect, receiver, one_sample, way, caplog):
    """Not even where the receiver repeats them in its answer, across the place where that is cut."""
    exporter = connect(url=receiver.url + "?key=hunter2", **way)
    encoded = base64.b64encode(b"someone:hunter2")
    with caplog.at_level(logging.INFO):
        for status in (400, 401, 500):
            for padding in (0, 194):
                receiver.answers = [(status, {}, b"x" * padding + b"hunter2 " + encoded)]
                with pytest.raises(ExportError) as caught:
                    exporter.send(one_sample)
                shown = str(caught.value) + repr(caught.value) + "".join(traceback.format_exception(caught.value))
                assert "hunter" not in shown
                assert "someone" not in shown
                if "username" in way:
                    assert encoded.decode() not in shown
    assert "hunter2" not in repr(exporter) + caplog.text


def test_a_closed_exporter_sends_nothing(connect, receiver, one_sample):
    """After close a batch is refused, and closing again does no harm."""
    exporter = connect()
    exporter.close()
    exporter.close()
    with pytest.raises(ExportError, match="was closed"):
        exporter.send(one_sample)
    assert receiver.requests == []


# -- with rondo's runner


@pytest.fixture
def recorded(tmp_path):
    """A store of three gauges and ten seconds."""
    clock = ManualClock()
    with Store(tmp_path / "store.rondo", [Schema("gauges", "gauge", 8, (Tier("1s", "60s"),))], clock=clock) as store:
        gauges = [store.gauge("level", n=n) for n in range(3)]
        for second in range(10):
            for gauge in gauges:
                gauge.set(second)
            clock.advance(1)
    return tmp_path / "store.rondo"


@pytest.fixture
def export(recorded, receiver):
    from rondo_core import StoreReader

    def run(ended_run=1, deadline_s=30):
        with StoreReader(recorded) as reader:
            runner = open_runner(reader, "prometheus", {"url": receiver.url, "protocol": "1.0"})
            return runner.finish(ended_run=ended_run, deadline_s=deadline_s)

    return run


def test_a_request_that_was_not_taken_is_sent_again_whole(export, receiver):
    """After a 503 the next export sends the same samples; then each series ends with one stale marker."""
    receiver.answers = [(503, {}, b"")]
    assert export(deadline_s=0).samples == 0
    assert receiver.taken == {}
    outcome = export()
    assert (outcome.error, outcome.stopped) == ("", False)
    first, again, end = (sent for _, _, sent in receiver.requests)
    assert first == again
    assert end.keys() >= again.keys()
    assert {value for samples in end.values() for _, value in samples} == {"stale"}


def test_what_is_refused_is_found_and_the_rest_goes_through(export, receiver):
    """A receiver that refuses one sample of one series for good gets all others, in order."""
    bad = (MS + 3000, 3.0)
    receiver.refuse = lambda sent: (400, {}, b"duplicate") if bad in sent.get("level{n=1}", ()) else None
    outcome = export()
    assert outcome.refused_samples == 1
    assert not outcome.stopped
    whole = [(MS + 1000 * second, float(second)) for second in range(10)]
    levels = {key: samples for key, samples in receiver.taken.items() if key.startswith("level")}
    assert all(samples.pop()[1] == "stale" for samples in levels.values())
    assert levels == {
        "level{n=0}": whole,
        "level{n=1}": [each for each in whole if each != bad],
        "level{n=2}": whole,
    }


def test_a_receiver_that_wants_a_password_gets_nothing_and_loses_nothing(export, receiver):
    """401, again and again: the export is given up, the cursor stays where it was, and the next one sends everything."""
    receiver.refuse = lambda _sent: (401, {}, b"who are you?")
    outcome = export()
    assert outcome.stopped
    assert outcome.error == f"{receiver.url}: answered 401: who are you?"
    assert (outcome.samples, outcome.refused_samples, outcome.doubtful_samples) == (0, 0, 0)
    receiver.refuse = None
    assert export().error == ""


def test_one_answer_of_401_ends_no_export(export, receiver):
    """It may pass: a last flush asks once more."""
    receiver.answers = [(401, {}, b"who are you?")]
    outcome = export()
    assert (outcome.stopped, outcome.samples > 30) == (False, True)
