"""Labels, values, series and metadata: what completes a query, and what Grafana's variables are made from."""

import json

from rondo_web.prometheus.series import unescaped

BAD = (
    ("series", {}, "no match[] parameter provided"),
    ("series", {"match[]": "{}"}, "must contain at least one non-empty matcher"),
    ("series", {"match[]": '{a=~".*"}'}, "must contain at least one non-empty matcher"),
    ("series", {"match[]": "rate(a[5m])"}, "is no selector of series"),
    ("series", {"match[]": "a offset 5m"}, "is no selector of series"),
    ("series", {"match[]": '{a="1" or b="2"}'}, '"or" between matchers'),
    ("series", {"match[]": '{a=~"(?=x)"}'}, "error parsing regexp"),
    ("series", {"match[]": "a", "start": "soon"}, 'invalid parameter "start": cannot parse "soon"'),
    ("labels", {"limit": "-1"}, 'invalid parameter "limit"'),
    ("labels", {"match[]": "("}, 'invalid parameter "match[]": parse error: unclosed left parenthesis'),
)


def test_names_and_values_are_told_sorted(api):
    """Of all series, and of those that a selector takes; the metrics are the values of __name__."""
    assert api.data("labels") == ["__name__", "queue", "reason"]  # the last is of rondo's own
    assert api.data("labels", **{"match[]": "level"}) == ["__name__"]
    assert api.data("label/queue/values") == ["mail", "web"]
    assert api.data("label/queue/values", **{"match[]": 'jobs_total{queue!="web"}'}) == ["mail"]
    assert api.data("label/nope/values") == []
    assert api.data("label/queue/values", start=1_700_000_060, end=1_700_000_061) == ["mail", "web"]
    assert api.data("label/queue/values", start=1_700_000_200) == api.data("labels", end=1_699_999_000) == []
    names = api.data("label/__name__/values")
    assert names == sorted(names)
    assert {"jobs_total", "level", "took_seconds_count", "took_seconds_sum"} <= {*names}


def test_series_are_told_once_each_by_get_and_by_post(api):
    """Those that any of the selectors takes; a limit, and that there was more."""
    selectors = ["jobs_total", '{__name__=~"jobs.*|level"}']
    found = api.data("series", **{"match[]": selectors, "start": "0", "end": "2e9"})
    assert sorted(map(json.dumps, found)) == sorted(
        json.dumps(each)
        for each in (
            {"queue": "mail", "__name__": "jobs_total"},
            {"queue": "web", "__name__": "jobs_total"},
            {"__name__": "level"},
        )
    )
    assert api.post("series", **{"match[]": selectors})[1]["data"] == found
    status, told = api.post("series", **{"match[]": selectors, "limit": "2"})
    assert (status, told["data"], told["warnings"]) == (200, found[:2], ["results truncated due to limit"])
    assert "warnings" not in api.post("series", **{"match[]": selectors, "limit": "0"})[1]


def test_a_name_may_be_escaped():
    """As a client that knows only words of letters asks for any name."""
    assert unescaped("queue") == "queue"
    assert unescaped("U__service_2e_name") == "service.name"
    assert unescaped("U__a__b") == "a_b"
    assert unescaped("U___1F600_x") == "\U0001f600x"
    assert unescaped("U___FFFFFF_") == "\U0010ffff"
    assert unescaped("U__") == ""


def test_an_escaped_name_is_answered(api):
    """In the path, where Grafana puts it."""
    assert api.data("label/U______name____/values") == api.data("label/__name__/values")


def test_metadata_feeds_a_query_builder(api):
    """Type, help and unit by name; of one metric; no more than are wanted."""
    found = api.data("metadata")
    assert found["jobs_total"] == [{"type": "counter", "help": "Jobs done.", "unit": ""}]
    assert found["level"] == [{"type": "gauge", "help": "How full.", "unit": "ratio"}]
    assert api.data("metadata", metric="level") == {"level": found["level"]}
    assert api.data("metadata", metric="nope") == {}
    assert len(api.data("metadata", limit="1")) == 1


def test_bad_input_is_answered_as_prometheus_does(api):
    """400, bad_data, and what is wrong in one line."""
    for path, asked, said in BAD:
        status, told = api.get(path, **asked)
        assert (status, told["status"], told["errorType"]) == (400, "error", "bad_data"), asked
        assert said in told["error"], told
        assert "\n" not in told["error"]
