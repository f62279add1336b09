"""A request for each batch, and what the receiver's answer means for the samples in it."""

from __future__ import annotations

import gzip
import logging
from importlib.metadata import version

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from rondo_core import Batch
from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import BatchTooLargeError, ExportError
from rondo_core.export import Connection, HttpResponse
from rondo_core.export.http import error_of, redirected, retry_after_s
from rondo_exporter_otlp.encode import Encoder
from rondo_exporter_otlp.plugin import Settings

logger = logging.getLogger("rondo.export.otlp")

PROTOBUF = "application/x-protobuf"
# Source: OTLP specification, "OTLP/HTTP Request" and "Response": what receivers take, what senders read.
MAX_REQUEST_BYTES = 64 << 20
MAX_RESPONSE_BYTES = 4 << 20


class OtlpHttp:
    """Takes batches to one OTLP/HTTP receiver, over one connection that stays open."""

    def __init__(self, settings: Settings, clock: Clock = wall_ns) -> None:
        """Make the session; the connection is made by the first batch.

        Raises: UsageError: the bearer token's file cannot be read, or holds no token.
        """
        self._settings, self._clock = settings, clock
        self._encoder = Encoder(settings.resource, settings.histograms)
        self._connection = Connection(settings.endpoint)
        self._headers = {
            **settings.headers,
            "Content-Type": PROTOBUF,
            "User-Agent": f"rondo-exporter-otlp/{version('rondo-exporter-otlp')}",
        }
        if settings.gzip:
            self._headers["Content-Encoding"] = "gzip"
        settings.check_authorization()

    def __repr__(self) -> str:
        """Name the receiver, and nothing that is secret."""
        return f"OtlpHttp({self._settings.endpoint.shown_url!r})"

    def send(self, batch: Batch) -> int:
        """Deliver the batch in one request.

        Returns: how many data points the receiver rejected while it took the rest; one is one sample.
        Raises: ReceiverAwayError, AnswerLostError: no connection, no answer; RetryableExportError: 408, 425, 429 or
        5xx; PermanentExportError: 400, 409 or 422; BatchTooLargeError: over 64 MiB, or 413; ExportError: any other
        status but 2xx, a certificate that is not trusted, or the exporter was closed.
        """
        request, settings = self._encoder.encode(batch), self._settings
        if len(request.body) > MAX_REQUEST_BYTES:
            raise BatchTooLargeError(
                f"{settings.endpoint.shown_url}: a request of {len(request.body)} bytes; 64 MiB at most"
            )
        if not request.body:
            self._connection.check_open()
            return 0
        authorization = settings.authorization()
        body = gzip.compress(request.body, 1, mtime=0) if settings.gzip else request.body
        answer = self._connection.post(body, self._headers | authorization, MAX_RESPONSE_BYTES)
        if not 200 <= answer.status < 300:
            raise self._error(answer, authorization)
        self._encoder.acknowledge(request)
        self._encoder.forget(batch.ended)
        return self._rejected(answer, authorization)

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def _rejected(self, answer: HttpResponse, authorization: dict[str, str]) -> int:
        """Read a partial success: the count of data points that were rejected, which are not to be sent again."""
        try:
            partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success if answer.complete else None
        except DecodeError:
            partial = None
        if partial is None:
            logger.warning("%s: took a request, but its answer cannot be read", self._settings.endpoint.shown_url)
            return 0
        said = self._settings.presentable(partial.error_message, authorization)
        if partial.rejected_data_points > 0:
            logger.warning(
                "%s: rejected %d data points: %s", self._settings.endpoint.shown_url, partial.rejected_data_points, said
            )
        elif said:
            logger.warning("%s: %s", self._settings.endpoint.shown_url, said)
        return max(0, int(partial.rejected_data_points))

    def _error(self, answer: HttpResponse, authorization: dict[str, str]) -> ExportError:
        """Turn a status that is none of success into an error."""
        text, shown_url = answer.body[:4096].decode("utf-8", "replace"), self._settings.endpoint.shown_url
        if answer.headers.get("content-type", "").startswith(PROTOBUF):
            try:
                # google.rpc.Status has its message in field 2 too, after a number in field 1.
                text = ExportMetricsPartialSuccess.FromString(answer.body).error_message
            except DecodeError:
                text = ""
        reason = self._settings.presentable(text, authorization) or "no reason given"
        said = f"{shown_url}: answered {answer.status}: {reason}"
        if 300 <= answer.status < 400:
            said += redirected(answer.headers.get("location", ""), shown_url)
        wait_s = retry_after_s(answer.headers.get("retry-after", ""), self._clock())
        return error_of(answer.status, said, wait_s) or ExportError(said)
