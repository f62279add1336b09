"""Real clients of Prometheus's API ask `rondo serve`: promtool, a Prometheus that reads remotely, prometheus-api-client.

Grafana's own calls are written by hand in tests/web/prometheus: there is no Grafana where these tests run.
"""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export import open_runner
from rondo_web import Sidecar, listen

START_S = 1_700_000_000
SECONDS = 900
TIERS = (Tier("1s", "30m"),)
SELECTED = 'jobs_total{queue=~"q[0-3]"}'
# Asked where no sample lies on an end of a range: Prometheus before 3.0 takes both ends.
EXPRESSIONS = (
    "jobs_total", 'level{queue!="q1"}', "took_seconds_count", "took_seconds_sum", "nope", "1 + 1", "time() - timestamp(level)",
    "rate(jobs_total[1m])", "irate(jobs_total[10s])", "increase(jobs_total[5m])", "sum by (queue) (rate(jobs_total[30s]))", "delta(level[1m])",
    "max_over_time(level[1m])", "avg_over_time(level[1m])", "quantile_over_time(0.9, level[2m])", "stddev_over_time(level[1m])", "count_over_time(level[7s])",
    "topk(2, level)", "bottomk(1, rate(jobs_total[1m]))", "quantile(0.5, level)", 'count_values("v", round(level))', "stdvar(level)", "level > bool 3",
    "level / on (queue) group_left jobs_total", "jobs_total and on (queue) level > 1", "level or jobs_total", "jobs_total unless on (queue) level",
    "rate(took_seconds_sum[1m]) / rate(took_seconds_count[1m])", "took_seconds_max", 'took_seconds{quantile="0.99"}',
    "histogram_quantile(0.9, sum by (le) (rate(took_seconds_bucket[1m])))", "max_over_time(sum(level)[5m:10s])", "level offset 1m",
    "rate(jobs_total[1m] offset 2m)", "level @ 1700000300.5", "absent(nope)", "absent_over_time(nope[1m])", "deriv(level[1m])", "predict_linear(level[1m], 60)",
    "changes(level[1m])", "resets(level[1m])", 'label_replace(level, "x", "$1", "queue", "q(.)")', "sort_desc(level)", "scalar(sum(level))", "vector(1) / 0",
)  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The API of a store with counters, gauges and a sketched summary of a quarter of an hour."""
    clock = ManualClock(START_S * 10**9)
    schemas = [Schema("sketched", "summary", 4, TIERS, "took_seconds", sketch=True)]
    schemas += [Schema(kind, kind, 16, TIERS) for kind in ("counter", "gauge")]
    path = tmp_path_factory.mktemp("served") / "s"
    with Store(path, schemas, clock=clock) as store:
        counters = [store.counter("jobs_total", queue=f"q{n}", help="Jobs.") for n in range(4)]
        levels = [store.gauge("level", queue=f"q{n}") for n in range(3)]
        took = store.summary("took_seconds")
        for second in range(SECONDS):
            for index, counter in enumerate(counters):
                counter.inc(second * (index + 3) % 7 + 0.25)
            for index, level in enumerate(levels):
                if second % (50 + index) > 5 * index:  # else there is no sample
                    level.set((second * (index + 1)) % 13 / 3 + index / 100)  # no two are equal: topk takes any
            for value in range(second % 4):
                took.observe(0.01 * (value + 1) * (second % 11 + 1))
            store.tick()
            clock.advance(1)
    with Sidecar(path, listen("127.0.0.1", 0)) as sidecar:
        yield sidecar.url.removesuffix("/metrics")


@pytest.mark.prometheus
def test_a_prometheus_that_reads_a_store_remotely_answers_as_rondo_does(url, prometheus):
    """Its own engine over rondo's bytes, and rondo's own: the same series, times and values, at steps over ten minutes."""
    prometheus.configure(json.dumps({"remote_read": [{"url": f"{url}/api/v1/read", "read_recent": True}]}))
    span = {"start": START_S + 240.5, "end": START_S + SECONDS - 1.5, "step": 7}
    for expression in EXPRESSIONS:
        ours, theirs = (asked(each, "query_range", query=expression, **span) for each in (url, prometheus.url))
        assert ours.keys() == theirs.keys(), expression
        for labels, points in theirs.items():
            assert [at for at, _ in ours[labels]] == [at for at, _ in points], (expression, labels)
            found, wanted = ([float(value) for _, value in each] for each in (ours[labels], points))
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True), (expression, labels)


def asked(base, path, **parameters):
    """Post a form as Grafana does, and give the series of a matrix by their labels."""
    form = urllib.parse.urlencode(parameters).encode()
    with urllib.request.urlopen(f"{base}/api/v1/{path}", form, timeout=30) as response:
        told = json.load(response)
    assert told["status"] == "success", told
    return {json.dumps(each["metric"], sort_keys=True): each["values"] for each in told["data"]["result"]}


@pytest.mark.prometheus
def test_promtool_asks(url):
    """Its four queries, and its word for an error."""

    def promtool(*words):
        return subprocess.run(["promtool", "query", *words], capture_output=True, text=True, check=False, timeout=60)

    end = str(START_S + SECONDS - 1)
    found = promtool("instant", url, "count by (queue) (jobs_total)", "--time", end)
    assert found.stdout.splitlines() == [f'{{queue="q{n}"}} => 1 @[{end}]' for n in range(4)], found
    span = ("--start", str(START_S + 1), "--end", str(START_S + 3))
    found = promtool("range", url, 'level{queue="q0"}', *span, "--step", "1s")
    assert found.stdout.split() == [
        'level{queue="q0"}', "=>", *(word for n in (1, 2, 3) for word in (repr(n / 3).removesuffix(".0"), f"@[{START_S + n}]")),
    ], found  # fmt: skip
    found = promtool("series", url, "--match", SELECTED, "--match", "level", *span)  # else of a year around now
    assert len(found.stdout.splitlines()) == 7, found
    assert promtool("labels", url, "queue", *span).stdout.split() == ["q0", "q1", "q2", "q3"]
    refused = promtool("instant", url, "sum(")
    assert (refused.returncode, "bad_data: parse error" in refused.stderr) == (1, True), refused


def test_prometheus_api_client_asks(url):
    """The client of Python's data people: names, values, ranges, an error."""
    client = pytest.importorskip(
        "prometheus_api_client", reason="needs prometheus-api-client, as `make test-systems` has it"
    )
    api = client.PrometheusConnect(url)
    assert {"jobs_total", "level", "took_seconds_count"} <= {*api.all_metrics()}
    assert api.get_label_values("queue") == ["q0", "q1", "q2", "q3"]
    at = {"time": START_S + SECONDS - 1}
    assert len(api.get_current_metric_value("jobs_total", {"queue": "q1"}, params=at)) == 1
    start, end = (datetime.fromtimestamp(START_S + each, UTC) for each in (100, 110))
    (found,) = api.custom_query_range("sum(jobs_total)", start, end, "1")
    assert len(found["values"]) == 11
    assert len(api.get_metric_range_data("jobs_total", start_time=start, end_time=end)) == 4
    with pytest.raises(client.PrometheusApiClientException, match="parse error"):
        api.custom_query("sum(")


