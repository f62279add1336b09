"""What a scraper finds at /metrics, and what happens to those who ask for anything else."""

import gzip
import http.client
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rondo_core import ManualClock, Plugins, Schema, Store, Tier
from rondo_core.errors import ExportError, UsageError
from rondo_core.export.runner import Runner
from rondo_core.plugins.manager import EXPORTERS

START_NS = 1_700_000_000 * 10**9
ASK = "application/openmetrics-text; version=1.0.0"
TIERS = (Tier("1s", "60s"),)


def open_with(config):
    plugins = Plugins(config={"openmetrics": config})
    plugins.load(EXPORTERS, ["openmetrics"])
    return plugins.open("rondo_exporter_open", "openmetrics")


@pytest.fixture
def exporter():
    opened = open_with({"port": 0})
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path):
    clock = ManualClock(START_NS)
    schemas = [
        Schema("counters", "counter", 8, TIERS),
        Schema("gauges", "gauge", 8, TIERS),
        Schema("sketched", "summary", 8, TIERS, '{__name__=~".*_seconds"}', sketch=True),
        Schema("summaries", "summary", 8, TIERS),
    ]
    with Store(tmp_path / "store.rondo", schemas, clock=clock) as opened:
        yield opened


def record(store, seconds):
    done, level = store.counter("jobs_total", help="Jobs.", queue="mail"), store.gauge("level")
    plain, timed = store.summary("plain"), store.summary("wait_seconds", unit="seconds")
    for second in range(seconds):
        store.tick()
        done.inc()
        level.set(second)
        plain.observe(second)
        for value in range(1, 101):
            timed.observe(value / 100)
        store.clock.advance(1)


def send(store, exporter, ended_run=0):
    """One pass of a runner, which must not close the exporter."""

    class Kept:
        def send(self, batch):
            return exporter.send(batch)

        def close(self):
            pass

    store.clock.advance(2)
    return Runner(store.view, Kept(), "openmetrics", clock=store.clock).finish(ended_run, 10)


def get(exporter, path="/metrics", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def scraped(exporter):
    _, body = get(exporter, Accept=ASK)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if not sample.name.startswith("rondo_")
    }


def test_a_scrape_finds_the_newest_closed_sample_of_every_series(store, exporter):
    """Totals, the last gauge, and a summary's totals with quantiles of its newest bucket."""
    assert scraped(exporter) == {}
    record(store, 5)
    store.gauge("level").set(99)
    send(store, exporter)
    found = scraped(exporter)
    quantiles = {key[1][1]: found.pop(key) for key in list(found) if key[0] == "wait_seconds"}
    assert quantiles == {
        "0.0": 0.01,
        "0.5": pytest.approx(0.5, rel=0.03),
        "0.9": pytest.approx(0.9, rel=0.03),
        "0.99": pytest.approx(0.99, rel=0.03),
        "1.0": 1.0,
    }
    assert found == {
        ("jobs_total", ("queue", "mail")): 5,
        ("level",): 99,
        ("plain", ("quantile", "0.0")): 4,
        ("plain", ("quantile", "1.0")): 4,
        ("plain_count",): 5,
        ("plain_sum",): 10,
        ("wait_seconds_count",): 500,
        ("wait_seconds_sum",): pytest.approx(252.5),
    }


def test_series_disappear_when_their_run_has_ended(store, exporter):
    """After the end nothing of a dead process lingers on the page."""
    record(store, 3)
    send(store, exporter)
    assert scraped(exporter)
    store.close()
    send(store, exporter, ended_run=1)
    assert get(exporter, Accept=ASK)[1] == b"# EOF\n"


