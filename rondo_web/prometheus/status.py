"""/api/v1/status and what else clients ask before they ask for data: what this is, and what it does not have."""

from __future__ import annotations

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rondo_web.http.responses import PageResponse
from rondo_web.prometheus.endpoint import ApiRequest, fixed, success_of
from rondo_web.prometheus.selection import NAME, ServedSource

# The version of Prometheus whose API and language this is; clients choose by it what they ask. Grafana tells a
# Prometheus by a version of at least 2.24 and no `features`.
PROMETHEUS_VERSION = "3.0.0"
MAX_TOP, USUAL_TOP = 1000, 10


def _own_version() -> str:
    try:
        return version("rondo-tsdb")
    except PackageNotFoundError:  # run from a tree that is not installed
        return "unknown"


build = fixed(
    {
        "version": PROMETHEUS_VERSION,
        "revision": f"rondo {_own_version()}",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": f"Python {platform.python_version()}",
    }
)
config = fixed(
    {"yaml": "global:\n  scrape_interval: 1s\n"}
)  # the resolution of tiers as they are unless said otherwise
flags = fixed({"query.lookback-delta": "5m"})
rules = fixed({"groups": []})
alerts = fixed({"alerts": []})
exemplars = fixed([])
targets = fixed({"activeTargets": [], "droppedTargets": []})
scrape_pools = fixed({"scrapePools": []})
target_metadata = fixed([])
alertmanagers = fixed({"activeAlertmanagers": [], "droppedAlertmanagers": []})
notifications = fixed([])
wal_replay = fixed({"min": 0, "max": 0, "current": 0})  # there is none, and so none that is still to be done


def tsdb(asked: ApiRequest) -> PageResponse:
    """Give how many series there are, and of which names, labels and values the most."""
    top = min(asked.parameters.limit() or USUAL_TOP, MAX_TOP)
    source = ServedSource(asked)
    every = source.series([])
    names, pairs = Counter[str](), Counter[tuple[str, str]]()
    values: dict[str, set[str]] = {}
    for each in every:
        names[each[NAME]] += 1
        pairs.update(each.items())
        for name, value in each.items():
            values.setdefault(name, set()).add(value)
    first_ms, last_ms = source.span_ms()
    head = {"numSeries": len(every), "numLabelPairs": len(pairs), "minTime": first_ms, "maxTime": last_ms}
    return success_of(
        {
            "headStats": head,
            "seriesCountByMetricName": _pairs(names.most_common(top)),
            "labelValueCountByLabelName": _pairs(Counter({k: len(v) for k, v in values.items()}).most_common(top)),
            "memoryInBytesByLabelName": _pairs(
                Counter({k: sum(map(len, v)) for k, v in values.items()}).most_common(top)
            ),
            "seriesCountByLabelValuePair": _pairs([(f"{k}={v}", n) for (k, v), n in pairs.most_common(top)]),
        }
    )


def _pairs(counts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"name": name, "value": count} for name, count in counts]
