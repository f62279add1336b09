"""Parameters of Prometheus's API: what its clients write is read as Prometheus reads it, all else is one line."""

import pytest

from rondo_core.errors import UsageError
from rondo_web.prometheus.parameters import FIRST_MS, LAST_MS, Parameters


def of(**given):
    from urllib.parse import urlencode

    return Parameters(urlencode(given).encode())


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("4", 4000),
        ("1700000000.123", 1_700_000_000_123),
        ("1.7e9", 1_700_000_000_000),
        ("-1.5", -1500),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T22:13:20.500Z", 1_700_000_000_500),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
        ("9" * 40, LAST_MS),
        ("-" + "9" * 40, FIRST_MS),
        ("0000000000000000000000000001", 1000),
    ],
)
def test_an_instant_is_seconds_or_rfc_3339(text, ms):
    """Floats, signs, exponents, any offset; what is beyond all stores is the first or the last instant."""
    assert of(time=text).instant_ms("time") == ms


@pytest.mark.parametrize(
    "text",
    ["", "nan", "inf", "1e999", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "1_0", "٣", "0x10", "9" * 5000, "1 "],
)
def test_what_is_no_instant_is_one_line(text):
    """It names the parameter, and nothing of what was sent comes back at length."""
    with pytest.raises(UsageError) as caught:
        of(time=text).instant_ms("time")
    assert str(caught.value).startswith('invalid parameter "time": cannot parse')
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "ms"),
    [("15", 15_000), ("0.5", 500), ("1h30m", 5_400_000), ("250ms", 250), ("1y2w3d", 31_536_000_000 + 17 * 86_400_000)],
)
def test_a_duration_is_seconds_or_words(text, ms):
    """As Grafana and promtool write a step."""
    assert of(step=text).duration_ms("step") == ms


@pytest.mark.parametrize("text", ["", "m", "5x", "1m1h", "-5m", "1.5h", "nan", "9" * 100 + "s"])
def test_what_is_no_duration_is_one_line(text):
    """Units come largest first, as in PromQL."""
    with pytest.raises(UsageError, match='invalid parameter "step": cannot parse'):
        of(step=text).duration_ms("step")


@pytest.mark.parametrize(
    ("start", "end", "step", "said"),
    [
        ("10", "9", "1", "end timestamp must not be before start time"),
        ("0", "9", "0", "zero or negative query resolution step widths are not accepted"),
        ("0", "9", "-1", "zero or negative"),
        ("0", "11001", "1", "exceeded maximum resolution of 11,000 points per timeseries"),
        ("0", "1e9", "0.001", "exceeded maximum resolution of 11,000 points per timeseries"),
        ("-1e300", "1e300", "1", "exceeded maximum resolution"),
    ],
)
def test_a_range_has_a_bounded_number_of_steps(start, end, step, said):
    """In Prometheus's words, which clients show."""
    with pytest.raises(UsageError) as caught:
        of(start=start, end=end, step=step).steps_ms()
    assert said in str(caught.value)
    assert of(start="0", end="11000", step="1").steps_ms() == (0, 11_000_000, 1000)
    beyond = of(start="-1e300", end="1e300", step="1e290").steps_ms()  # which no int64 counts
    assert all(abs(each) < 1 << 53 for each in beyond)


def test_a_form_comes_before_the_url_and_a_name_may_be_given_again():
    """What was posted counts; every match[] is read; too many fields are refused."""
    asked = Parameters(b"query=url&match[]=c", b"query=form&match%5B%5D=a&match[]=b%2Bb+b")
    assert asked.text("query") == "form"
    assert asked.every("match[]") == ["a", "b+b b", "c"]
    with pytest.raises(UsageError, match="more than 1000 parameters"):
        Parameters(b"", b"a=b&" * 1001)
    for wrong in ("-1", "x", "9" * 30, "1.5", "٣"):
        with pytest.raises(UsageError, match='invalid parameter "limit"'):
            of(limit=wrong).limit()