def test_the_scraper_chooses_form_and_compression(store, exporter):
    """Content types are those of the two forms; gzip where it is taken; HEAD has no body."""
    record(store, 3)
    send(store, exporter)
    plain, body = get(exporter)
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE jobs_total counter" in body
    assert plain.headers["Content-Encoding"] is None
    asked, packed = get(exporter, Accept=ASK, Accept_Encoding="deflate, gzip;q=1.0")
    assert asked.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert asked.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed).endswith(b"# EOF\n")
    assert get(exporter, Accept_Encoding="gzip;q=0")[0].headers["Content-Encoding"] is None
    head, nothing = get(exporter, method="HEAD")
    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))


def test_nothing_else_is_there(exporter):
    """Another path is 404, another method 501."""
    response, body = get(exporter, "/")
    assert (response.status, body) == (404, b"/metrics is here\n")
    assert get(exporter, method="POST")[0].status == 501
    assert get(exporter, "/metrics?name=x")[0].status == 200


def test_names_that_collide_are_reported_once(store, exporter, caplog):
    """The page stays readable, one warning names what is left out, and its samples count as refused."""
    store.summary("x").observe(1)
    store.gauge("x_count").set(1)
    outcome = send(store, exporter)
    assert outcome.refused_samples == 1
    for _ in range(3):
        scraped(exporter)
    assert [message.partition(":")[0] for message in caplog.messages] in (["x_count"], ["x"])


def test_timestamps_are_those_of_the_buckets(store):
    """With timestamps = true each value says which second it is of."""
    exporter = open_with({"port": 0, "timestamps": True})
    try:
        record(store, 2)
        send(store, exporter)
        assert f"level 1 {START_NS // 10**6 + 1000}" in get(exporter)[1].decode().splitlines()
    finally:
        exporter.close()


def test_it_listens_on_this_machine_alone_until_it_is_closed(exporter):
    """127.0.0.1 unless told otherwise; after close no one answers, and a batch is refused."""
    assert exporter._server.server_address[0] == "127.0.0.1"
    assert repr(exporter) == f"MetricsServer('http://127.0.0.1:{exporter.port}/metrics')"
    exporter.close()
    exporter.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", exporter.port), timeout=5)
    with pytest.raises(ExportError, match="was closed"):
        exporter.send(None)


def test_what_cannot_be_listened_on_is_said_in_one_line(exporter):
    """A port that is taken, one that is none, and a host that is not this machine's."""
    for config, said in (
        ({"port": exporter.port}, "host, port: 127.0.0.1:.*: Address already in use"),
        ({"port": 70000}, "port: 70000 is no port"),
        ({"port": "many"}, "openmetrics.port: 'many' is not a whole number"),
        ({"host": "192.0.2.1", "port": 0}, "host, port: 192.0.2.1:0: Cannot assign"),
        ({"hosts": ""}, "openmetrics.hosts: no such key; did you mean host"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            open_with(config)
        assert "\n" not in str(caught.value)


def test_the_plugin_is_cheap_to_import():
    """To list plugins imports no HTTP server and no numpy."""
    code = (
        "import sys, rondo_exporter_openmetrics.plugin as p\n"
        "print(sorted({'http.server', 'numpy', 'socketserver'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; install the package prometheus")
def test_promtool_takes_the_page(store, exporter):
    """Prometheus' own checker has no complaint about a page with every kind and rondo's own counters."""
    store.counter("jobs_total", help="Jobs.").inc()
    store.gauge("level_bytes", help="Level.", unit="bytes").set(1)
    store.summary("wait_seconds", help="Wait.", unit="seconds").observe(1)
    store.tick()
    send(store, exporter)
    page = get(exporter)[1]
    assert b"rondo_series_refused_total" in page
    checked = subprocess.run(["promtool", "check", "metrics"], check=False, input=page, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_example_in_the_readme_runs(tmp_path, monkeypatch):
    """The README's block, as shown."""
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    names = {}
    exec(readme.partition("```python\n")[2].partition("```")[0], names)
    outcome = names["runner"].close(names["store"].run.number)
    assert (outcome.error, outcome.samples > 0) == ("", True)
