"""A request for each batch, and what the receiver's answer means for the samples in it."""

from __future__ import annotations

import gzip
import logging
import time
from importlib.metadata import version

import requests
import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from rondo_core import Batch
from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import (
    BatchTooLargeError,
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UsageError,
)
from rondo_core.export.http import lost_reason, presentable, read_token, retry_after_s
from rondo_exporter_otlp.encode import Encoder
from rondo_exporter_otlp.plugin import Settings

logger = logging.getLogger("rondo.export.otlp")

PROTOBUF = "application/x-protobuf"
# Source: OTLP specification 1.x, "OTLP/HTTP Response": these, and no other status, ask for the same request again.
RETRYABLE = frozenset({429, 502, 503, 504})
# The data was refused, or broke the receiver; smaller requests tell which of it.
REFUSED = frozenset({400, 422, 500})
TOO_LARGE = 413
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
        self._encoder = Encoder(settings.resource, settings.histograms, clock)
        self._session: requests.Session | None = _Session()
        # Options are arguments: no proxies, certificates or netrc passwords out of the environment.
        self._session.trust_env = False
        self._session.verify, self._session.cert = settings.verify, settings.certificate
        self._session.headers.clear()
        own = {
            "Content-Type": PROTOBUF,
            "User-Agent": f"rondo-exporter-otlp/{version('rondo-exporter-otlp')}",
            "Accept-Encoding": "gzip",
        }
        if settings.gzip:
            own["Content-Encoding"] = "gzip"
        self._session.headers.update({**settings.headers, **own})
        try:
            self._token()
        except RetryableExportError as error:
            raise UsageError(str(error)) from None

    def __repr__(self) -> str:
        """Name the receiver, and nothing that is secret."""
        return f"OtlpHttp({self._settings.shown_url!r})"

    def send(self, batch: Batch) -> int:
        """Deliver the batch in one request.

        Returns: how many data points the receiver rejected while it took the rest; one is one sample.
        Raises: RetryableExportError: no connection, no answer in time, 429, 502, 503 or 504; PermanentExportError:
        400, 422 or 500; BatchTooLargeError: over 64 MiB, or 413; ExportError: any other status but 2xx, or the
        exporter was closed.
        """
        session = self._session  # `close` may be called meanwhile
        if session is None:
            raise ExportError(f"{self._settings.shown_url}: this exporter was closed; open another")
        request = self._encoder.encode(batch)
        if not request.body:
            return 0
        if len(request.body) > MAX_REQUEST_BYTES:
            raise BatchTooLargeError(
                f"{self._settings.shown_url}: a request of {len(request.body)} bytes; 64 MiB at most"
            )
        status, headers, body, complete = self._post(session, request.body)
        if not 200 <= status < 300:
            raise self._error(status, headers, body)
        self._encoder.acknowledge(request)
        return self._rejected(body, complete=complete)

    def close(self) -> None:
        """Let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _post(self, session: requests.Session, body: bytes) -> tuple[int, dict[str, str], bytes, bool]:
        """Give the answer's status, headers and body, and whether the body is all of it."""
        token = self._token()
        try:
            with session.post(
                self._settings.url,
                data=gzip.compress(body, 1, mtime=0) if self._settings.gzip else body,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                timeout=self._settings.timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                said, complete = self._read(response)
                return response.status_code, dict(response.headers), said, complete
        except (requests.ConnectionError, requests.Timeout) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ExportError(
                    f"{self._settings.shown_url}: its certificate is not trusted; check ca_file"
                ) from None
            raise RetryableExportError(f"{self._settings.shown_url}: {self._reason(error)}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            what = f"{self._settings.shown_url}: no request can be made of it ({type(error).__name__}); check endpoint"
            raise ExportError(what) from None

    def _read(self, response: requests.Response) -> tuple[bytes, bool]:
        """Read what was answered, up to 4 MiB and within the timeout, and say whether that is all of it."""
        until, size, parts = time.monotonic() + self._settings.timeout_s, 0, list[bytes]()
        try:
            while part := response.raw.read1(1 << 16, decode_content=True):
                size += len(part)
                if size > MAX_RESPONSE_BYTES or time.monotonic() > until:
                    return b"".join(parts), False
                parts.append(part)
        except (urllib3.exceptions.HTTPError, OSError):
            return b"".join(parts), False
        return b"".join(parts), True

    def _rejected(self, body: bytes, *, complete: bool) -> int:
        """Read a partial success: the count of data points that were rejected, which are not to be sent again."""
        try:
            partial = ExportMetricsServiceResponse.FromString(body).partial_success if complete else None
        except DecodeError:
            partial = None
        if partial is None:
            logger.warning("%s: took a request, but its answer cannot be read", self._settings.shown_url)
            return 0
        said = self._presentable(partial.error_message)
        if partial.rejected_data_points > 0:
            logger.warning(
                "%s: rejected %d data points: %s", self._settings.shown_url, partial.rejected_data_points, said
            )
        elif said:
            logger.warning("%s: %s", self._settings.shown_url, said)
        return max(0, int(partial.rejected_data_points))

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> ExportError:
        """Turn a status into an error."""
        known = {name.lower(): value for name, value in headers.items()}
        text = body[:4096].decode("utf-8", "replace")
        if known.get("content-type", "").startswith(PROTOBUF):
            try:
                # google.rpc.Status has its message in field 2 too, after a number in field 1.
                text = ExportMetricsPartialSuccess.FromString(body).error_message
            except DecodeError:
                text = ""
        message = f"{self._settings.shown_url}: answered {status}: {self._presentable(text) or 'no reason given'}"
        if status in RETRYABLE:
            return RetryableExportError(message, retry_after_s(known.get("retry-after", ""), self._clock()))
        if status == TOO_LARGE:
            return BatchTooLargeError(message)
        return PermanentExportError(message) if status in REFUSED else ExportError(message)

    def _token(self) -> str:
        """Give the bearer token; its file is read anew each time, as tokens are rotated.

        Raises: RetryableExportError: the file cannot be read now, or holds no token.
        """
        path = self._settings.bearer_token_file
        return read_token(path) if path else self._settings.bearer_token

    def _presentable(self, text: str) -> str:
        try:
            secrets = {self._settings.bearer_token, self._token()}
        except RetryableExportError:
            secrets = {self._settings.bearer_token}
        return presentable(text, secrets, self._settings.headers, self._settings.url)

    def _reason(self, error: Exception) -> str:
        """Say why there was no answer, in words that hold no URL."""
        if isinstance(error, requests.Timeout):
            return f"no answer within {self._settings.timeout_s:g} s"
        return lost_reason(error)


class _Session(requests.Session):
    """Sees no redirect: requests would read the whole body of one, even if it is not to be followed."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base's signature
        """Give nowhere to go."""
        return
