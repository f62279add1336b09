"""A request for each message, with what proves who sends it, and the answer as plain facts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.metadata import version

import attrs
import snappy
import urllib3

from rondo_core.clock import Clock
from rondo_core.errors import BatchTooLargeError, ExportError, RetryableExportError, UsageError
from rondo_core.export.http import lost_reason, presentable, read_token, retry_after_s
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
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"
# Cut only after credentials were blotted out, so that no half of one stays.
_BODY_READ_BYTES = 4096


@attrs.frozen
class Answer:
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


class Connection:
    """Takes messages to one receiver, over one connection that stays open."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Make the session; the connection is made by the first message.

        Raises: UsageError: the bearer token's file cannot be read, or holds no token.
        """
        self._settings, self._clock = settings, clock
        agent = f"rondo-exporter-prometheus/{version('rondo-exporter-prometheus')}"
        self._headers = {**settings.headers, "User-Agent": agent}
        # Options are arguments: this reads no proxies and no netrc out of the environment, and follows no redirect.
        self._pool: urllib3.PoolManager | None = urllib3.PoolManager(
            num_pools=1,
            retries=False,
            timeout=settings.timeout_s,
            cert_reqs="CERT_NONE" if settings.insecure else "CERT_REQUIRED",
            ca_certs=settings.ca_file or None,
            cert_file=settings.client_certificate or None,
            key_file=settings.client_key or None,
        )
        if settings.insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # it was chosen, and is documented
        try:
            self._authorization()
        except RetryableExportError as error:
            raise UsageError(str(error)) from None

    def post(self, message: bytes, protocol: str) -> Answer:
        """Send one message of that version of the protocol.

        Raises: BatchTooLargeError: it is larger than `max_bytes`; RetryableExportError: no connection, or no answer in
        time; ExportError: no request can be made at all, or the connection was closed.
        """
        settings, pool = self._settings, self._pool  # `close` may be called while an answer is waited for
        if pool is None:
            raise ExportError(f"{settings.shown_url}: this exporter was closed; open another")
        if len(message) > settings.max_bytes:
            raise BatchTooLargeError(f"max_bytes: a message of {len(message)} bytes; {settings.max_bytes} are allowed")
        authorization = self._authorization()
        try:
            response = pool.request(
                "POST",
                settings.url,
                body=snappy.compress(message),
                headers={**self._headers, **PROTOCOL_HEADERS[protocol], **authorization},
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.LocationValueError, ValueError) as error:
            what = f"{settings.shown_url}: no request can be made of it ({type(error).__name__}); check url"
            raise ExportError(what) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RetryableExportError(f"{settings.shown_url}: {self._reason(error)}") from None
        try:
            body = _body(response)
            said = ""
            if response.status >= 300 or response.status < 200:
                said = self._presentable(body or response.reason or "no reason given", authorization)
            return Answer(
                response.status,
                f"{settings.shown_url}: answered {response.status}{said and ': '}{said}",
                _written(response.headers),
                retry_after_s(response.headers.get("Retry-After", ""), self._clock()),
            )
        finally:
            response.close()

    def close(self) -> None:
        """Let go of the connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.clear()

    def _authorization(self) -> dict[str, str]:
        """Give the header, if there is one; a token's file is read anew each time, as tokens are rotated.

        Raises: RetryableExportError: the file cannot be read now, or holds no token.
        """
        settings = self._settings
        token = settings.bearer_token
        if settings.bearer_token_file:
            token = read_token(settings.bearer_token_file)
        if token:
            return {"Authorization": f"Bearer {token}"}
        if settings.username:
            pair = f"{settings.username}:{settings.password}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
        return {}

    def _presentable(self, text: str, authorization: dict[str, str]) -> str:
        settings = self._settings
        token = authorization.get("Authorization", "").partition(" ")[2]
        secrets = (settings.username, settings.password, token)
        return presentable(text, secrets, settings.headers, settings.url)

    def _reason(self, error: Exception) -> str:
        """Say why there was no answer, in words that hold no URL."""
        # urllib3 derives a connection that is refused from one that takes too long.
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
            return f"no answer within {self._settings.timeout_s:g} s"
        return lost_reason(error)


def _body(response: urllib3.BaseHTTPResponse) -> str:
    """Read the beginning of what was answered; nothing where that fails, since the status says enough."""
    try:
        return bytes(response.read(_BODY_READ_BYTES, decode_content=True) or b"").decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""


def _written(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Read how much was written; one header that is missing beside the other says none."""
    found = [headers.get(_WRITTEN.format(each), "").strip() for each in ("Samples", "Histograms")]
    if not any(found):
        return None
    samples, histograms = (int(each) if each.isascii() and each.isdigit() else 0 for each in found)
    return samples, histograms
