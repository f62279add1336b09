"""A real Prometheus scrapes the exporter `openmetrics` of a store that lives."""

import time

import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.export.runner import open_runner

pytestmark = pytest.mark.prometheus

SCRAPE = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: rondo
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def until(ask, wanted, within_s=60):
    """Ask again until the answer is as wanted, for a scrape may fail on a busy machine; give the last one."""
    end = time.monotonic() + within_s
    while (answer := ask()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    return answer


def test_prometheus_scrapes_what_the_store_records(path, prometheus):
    """Every kind is there with its value; the target is healthy; after the run's end the series are gone."""
    schemas = [Schema(f"{kind}s", kind, 8, (Tier("100ms", "60s"),)) for kind in ("counter", "gauge", "summary")]
    with Store(path, schemas) as store:
        runner = open_runner(store.view, "openmetrics", {"port": 0}, interval_s=0.1)
        store.counter("jobs_total", queue='a "b"').inc(3)
        store.gauge("level_bytes", unit="bytes").set(-1.5)
        store.summary("wait_seconds").observe(0.25)
        runner.start()
        prometheus.configure(SCRAPE.format(port=runner._exporter.port))
        expected = {
            'jobs_total{queue="a \\"b\\""}': 3.0,
            "level_bytes": -1.5,
            "wait_seconds_count": 1.0,
            "wait_seconds_sum": 0.25,
            'wait_seconds{quantile="1.0"}': 0.25,
            'up{job="rondo"}': 1.0,
        }
        for selector, value in expected.items():
            found = until(lambda selector=selector: [*prometheus.instant(selector, time.time()).values()], [value])
            assert found == [value], selector
    runner.close(store.run.number)
    assert until(lambda: prometheus.instant("level_bytes", time.time()), {}) == {}
