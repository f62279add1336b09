"""`rondo serve` and the API beside a live store: what HTTP answers is what the store holds."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import types
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from rondo_cli.main import run
from rondo_core import Store
from rondo_core.errors import UsageError
from rondo_web import Sidecar, listen
from rondo_web.metrics.query import parse


@pytest.fixture
def served(store, clock):
    """A store that is being written, and an API beside it."""
    counter, gauge = store.counter("jobs_total", help="Jobs done.", queue="mail"), store.gauge("level", unit="ratio")
    for second in range(5):
        counter.inc(2)
        gauge.set(second / 4)
        store.tick()
        clock.advance(1)
    with Sidecar(store.path, listen("127.0.0.1", 0)) as sidecar:
        yield store, sidecar


def get(sidecar, path):
    try:
        with urllib.request.urlopen(f"{sidecar.url}/{path}", timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_query_answers_what_the_store_does(served):
    """The same series, points and intervals as `rondo query --format json`, for selectors, ranges, tiers and fns."""
    store, sidecar = served
    status, found = get(sidecar, "query?series=" + quote("jobs_total{queue=mail}"))
    assert status == 200
    (data,) = store.query("jobs_total{queue=mail}")
    assert found[0]["labels"] == {"queue": "mail"}
    assert found[0]["points"] == [
        list(each) for each in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True)
    ]
    start, end = data.timestamps_ns[1], data.timestamps_ns[3]
    _, part = get(
        sidecar, f"query?series=jobs_total&start={start / 1e9:.0f}&end={end / 1e9:.0f}&tier=0&fn=rate&xff=0.5"
    )
    assert [value for _, value in part[0]["points"]] == [
        2.0,
        2.0,
    ]  # from the point before the range; its end is not in it
    _, part = get(sidecar, f"query?series=level&start={end / 1e9:.0f}")
    assert [stamp for stamp, _ in part[0]["points"]] == data.timestamps_ns[3:].tolist()


def test_a_query_takes_what_the_command_takes_by_the_same_names(served):
    """One value for the whole range, and the second that is still recorded into, where they are asked for."""
    _, sidecar = served
    (one,) = get(sidecar, "query?selector=jobs_total&fn=increase&agg=1")[1]
    assert [value for _, value in one["points"]] == [10.0]
    for text, flag in (("1", True), ("true", True), ("0", False)):
        asked = parse({"selector": "jobs_total", "range": "2h..1h", "open": text})
        assert (asked.open, asked.agg, asked.range.back_ns) == (flag, False, 3600 * 10**9)


def test_what_is_declared_and_recorded_later_is_there(served, clock):
    """A live store is read anew by every request."""
    store, sidecar = served
    assert get(sidecar, "query?series=later")[0] == 404
    store.gauge("later").set(7.0)
    _, found = get(sidecar, "query?series=later")
    assert [value for _, value in found[0]["points"]] == [7.0]
    _, info = get(sidecar, "info")
    assert {"name": "later", "labels": {}, "kind": "gauge", "unit": "", "help": ""} in info["series"]


def test_health_says_who_writes_and_that_it_has_ended(served):
    """Live with the writer's pid; after the store was closed: ended."""
    store, sidecar = served
    status, health = get(sidecar, "health")
    assert (status, health["status"], health["writer_pid"]) == (200, "live", os.getpid())
    assert health["newest_ns"] == store.view.newest_ns()
    store.close()
    assert get(sidecar, "health")[1]["status"] == "ended"
    assert get(sidecar, "info")[1]["stores"][0]["runs"][-1]["ended"] == "closed"


