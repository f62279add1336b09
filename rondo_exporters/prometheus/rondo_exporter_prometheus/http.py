"""A request for each message, with what proves who sends it, and the answer as plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import attrs
import snappy

from rondo_core.clock import Clock
from rondo_core.errors import BatchTooLargeError
from rondo_core.export import Connection
from rondo_core.export.http import redirected, retry_after_s
from rondo_exporter_prometheus.plugin import Settings

# Source: remote-write 1.0 and 2.0, "Protocol".
PROTOCOL_HEADERS = {
    "1.0": {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    },
    "2.0": {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    },
}
_WRITTEN = "x-prometheus-remote-write-{}-written"
# Cut only after credentials were blotted out, so that no half of one stays.
_BODY_READ_BYTES = 4096


@attrs.frozen
class RemoteWriteResponse:
    """What a receiver said to one request.

    Attributes:
        status: HTTP's.
        said: who answered what, on one line, without credentials.
        written: how many samples and histograms it says it has written; None where it says nothing of them, as no
            receiver of 1.0 does.
        retry_after_s: when it wants to be asked again, if it said so.
    """

    status: int
    said: str
    written: tuple[int, int] | None
    retry_after_s: float | None


class Poster:
    """Takes messages to one receiver."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Make the session; the connection is made by the first message.

        Raises: UsageError: the bearer token's file cannot be read, or holds no token.
        """
        self._settings, self._clock = settings, clock
        agent = f"rondo-exporter-prometheus/{version('rondo-exporter-prometheus')}"
        self._headers = {**settings.headers, "User-Agent": agent}
        self._connection = Connection(settings.endpoint)
        settings.check_authorization()

    def post(self, message: bytes, protocol: str) -> RemoteWriteResponse:
        """Send one message of that version of the protocol.

        Raises: BatchTooLargeError: it is larger than `max_bytes`; ReceiverAwayError, AnswerLostError, ExportError: as
        Connection.
        """
        settings = self._settings
        if len(message) > settings.max_bytes:
            raise BatchTooLargeError(f"max_bytes: a message of {len(message)} bytes; {settings.max_bytes} are allowed")
        authorization = settings.authorization()
        headers = {**self._headers, **PROTOCOL_HEADERS[protocol], **authorization}
        answer = self._connection.post(snappy.compress(message), headers, _BODY_READ_BYTES)
        said, shown_url = "", settings.endpoint.shown_url
        if answer.status >= 300 or answer.status < 200:
            body = answer.body.decode("utf-8", "replace")
            said = settings.presentable(body or answer.reason or "no reason given", authorization)
        if 300 <= answer.status < 400:
            said += redirected(answer.headers.get("location", ""), shown_url)
        return RemoteWriteResponse(
            answer.status,
            f"{shown_url}: answered {answer.status}{said and ': '}{said}",
            _written(answer.headers),
            retry_after_s(answer.headers.get("retry-after", ""), self._clock()),
        )

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


def _written(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Read how much was written; one header that is missing beside the other says none."""
    found = [headers.get(_WRITTEN.format(each), "").strip() for each in ("samples", "histograms")]
    if not any(found):
        return None
    samples, histograms = (int(each) if each.isascii() and each.isdigit() else 0 for each in found)
    return samples, histograms
