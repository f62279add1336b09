"""The exporter passes the suite that rondo gives to all, in both versions, read back by a decoder of its own."""

import pytest
import snappy
from rondo_exporter_prometheus import plugin

from rondo_core.model.labels import canonical_labels, format_series
from rondo_core.testing import ExporterTests

STATUS = {"unavailable": 503, "refuse": 400, "lose": 0}
COUNTS = "X-Prometheus-Remote-Write-{}-Written"


class Database:
    """What a database keeps of the requests that a strict receiver has read: one value for each series and time.

    The receiver itself holds one process to the order of time; a new process may send the last request again.
    """

    def __init__(self, receiver, strict, protocol):
        url = receiver.url.replace("//", "//hidden-user:hidden-password@") + "?key=hidden-key"
        # The suite compares with what was recorded, in which the zeroes before it are not.
        self.config = {"url": url, "protocol": protocol, "headers": {"X-Key": "hidden-header"}, "zeroes": False}
        self.kept, self.answers, self.protocol = {}, [], protocol
        self._read = strict.read_1 if protocol == "1.0" else strict.read_2
        self._violations = receiver.violations
        self._headers = {**strict.HEADERS[protocol[0]], "Content-Encoding": "snappy"}
        receiver.take = self.take

    def take(self, path, headers, body):
        for name, value in self._headers.items():
            if headers.get_all(name) != [value]:
                self._violations.append(f"{name}: {headers.get_all(name)}")
        status, written = self.answers.pop(0) if self.answers else 204, 0
        if not status:
            return status, {}, b""
        for labels, points, _ in self._read(snappy.decompress(body)) if status == 204 else ():
            named = dict(labels)
            series = format_series(named.pop("__name__"), canonical_labels(named))
            self.kept.update({(series, ms): value for ms, value, _ in points})
            written += len(points)
        if self.protocol == "1.0":
            return status, {}, b""
        return status, {COUNTS.format("Samples"): str(written), COUNTS.format("Histograms"): "0"}, b""

    def samples(self):
        return [(series, ms, value) for (series, ms), value in self.kept.items() if value != "stale"]

    def answer(self, how):
        self.answers.append(STATUS[how])


class TestVersion1(ExporterTests):
    """Remote-write 1.0."""

    plugin = plugin
    name = "prometheus"
    faults = ("unavailable", "refuse", "lose")

    @pytest.fixture
    def receiver(self, strict, strict_receiver):
        return Database(strict_receiver("1"), strict, "1.0")


class TestVersion2(ExporterTests):
    """Remote-write 2.0."""

    plugin = plugin
    name = "prometheus"
    faults = ("unavailable", "refuse", "lose")

    @pytest.fixture
    def receiver(self, strict, strict_receiver):
        return Database(strict_receiver("12"), strict, "2.0")