def test_a_scraper_reads_where_the_series_of_a_live_store_stand(served):
    """OpenMetrics where it is asked for; a store whose writer has gone shows nothing, so no last value lingers."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    store, sidecar = served
    store.summary("took_seconds").observe(0.5)

    def scrape():
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        with urllib.request.urlopen(urllib.request.Request(sidecar.url, headers=accept), timeout=30) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
            return {
                (sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples
            }

    found = scrape()
    assert found["jobs_total", "mail"] == 10.0
    assert found["level",] == 1.0
    assert found["took_seconds_count",] == 1.0
    store.close()
    assert scrape() == {}


BAD = (
    ("", 400, "series: missing"),
    ("seriess=x", 400, "seriess: no such parameter; there are selector, series"),
    ("series=x{", 400, ""),
    ("series=nope", 404, "nope: no such series; nearest:"),
    ("series=level&range=soon", 400, "soon"),
    ("series=level&range=15m&start=1", 400, "range: given beside start"),
    ("series=level&start=yesterday", 400, "'yesterday': not an instant"),
    ("series=level&tier=9", 400, "tier"),
    ("series=level&fn=median", 400, "median"),
    ("series=level&xff=2", 400, "xff: '2' is not a share"),
    ("series=level&agg=maybe", 400, "agg: 'maybe': write 1 or 0"),
    ("series=level&selector=level", 400, "selector: given beside series"),
)


def test_bad_input_is_answered_in_one_line(served):
    """A status and what is wrong; the server goes on."""
    _, sidecar = served
    for query, status, said in BAD:
        answered, body = get(sidecar, f"query?{quote(query, safe='=&')}")
        assert answered == status, query
        assert said in body["error"]
        assert "\n" not in body["error"]
    assert get(sidecar, "health")[0] == 200


def test_what_is_served_is_what_lies_at_the_path(path, clock):
    """Another store that takes the place of the first is served from then on; in between there is none: 503."""
    with Store(path, clock=clock) as store:
        store.gauge("a").set(1.0)
    with Sidecar(path, listen("127.0.0.1", 0)) as sidecar:
        assert get(sidecar, "query?series=a")[0] == 200
        path.rename(path.with_name("moved"))
        assert get(sidecar, "query?series=a")[0] == 503
        with Store(path, clock=clock) as store:
            store.gauge("b").set(2.0)
            assert get(sidecar, "health")[1]["status"] == "live"
            assert get(sidecar, "query?series=b")[1][0]["points"] == [[clock() // 10**9 * 10**9, 2.0]]
            assert get(sidecar, "query?series=a")[0] == 404
            (said,) = get(sidecar, "info")[1]["stores"]
            assert said["store_id"] == store.meta.store_id


def test_a_busy_port_is_one_line(path, capsys):
    """It names the port and the mend; nothing was started."""
    Store(path).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["serve", str(path), "--port", str(port)]) == 2
    assert f"port {port} on 127.0.0.1: Address already in use; choose another" in capsys.readouterr().err
    with pytest.raises(UsageError, match="give an address of this machine"):
        listen("no.such.host.invalid", 0)


def test_no_store_is_one_line(tmp_path, capsys):
    """As for every command."""
    assert run(["serve", str(tmp_path / "nope"), "--port", "0"]) == 1
    assert "nope" in capsys.readouterr().err


def test_a_directory_of_stores_is_served_together(tmp_path):
    """The label rondo_store tells them apart."""
    for name in ("a", "b"):
        with Store(tmp_path / name) as store:
            store.gauge("level").set(1.0)
    with Sidecar(tmp_path, listen("127.0.0.1", 0)) as sidecar:
        _, found = get(sidecar, "query?series=level")
        assert [each["labels"] for each in found] == [{"rondo_store": "a"}, {"rondo_store": "b"}]
        assert len(get(sidecar, "info")[1]["stores"]) == 2


def raw(sidecar, host, path="/metrics/info", **headers):
    """Ask with a Host header of one's own."""
    client = http.client.HTTPConnection(*sidecar.url[7:].partition("/")[0].split(":"), timeout=30)
    try:
        client.request("GET", path, headers={"Host": host, **headers})
        answer = client.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        client.close()


def test_only_names_of_this_machine_are_answered(served):
    """Loopback's names and addresses, with any port; whatever else a browser may have been told is refused, and led nowhere."""
    _, sidecar = served
    for host in ("127.0.0.1", "localhost", "LOCALHOST.:80", "[::1]:9464", "127.0.0.53:1"):
        assert raw(sidecar, host)[0] == 200, host
    for host in (
        "evil.example",
        "evil.example:9464",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[fe80::1]",
        "",
        "localhost@evil",
        "a b",
    ):
        status, body, headers = raw(sidecar, host, "/metrics/info/")
        assert status == 421, host
        assert "--allow-host NAME" in body["error"]
        assert "Location" not in headers


def test_a_name_that_is_allowed_is_answered(tmp_path):
    """--allow-host takes the name by which clients ask, and no other."""
    with Store(tmp_path / "s") as store:
        store.gauge("level").set(1.0)
    with serving(tmp_path / "s", "--allow-host", "Metrics.Example") as sidecar:
        assert raw(sidecar, "metrics.example:80")[0] == 200
        assert raw(sidecar, "other.example")[0] == 421


