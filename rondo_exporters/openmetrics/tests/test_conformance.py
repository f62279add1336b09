"""The exporter passes the suite that rondo gives to all, read back as a scraper reads it."""

import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rondo_exporter_openmetrics import plugin

from rondo_core.model.labels import canonical_labels, format_series
from rondo_core.testing import ExporterTests

ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Scraper:
    """What a scraper knows: where each series stood when it last looked."""

    def __init__(self):
        self.config, self.kept = {"port": 0, "timestamps": True}, {}

    def scrape(self, port):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=ACCEPT)
        with urllib.request.urlopen(request, timeout=10) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        for family in families:
            for sample in family.samples if family.type != "summary" else ():
                series = format_series(sample.name, canonical_labels(sample.labels))
                self.kept[series] = round(float(sample.timestamp) * 1000), sample.value

    def samples(self):
        return [(series, ms, value) for series, (ms, value) in self.kept.items()]

    def answer(self, how):
        raise AssertionError(f"a scraper cannot answer {how}")


class TestConformance(ExporterTests):
    """The page of the newest samples, with the times of their buckets."""

    plugin = plugin
    name = "openmetrics"
    faults = ()
    keeps_all = False

    @pytest.fixture
    def receiver(self):
        return Scraper()

    def before_close(self, receiver, exporter):
        receiver.scrape(exporter.port)
