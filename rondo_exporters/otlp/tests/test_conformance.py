"""The exporter passes the suite that rondo gives to all, read back with OpenTelemetry's own classes."""

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from rondo_exporter_otlp import plugin

from rondo_core.model.labels import canonical_labels, format_series
from rondo_core.testing import ExporterTests

STATUS = {"unavailable": 503, "refuse": 400, "lose": 0}
# A point's time is the end of its bucket; those of the suite are a second long.
INTERVAL_NS = 10**9


class Backend:
    """What a backend keeps of the points that a strict receiver took: one for each series and time.

    The receiver itself holds one process to the order of time; a new process may send the last request again.
    """

    def __init__(self, receiver):
        self.config = {"endpoint": receiver.url, "bearer_token": "hidden", "headers": {"X-Key": "hidden-too"}}
        self.kept, self._receiver = {}, receiver
        receiver.accept = self.accept

    def accept(self, key, points):
        name, labels = key
        series = format_series(name, canonical_labels(labels))
        for point in points:
            if isinstance(point, NumberDataPoint) and not point.flags:
                self.kept[series, (point.time_unix_nano - INTERVAL_NS) // 10**6] = point.as_double

    def samples(self):
        return [(series, ms, value) for (series, ms), value in self.kept.items()]

    def answer(self, how):
        self._receiver.answers.append((STATUS[how], {}, b""))


class TestConformance(ExporterTests):
    """OTLP over HTTP."""

    plugin = plugin
    name = "otlp"
    faults = ("unavailable", "refuse", "lose")

    @pytest.fixture
    def receiver(self, receiver):
        return Backend(receiver)
