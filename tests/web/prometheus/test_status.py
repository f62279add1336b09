"""What clients ask before they ask for data, and how requests that are none are answered."""

import gzip
import json


def test_grafana_takes_it_for_a_prometheus(api):
    """A version of at least 2.24 and no features, as its data source tells one; the rest is success and empty."""
    told = api.data("status/buildinfo")
    assert tuple(map(int, told["version"].split("."))) >= (2, 24, 0)
    assert "features" not in told
    assert api.data("rules") == {"groups": []}
    assert api.data("alerts") == {"alerts": []}
    assert api.data("rules", type="alert", group_limit="40", exclude_alerts="true") == {"groups": []}
    assert api.data("scrape_pools") == {"scrapePools": []}
    assert api.data("targets/metadata") == api.data("notifications") == []
    assert api.data("alertmanagers") == {"activeAlertmanagers": [], "droppedAlertmanagers": []}
    assert api.data("status/walreplay") == {"min": 0, "max": 0, "current": 0}
    assert api.get("features")[0] == 404  # as of a Prometheus of the version that is told
    for ask in (api.get, api.post):
        status, told = ask("query_exemplars", query="level", start="1700000000000", end="1700000100000")
        assert (status, told) == (200, {"status": "success", "data": []})
    assert "scrape_interval" in api.data("status/config")["yaml"]
    assert api.data("status/flags")["query.lookback-delta"] == "5m"


def test_tsdb_counts_what_there_is(api):
    """Series by name, values by label, pairs; no more of each than are wanted."""
    told = api.data("status/tsdb")
    names = {each["name"]: each["value"] for each in told["seriesCountByMetricName"]}
    assert names["jobs_total"] == 2
    assert {"name": "queue", "value": 2} in told["labelValueCountByLabelName"]
    assert {"name": "queue=web", "value": 1} in told["seriesCountByLabelValuePair"]
    assert told["headStats"]["numSeries"] == len(api.data("series", **{"match[]": '{__name__!=""}'}))
    assert 1_699_990_000_000 <= told["headStats"]["minTime"] <= 1_700_000_000_000
    assert told["headStats"]["maxTime"] == 1_700_000_119_000
    assert all(len(each) <= 1 for each in api.data("status/tsdb", limit="1").values() if isinstance(each, list))


def test_an_expression_is_formatted_and_told_as_a_tree(api):
    """By GET and by POST."""
    assert api.data("format_query", query="sum  by(a)( b )") == "sum by (a) (b)"
    assert api.post("parse_query", query="1")[1]["data"] == {"type": "numberLiteral", "val": "1"}
    status, told = api.get("format_query", query="sum(")
    assert (status, told["errorType"]) == (400, "bad_data")


def test_there_is_no_other_page_and_no_other_method(api):
    """An error has Prometheus's form below /api/v1/, and today's elsewhere."""
    status, told = api.get("nope")
    assert (status, told["status"], told["errorType"]) == (404, "error", "not_found")
    assert "/metrics/query" in told["error"]
    found = api.request("DELETE", "/api/v1/query")
    assert (found.status, json.loads(found.body)["error"]) == (405, "only GET and POST are answered here")
    assert api.request("GET", "/api/v1/read").status == 405
    assert json.loads(api.request("GET", "/nope").body).keys() == {"error"}


def test_a_body_is_read_where_one_belongs(api):
    """Packed or not; of another kind it is no form; elsewhere it is refused unread, as ever."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    packed = api.request(
        "POST", "/api/v1/format_query", gzip.compress(b"query=a%2Bb"), **form, **{"Content-Encoding": "gzip"}
    )
    assert (packed.status, json.loads(packed.body)["data"]) == (200, "a + b")
    for body, headers, status, said in (
        (b"x" * 200_000, form, 413, "a body of more than 131072 bytes"),
        (gzip.compress(b"query=" + b"a" * 200_000), {**form, "Content-Encoding": "gzip"}, 413, "unpacked"),
        (b"query=a", {**form, "Content-Encoding": "gzip"}, 400, "the body is not gzip"),
        (gzip.compress(b"query=abc")[:-9], {**form, "Content-Encoding": "gzip"}, 400, "not all of it"),
        (b"query=a", {**form, "Content-Encoding": "br"}, 400, "Content-Encoding 'br'"),
        (b'{"query":"a"}', {"Content-Type": "application/json"}, 400, "no expression found in input"),
        (b"a=b&" * 2000, form, 400, "more than 1000 parameters"),
    ):
        found = api.request("POST", "/api/v1/format_query", body, **headers)
        told = json.loads(found.body)
        assert (found.status, told["status"]) == (status, "error"), said
        assert said in told["error"]
    assert api.request("POST", "/metrics/query", b"a").status == 413
    assert api.request("GET", "/api/v1/labels", b"a").status == 413


def test_a_long_answer_is_packed_for_who_unpacks_it(api):
    """gzip where it is accepted, not where it is refused."""
    for accepted, packs in (("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("identity", False)):
        path = "/api/v1/format_query?query=" + "%2B".join("abcdefghij" for _ in range(190))
        found = api.request("GET", path, **{"Accept-Encoding": accepted})
        assert (found.headers.get("Content-Encoding") == "gzip") == packs
        assert json.loads(gzip.decompress(found.body) if packs else found.body)["status"] == "success"