@pytest.mark.prometheus
def test_a_prometheus_asks_the_living_where_they_run_and_has_the_dead(tmp_path, prometheus, serving):
    """Two hosts that serve their stores by remote read, and one that was sent: one query of one Prometheus has all.

    It has external labels, which no store carries.
    """
    start_s = int(time.time()) - 120
    for host, name in (("a", "one"), ("a", "two"), ("b", "three"), ("sent", "dead")):
        clock = ManualClock(start_s * 10**9)
        with Store(tmp_path / host / f"{name}.rondo", [Schema("c", "counter", 4, TIERS)], clock=clock) as store:
            work = store.counter("work_total")
            for _ in range(60):
                work.inc(len(name))
                store.tick()
                clock.advance(1)
    label = ("--store-label", "instance")
    with serving(tmp_path / "a", *label) as a, serving(tmp_path / "b", *label) as b:
        asked_by = {"read_recent": True, "filter_external_labels": False}
        hosts = [{"url": f"{host}/api/v1/read", **asked_by} for host in (a, b)]
        prometheus.configure(json.dumps({"global": {"external_labels": {"cluster": "c"}}, "remote_read": hosts}))
        with StoreReader(tmp_path / "sent" / "dead.rondo") as reader:
            table = {"url": prometheus.write_url, "external_labels": "instance=dead"}
            outcome = open_runner(reader, "prometheus", table, clock=time.time_ns).finish(1, 60)
        assert (outcome.refused_samples, outcome.error) == (0, "")
        found = prometheus.instant("sum by (instance) (max_over_time(work_total[2m]))", start_s + 61)
    named = {dict(each)["instance"]: value for each, value in found.items()}
    assert named == {"one": 180, "two": 180, "three": 300, "dead": 240}
