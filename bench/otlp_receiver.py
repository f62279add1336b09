"""A receiver of OTLP over HTTP, on the port that is its argument; it keeps the points that it reads by its classes."""

from __future__ import annotations

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

POINTS: dict[tuple[tuple[str, str], ...], tuple[list[int], list[float]]] = {}
NO_RECORDED_VALUE = 1  # Source: metrics.proto, DataPointFlags


def keep(body: bytes) -> None:
    """Keep the points of sums and gauges."""
    request = ExportMetricsServiceRequest.FromString(body)
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    if point.flags & NO_RECORDED_VALUE:
                        continue
                    labels = {each.key: each.value.string_value for each in point.attributes}
                    key = tuple(sorted({"__name__": metric.name, **labels}.items()))
                    stamps, values = POINTS.setdefault(key, ([], []))
                    stamps.append(point.time_unix_nano // 1_000_000)
                    values.append(getattr(point, point.WhichOneof("value")))


class Handler(BaseHTTPRequestHandler):
    """Takes a request; /points gives all that came."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Keep a request's points, and say that all were taken."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        keep(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.answer(b"")

    def do_GET(self) -> None:
        """Give all points."""
        found = [[key, *points] for key, points in POINTS.items()] if self.path.startswith("/points") else []
        self.answer(json.dumps(found).encode())

    def answer(self, body: bytes) -> None:
        """Answer 200."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
