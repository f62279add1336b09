"""Queries over HTTP: what the engine answers, in the form that Grafana and promtool read, and errors as they know them."""

import pytest

from rondo_cli.main import run
from rondo_core import Schema, Store, Tier
from rondo_web import Sidecar, listen

END_S = 1_700_000_000 + 119  # of the store that `api` serves


def test_grafanas_test_of_a_data_source(api):
    """`1+1` at time 4, by POST, as its button "Save & test" asks; nothing is cut short of what it compares."""
    status, told = api.post("query", query="1+1", time="4")
    assert (status, told) == (200, {"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}})


def test_an_instant_query_answers_by_get_and_by_post(api):
    """A vector, a scalar, a string and the samples of a range; times in seconds or RFC 3339."""
    asked = {"query": "sum by (queue) (rate(jobs_total[1m]))", "time": END_S}
    data = api.data("query", **asked)
    assert data["resultType"] == "vector"
    assert [(each["metric"], each["value"]) for each in data["result"]] == [
        ({"queue": "mail"}, [END_S, "1"]),
        ({"queue": "web"}, [END_S, "2"]),
    ]
    assert api.post("query", **asked)[1]["data"] == data
    assert api.data("query", query=asked["query"], time="2023-11-14T22:15:19Z") == data
    assert api.data("query", query="vector(1) / 0", time=4)["result"] == [{"metric": {}, "value": [4, "+Inf"]}]
    assert api.data("query", query='"a"', time=4.5) == {"resultType": "string", "result": [4.5, "a"]}
    assert api.data("query", query="level[3s]", time=END_S) == {
        "resultType": "matrix",
        "result": [
            {"metric": {"__name__": "level"}, "values": [[END_S - 2, "29.25"], [END_S - 1, "29.5"], [END_S, "29.75"]]}
        ],
    }
    found = [
        api.data("query", query="took_seconds_max", time=END_S + 0.0005, lookback_delta=each)
        for each in ("0.0001", "1s")
    ]
    assert [len(each["result"]) for each in found] == [0, 1]
    assert api.data("query", query="nope", time=END_S) == {"resultType": "vector", "result": []}


def test_a_range_query_answers_each_step(api):
    """From the start to the end, both included; a series that has ended has no more points."""
    asked = {"query": "level", "start": END_S - 2, "end": END_S + 2, "step": "500ms"}
    (series,) = api.data("query_range", **asked)["result"]
    assert series["values"] == [[END_S - 2 + step / 2, f"{29.25 + step // 2 / 4:g}"] for step in range(5)]
    assert api.post("query_range", **asked)[1]["data"]["result"] == [series]
    scalar = api.data("query_range", query="time()", start=1, end=3, step=1)
    assert scalar == {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"], [2, "2"], [3, "3"]]}]}


def test_a_name_that_no_series_has_is_answered_with_those_near(api):
    """As an info beside the empty answer; of what is there and only has no value now nothing is said."""
    told = api.get("query", query="sum(rate(job_total[1m]))")[1]
    assert told["data"]["result"] == []
    assert told["infos"] == ["job_total: no such series; nearest: jobs_total"]
    told = api.get("query", query='jobs_total{queue="wep"}')[1]
    assert told["infos"][0].startswith('jobs_total{queue="wep"}: no such series; queue of jobs_total is web or ')
    assert "infos" not in api.get("query", query="jobs_total > 1e9")[1]
    assert api.get("query", query="level", time=5)[1] == {
        "status": "success",
        "data": {"resultType": "vector", "result": []},
    }


def test_what_is_to_be_said_beside_an_answer_is_said(api):
    """Infos and warnings, which clients show as notices; a limit that cut something off."""
    status, told = api.get("query", query="rate(level[1m])", time=END_S)
    assert status == 200
    assert any("metric might not be a counter" in each for each in told["infos"]), told
    _, told = api.get("query", query="quantile(2, level)", time=END_S)
    assert any("quantile value should be between 0 and 1" in each for each in told["warnings"]), told
    _, told = api.get("query", query="jobs_total", time=END_S, limit=1)
    assert (len(told["data"]["result"]), told["warnings"]) == (1, ["results truncated due to limit"])
    assert "warnings" not in api.get("query", query="jobs_total", time=END_S, limit=2)[1]


BAD = (
    ("query", {"query": "sum("}, 400, "bad_data", "parse error"),
    ("query", {"query": ""}, 400, "bad_data", "no expression found in input"),
    ("query", {"query": "level", "time": "soon"}, 400, "bad_data", 'invalid parameter "time": cannot parse "soon"'),
    ("query", {"query": "level", "timeout": "x"}, 400, "bad_data", 'invalid parameter "timeout"'),
    ("query", {"query": "level", "limit": "-1"}, 400, "bad_data", 'invalid parameter "limit"'),
    ("query", {"query": "level offset 9999999y"}, 400, "bad_data", "out of range"),
    ("query", {"query": "level @ 1e300"}, 400, "bad_data", "out of bounds"),
    ("parse_query", {"query": "max_over_time(level[5m:9999999y])"}, 400, "bad_data", "out of range"),
    ("labels", {"match[]": "level offset 9999999y"}, 400, "bad_data", "out of range"),
    ("query", {"query": "rate(level)"}, 400, "bad_data", "expected type range vector"),
    ("query", {"query": 'level{a=~"("}'}, 400, "bad_data", "parse error"),
    ("query", {"query": 'level{a=~"(?:\\\\w{1,90}){1,90}"}'}, 400, "bad_data", "its regular expressions are too large"),
    ("query", {"query": "(" * 300}, 400, "bad_data", "300 operators, brackets and matchers; at most 200"),
    ("query", {"query": "label_replace(jobs_total, 'queue', '', '', '')"}, 422, "execution", "same labelset"),
    ("query", {"query": "sum(level)", "timeout": "0.000001"}, 503, "timeout", "timed out"),
    ("query_range", {"query": "level"}, 400, "bad_data", 'invalid parameter "start": cannot parse ""'),
    ("query_range", {"query": "level", "start": 2, "end": 1, "step": 1}, 400, "bad_data", "must not be before start"),
    ("query_range", {"query": "level", "start": 1, "end": 2, "step": 0}, 400, "bad_data", "zero or negative"),
    ("query_range", {"query": "level", "start": 0, "end": 1e9, "step": 1}, 400, "bad_data", "11,000 points"),
    ("query_range", {"query": "level[1m]", "start": 0, "end": 1, "step": 1}, 400, "bad_data", "must be Scalar or"),
)


@pytest.mark.parametrize(("path", "asked", "status", "kind", "said"), BAD)
def test_what_is_wrong_is_said_as_prometheus_does(api, path, asked, status, kind, said):
    """Statuses that its clients read errors from, the kind, and one line; by GET and by POST."""
    for ask in (api.get, api.post):
        answered, told = ask(path, **({"time": END_S} if path == "query" and "time" not in asked else {}), **asked)
        assert (answered, told["status"], told["errorType"]) == (status, "error", kind), told
        assert said in told["error"]
        assert "\n" not in told["error"]


def test_a_native_histogram_is_told_with_its_cells(path, clock, client):
    """Count, sum and cells add up, at an instant and over a range; its buckets are there by their own name."""
    schema = Schema("s", "summary", 2, (Tier("1s", "10m"),), sketch=True)
    with Store(path, [schema], clock=clock) as store:
        took = store.summary("took_seconds")
        for second in range(30):
            took.observe(0.5)
            took.observe(2.0 + second)
            store.tick()
            clock.advance(1)
    with Sidecar(path, listen("127.0.0.1", 0)) as sidecar:
        api = client(sidecar.url)
        at = clock() // 10**9 - 1
        (found,) = api.data("query", query='increase(took_seconds{quantile=""}[10s])', time=at)["result"]
        told = found["histogram"][1]
        assert told["count"] == "20"
        assert sum(float(each[3]) for each in told["buckets"]) == pytest.approx(float(told["count"]))
        assert all(float(low) < float(high) for _, low, high, _ in told["buckets"])
        (found,) = api.data("query_range", query='took_seconds{quantile=""}', start=at - 5, end=at, step=1)["result"]
        assert [each[0] for each in found["histograms"]] == list(range(at - 5, at + 1))
        (middle,) = api.data("query", query='histogram_quantile(0.5, took_seconds{quantile=""})', time=at)["result"]
        by_bounds = "histogram_quantile(0.5, sum by (le) (took_seconds_bucket))"
        (classic,) = api.data("query", query=by_bounds, time=at)["result"]
        assert float(middle["value"][1]) == pytest.approx(float(classic["value"][1]), rel=0.3)


def test_a_directory_answers_for_all_its_stores(tmp_path, clock, client):
    """Told apart by rondo_store, summed over them; one that comes is there at once."""
    for name in ("a", "b"):
        with Store(tmp_path / name, clock=clock) as store:
            store.gauge("level").set(1.0)
    at = clock() // 10**9
    with Sidecar(tmp_path, listen("127.0.0.1", 0)) as sidecar:
        api = client(sidecar.url)
        assert api.data("query", query="sum(level)", time=at)["result"] == [{"metric": {}, "value": [at, "2"]}]
        assert api.data("label/rondo_store/values") == ["a", "b"]
        with Store(tmp_path / "c", clock=clock) as store:
            store.gauge("level").set(3.0)
        found = api.data("query", query='level{rondo_store!="b"}', time=at)["result"]
        assert sorted((each["metric"]["rondo_store"], each["value"][1]) for each in found) == [("a", "1"), ("c", "3")]
        assert api.data("series", **{"match[]": 'level{rondo_store="c"}'}) == [
            {"__name__": "level", "rondo_store": "c"}
        ]
        one = {"extra_label": "rondo_store=c"}
        assert api.data("query", query="sum(level) + count(level)", time=at, **one)["result"][0]["value"][1] == "4"
        assert api.data("query_range", query="level", start=at, end=at, step=1, **one)["result"][0]["metric"] == {
            "__name__": "level",
            "rondo_store": "c",
        }
        assert api.data("label/rondo_store/values", **one) == ["c"]
        assert api.data("query", query='level{rondo_store="a"}', time=at, **one)["result"] == []
        for wrong in ("rondo_store", "=c"):
            status, told = api.get("query", query="level", time=at, extra_label=wrong)
            assert (status, told["error"]) == (400, f"""invalid parameter "extra_label": '{wrong}' is not NAME=VALUE""")
        assert api.data("metadata")["level"][0]["type"] == "gauge"
        assert api.data("status/tsdb")["headStats"]["numSeries"] >= 3


def test_a_large_answer_is_refused_with_what_to_ask_instead(large_store, clock, client):
    """More points than are told at once: 422 and a mend; what is read for a small answer may be more than that."""
    end = clock() // 10**9 - 1
    with Sidecar(large_store, listen("127.0.0.1", 0)) as sidecar:
        api = client(sidecar.url)
        span = {"start": end - 599, "end": end, "step": 1}
        status, told = api.post("query_range", query="g", **span)
        assert (status, told["errorType"]) == (422, "execution"), told
        assert "ask for fewer series, a shorter range or a longer step" in told["error"]
        (found,) = api.post("query_range", query="sum(g)", **span)[1]["data"]["result"]
        assert [float(value) for _, value in found["values"]] == [400.0 * n for n in range(600)]
        whole = api.post("query_range", query='g{i=~"1.."}', **span)[1]["data"]["result"]
        assert {len(each["values"]) for each in whole} == {600}
        assert len(whole) == 100


def test_the_label_of_a_store_is_what_dashboards_want(tmp_path, clock, client, serving):
    """`--store-label instance`: of each store below a directory and of one alone, as an agent's label names it; a name
    that is none is one line."""
    for name in ("a", "b"):
        with Store(tmp_path / "vms" / f"{name}.rondo", clock=clock) as store:
            store.gauge("level").set(1.0)
    at = clock() // 10**9
    for path, wanted in ((tmp_path / "vms", ["a", "b"]), (tmp_path / "vms" / "a.rondo", ["a"])):
        with serving(path, "--store-label", "instance") as url:
            api = client(url)
            assert api.data("label/instance/values") == wanted
            found = api.data("query", query="sum by (instance) (level)", time=at)["result"]
            assert [each["metric"]["instance"] for each in found] == wanted
            if len(wanted) > 1:
                lives = api.data("rondo/lives")["lives"]
                assert [(each["store"], each["matchers"]) for each in lives] == [
                    (f"{name}.rondo", {"instance": name}) for name in wanted
                ]
    for wrong in ("1x", "a-b", "__name__", "a b"):
        assert run(["serve", str(tmp_path / "vms"), "--store-label", wrong, "--port", "0"]) == 2