@contextlib.contextmanager
def serving(path, *options):
    """`rondo serve` in a process of its own, as a user starts it."""
    command = [sys.executable, "-m", "rondo_cli", "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stderr.readline()
        yield types.SimpleNamespace(url=said.split(" on ")[1].strip().removesuffix("/info"), process=process)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def test_where_others_reach_the_address_there_is_a_token(path, tmp_path, capsys):
    """Without one nothing listens; with one every page wants it, and says so."""
    with Store(path) as store:
        store.gauge("level").set(1.0)
    for host in ("0.0.0.0", "::"):
        assert run(["serve", str(path), "--host", host, "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert (
            f"--host {host}: whoever reaches this address may read all of it; give --token-file" in said
            or "--host ::" in said
        )
    token = tmp_path / "token"
    for wrong in ("", "short", "a" * 2000, "twice the word of sixteen", "\u00e9" * 20):
        token.write_text(wrong)
        assert run(["serve", str(path), "--token-file", str(token), "--port", "0"]) == 2
        assert "no token; one line of 16 to 1024" in capsys.readouterr().err
    assert run(["serve", str(path), "--token-file", str(tmp_path / "none"), "--port", "0"]) == 2
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    with serving(path, "--host", "0.0.0.0", "--token-file", str(token)) as sidecar:
        sidecar.url = sidecar.url.replace("0.0.0.0", "127.0.0.1")
        for given in (
            {},
            {"Authorization": "Bearer 0123456789abcdeg"},
            {"Authorization": "Basic 0123456789abcdef"},
            {"Authorization": "Bearer"},
        ):
            for page in ("/metrics", "/metrics/health", "/metrics/info", "/metrics/query?series=level", "/nothing"):
                status, body, headers = raw(sidecar, "127.0.0.1", page, **given)
                assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
                assert body == {"error": "a token is needed: Authorization: Bearer TOKEN"}
        assert raw(sidecar, "127.0.0.1", Authorization="Bearer 0123456789abcdef")[0] == 200


def test_the_machines_api_wants_a_token_too(tmp_path, capsys):
    """--api-host beyond this machine is refused before the machine starts; nothing is left."""
    assert run(["vmm", "--api-port", "0", "--api-host", "0.0.0.0", "--store", str(tmp_path / "vm")]) == 2
    assert "give --token-file" in capsys.readouterr().err
    assert not (tmp_path / "vm").exists()


def test_a_large_query_is_refused_and_what_is_asked_for_less_is_answered(large_store):
    """The limit is said with the mend; expressions are RE2's; nothing that was sent comes back at length."""
    with Sidecar(large_store, listen("127.0.0.1", 0)) as sidecar:
        status, body = get(sidecar, "query?series=g")
        assert status == 422
        assert (
            body["error"]
            == "the query asks for more than 200000 points; give a shorter range, a coarser tier or fewer series"
        )
        status, found = get(sidecar, "query?series=" + quote('g{i=~"1.."}'))
        assert (status, len(found), {len(each["points"]) for each in found}) == (200, 100, {600})
        assert get(sidecar, "query?series=g&range=10s")[0] == 200
        for bad in (
            r'g{i=~"(1)\\1"}',
            'g{i=~"(?=1)"}',
            'g{i=~"1{2000}"}',
            "g{" + "i!=x," * 70 + "}",
            f'g{{i=~"{"a" * 3000}"}}',
        ):
            status, body = get(sidecar, "query?series=" + quote(bad))
            assert status == 400, bad
            assert len(body["error"]) < 350
        status, body = get(sidecar, "query?series=g&range=" + "9" * 5000 + "s")
        assert (status, len(body["error"]) < 350) == (400, True)
        assert get(sidecar, "query?series=" + "g" * 9000)[0] == 414
        status, body = get(sidecar, "nope")
        assert (status, body["error"].startswith("no such page; there are /metrics, /metrics/health")) == (404, True)


def until(wanted, ask):
    """Ask until the answer is as wanted; the test's own timeout is the end."""
    while (got := ask()) != wanted:
        pass
    return got


def test_a_store_that_was_replaced_is_followed(tmp_path):
    """Who asks for a path gets what lies there: another store, in a moment; nothing, as 503; a cut one, as 503."""
    path = tmp_path / "s"
    with Store(path) as store:
        store.gauge("first").set(1.0)
    with Sidecar(path, listen("127.0.0.1", 0)) as sidecar:
        assert get(sidecar, "query?series=first")[0] == 200
        path.rename(tmp_path / "elsewhere")
        assert get(sidecar, "query?series=first")[0] == 503
        with Store(path) as store:
            store.gauge("second").set(2.0)
            assert get(sidecar, "query?series=second")[0] == 200
            assert get(sidecar, "query?series=first")[0] == 404
            until("live", lambda: get(sidecar, "health")[1].get("status"))
        for slab in path.glob("*.slab"):
            os.truncate(slab, 4096)
        for page in ("health", "query?series=second"):
            status, body = get(sidecar, page)
            assert status == 503, page
            assert "\n" not in body["error"]


def test_a_directory_is_followed_while_it_is_read(tmp_path):
    """A store that comes is seen, and one that goes is gone, in some seconds, also when only health was asked for."""
    for name in ("a", "b"):
        with Store(tmp_path / name) as store:
            store.gauge("level").set(1.0)
    with Sidecar(tmp_path, listen("127.0.0.1", 0)) as sidecar:
        assert get(sidecar, "health")[1]["status"] == "ended"
        with Store(tmp_path / "c") as store:
            store.gauge("level").set(1.0)
            until("live", lambda: get(sidecar, "health")[1].get("status"))
        assert len(get(sidecar, "query?series=level")[1]) == 3


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example", "n\x1b[2J\nforged\u202e", "\x00"])
def test_a_host_that_is_no_name_is_one_line(host, path, capsys):
    """Whatever is wrong with the name, which is shown as what it is."""
    with Store(path, ()):
        pass
    assert run(["serve", str(path), "--host", host, "--port", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rondo: --host ")
