"""A receiver that decodes with OpenTelemetry's own classes, and objects to whatever the specification forbids."""

import gzip
import math

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from rondo_core.testing import HttpReceiver

S = 10**9
NO_VALUE = 1


def attributes(pairs):
    found = {}
    for pair in pairs:
        assert pair.key, "an attribute without a key"
        assert pair.key not in found, f"{pair.key}: twice among the attributes"
        assert pair.value.WhichOneof("value") == "string_value"
        found[pair.key] = pair.value.string_value
    return found


class Receiver(HttpReceiver):
    """A strict OTLP/HTTP receiver; what it must not be sent is noted in `objections`."""

    def __init__(self):
        self.requests = []  # (path, headers, the decoded request)
        self.refuse = None  # a function of a decoded request, that gives a status, headers and body, or None
        self.taken = {}  # (metric, labels): every point answered with 2xx, in order
        self.metrics = {}  # name: the last Metric of that name, its points left out
        self.resources = []
        super().__init__("/v1/metrics")

    def take(self, path, headers, body):
        request = ExportMetricsServiceRequest()
        points = {}
        try:
            assert headers.get_all("Content-Type") == ["application/x-protobuf"]
            assert headers.get_all("User-Agent") == ["rondo-exporter-otlp/0.1.0"]
            assert headers["Content-Encoding"] in {None, "gzip"}
            raw = gzip.decompress(body) if headers["Content-Encoding"] == "gzip" else body
            request.ParseFromString(raw)
            size = request.ByteSize()
            request.DiscardUnknownFields()
            assert request.ByteSize() == size, "fields that the specification does not know"
            points = self.check(request)
        except (AssertionError, ArithmeticError, DecodeError, LookupError, OSError, ValueError) as error:
            self.objections.append(f"{type(error).__name__}: {error}")
        self.requests.append((path, headers, request))
        answer = self.answers.pop(0) if self.answers else (self.refuse and self.refuse(request)) or (200, {}, b"")
        if 200 <= answer[0] < 300:
            for key, mine in points.items():
                self.accept(key, mine)
        return answer

    def check(self, request):
        found = {}
        for resource in request.resource_metrics:
            self.resources.append(attributes(resource.resource.attributes))
            for scope in resource.scope_metrics:
                assert (scope.scope.name, scope.scope.version) == ("rondo", "0.1.0")
                identities = [(metric.name, metric.WhichOneof("data")) for metric in scope.metrics]
                assert len(set(identities)) == len(identities), f"a metric twice: {identities}"
                for metric in scope.metrics:
                    self.check_metric(metric, found)
        assert found, "a request without a point"
        return found

    def check_metric(self, metric, found):
        kind = metric.WhichOneof("data")
        data = getattr(metric, kind)
        assert data.data_points, f"{metric.name}: no points"
        if kind == "sum":
            assert data.is_monotonic
            assert data.aggregation_temporality == 2
        if kind == "exponential_histogram":
            assert data.aggregation_temporality in {1, 2}
        for point in data.data_points:
            key = metric.name, frozenset(attributes(point.attributes).items())
            mine = found.setdefault(key, [])
            assert not mine or point.time_unix_nano > mine[-1].time_unix_nano, f"{key}: not in time order"
            mine.append(point)
            if kind != "gauge" and not point.flags:
                assert 0 < point.start_time_unix_nano < point.time_unix_nano, f"{key}: no start before the point"
            self.check_point(kind, key, point)
        shell = type(metric)(name=metric.name, description=metric.description, unit=metric.unit)
        if kind == "exponential_histogram":
            shell.exponential_histogram.aggregation_temporality = data.aggregation_temporality
        else:
            getattr(shell, kind).SetInParent()
        self.metrics[metric.name] = shell

    def check_point(self, kind, key, point):
        if point.flags:
            assert point.flags == NO_VALUE
            if kind in {"gauge", "sum"}:
                assert point.WhichOneof("value") is None
            else:
                assert point.count == point.sum == 0
        elif kind in {"gauge", "sum"}:
            assert point.WhichOneof("value") == "as_double"
            assert not math.isnan(point.as_double)
        elif kind == "summary":
            quantiles = [each.quantile for each in point.quantile_values]
            assert quantiles in ([], [0.0, 1.0])
            assert point.count >= bool(quantiles)
        else:
            assert not point.negative.bucket_counts
            assert point.count == point.zero_count + sum(point.positive.bucket_counts)
            assert point.HasField("min") == point.HasField("max") == (point.count > 0)

    def accept(self, key, points):
        """Take points, and hold a cumulative series to what it said before."""
        for point in points:
            before = self.taken.setdefault(key, [])
            if before:
                last = before[-1]
                if point.time_unix_nano <= last.time_unix_nano:
                    self.objections.append(f"{key}: a point again, or too late")
                same = point.start_time_unix_nano == last.start_time_unix_nano
                if same and not point.flags and not last.flags:
                    for total in ("as_double", "count") if point.start_time_unix_nano else ():
                        if getattr(point, total, 0) < getattr(last, total, 0):
                            self.objections.append(f"{key}: {total} fell without a new start")
            before.append(point)


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()
    assert running.objections == []
