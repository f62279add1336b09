"""A request for each batch, and what the receiver's status means for the samples in it."""

from __future__ import annotations

import base64
from datetime import UTC
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path

import requests
import snappy
import urllib3

from rondo_core import Batch
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import ExportError, PermanentExportError, RetryableExportError, UsageError
from rondo_exporter_prometheus.encode import Encoder
from rondo_exporter_prometheus.plugin import Settings

# Source: remote-write 1.0, "Protocol".
PROTOCOL_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
# These samples were refused, each for itself or for their number; no other status says that of the samples.
REFUSED = frozenset({400, 413, 422})
TOO_MANY_REQUESTS = 429
MAX_BODY_CHARACTERS = 200
# Cut only after credentials were blotted out, so that no half of one stays.
_BODY_READ_BYTES = 4096
_KEY_CHARACTERS = 6
# A receiver that asks for more patience than this is asked again all the same.
MAX_RETRY_AFTER_S = 3600.0


class RemoteWrite:
    """Takes batches to one remote-write 1.0 receiver, over one connection that stays open."""

    def __init__(self, settings: Settings, clock: Clock = wall_ns) -> None:
        """Make the session; the connection is made by the first batch.

        Raises: UsageError: the bearer token's file cannot be read, or holds no token.
        """
        self._settings, self._clock = settings, clock
        self._encoder = Encoder(settings.external_labels)
        self._session: requests.Session | None = _Session()
        # Options are arguments: no proxies, certificates or netrc passwords out of the environment.
        self._session.trust_env = False
        self._session.headers.clear()
        agent = f"rondo-exporter-prometheus/{version('rondo-exporter-prometheus')}"
        self._session.headers.update({**settings.headers, **PROTOCOL_HEADERS, "User-Agent": agent})
        try:
            self._authorization()
        except RetryableExportError as error:
            raise UsageError(str(error)) from None

    def __repr__(self) -> str:
        """Name the receiver, and nothing that is secret."""
        return f"RemoteWrite({self._settings.shown_url!r})"

    def send(self, batch: Batch) -> None:
        """Deliver the batch in one request.

        Raises: RetryableExportError: no connection, no answer in time, 429 or 5xx; PermanentExportError: 400, 413
        or 422; ExportError: any other status but 2xx, or the exporter was closed.
        """
        if self._session is None:
            raise ExportError(f"{self._settings.shown_url}: this exporter was closed; open another")
        body = self._encoder.encode(batch)
        if not body:
            return
        authorization = self._authorization()
        try:
            response = self._session.post(
                self._settings.url,
                data=snappy.compress(body),
                headers={"Authorization": authorization} if authorization else None,
                timeout=self._settings.timeout_s,
                allow_redirects=False,
                stream=True,
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise RetryableExportError(f"{self._settings.shown_url}: {self._reason(error)}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            what = f"{self._settings.shown_url}: no request can be made of it ({type(error).__name__}); check url"
            raise ExportError(what) from None
        try:
            self._judge(response, _body(response), authorization)
        finally:
            response.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _judge(self, response: requests.Response, body: str, authorization: str) -> None:
        """Turn a status into an error, or into none."""
        status = response.status_code
        if 200 <= status < 300:
            return
        said = self._presentable(body or response.reason or "no reason given", authorization)
        message = f"{self._settings.shown_url}: answered {status}: {said}"
        if status == TOO_MANY_REQUESTS or status >= 500:
            raise RetryableExportError(message, self._retry_after_s(response.headers.get("Retry-After", "")))
        if status in REFUSED:
            raise PermanentExportError(message)
        raise ExportError(message)

    def _authorization(self) -> str:
        """Give the header's value; a token's file is read anew each time, as tokens are rotated.

        Raises: RetryableExportError: the file cannot be read now, or holds no token.
        """
        settings = self._settings
        token = settings.bearer_token
        if settings.bearer_token_file:
            try:
                token = Path(settings.bearer_token_file).read_text("ascii").strip()
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "not ASCII text"
                raise RetryableExportError(f"bearer_token_file: {settings.bearer_token_file}: {reason}") from None
            if not token.isprintable() or not token:
                raise RetryableExportError(
                    f"bearer_token_file: {settings.bearer_token_file}: not one token on one line"
                )
        if token:
            return f"Bearer {token}"
        if settings.username:
            pair = f"{settings.username}:{settings.password}"
            return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        return ""

    def _presentable(self, text: str, authorization: str) -> str:
        """Put what the receiver said on one line, credentials that it repeated blotted out, and cut it."""
        settings = self._settings
        secrets = {settings.username, settings.password, authorization.partition(" ")[2]}
        # A header may hold a key; what is shorter than one, such as a tenant's number, may stand in any sentence.
        secrets |= {value for value in settings.headers.values() if len(value) >= _KEY_CHARACTERS}
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        printable = "".join(each if each.isprintable() else " " for each in text)
        return " ".join(printable.split())[:MAX_BODY_CHARACTERS]

    def _reason(self, error: Exception) -> str:
        """Say why there was no answer, in words that hold no URL."""
        if isinstance(error, requests.Timeout):
            return f"no answer within {self._settings.timeout_s:g} s"
        cause: BaseException | None = error
        for _ in range(10):
            if cause is None:
                break
            if isinstance(cause, OSError) and cause.strerror:
                return f"no connection: {cause.strerror}"
            known = (getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__)
            cause = next((each for each in known if isinstance(each, BaseException)), None)
        return "the connection was lost"

    def _retry_after_s(self, value: str) -> float | None:
        """Read Retry-After, seconds or an HTTP-date; None where it is neither."""
        value = value.strip()
        if value.isascii() and value.isdigit():
            return min(float(value), MAX_RETRY_AFTER_S)
        try:
            when = parsedate_to_datetime(value)
            seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - self._clock() / NS_PER_S
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


class _Session(requests.Session):
    """Sees no redirect: requests would read the whole body of one, even if it is not to be followed."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base's signature
        """Give nowhere to go."""
        return


def _body(response: requests.Response) -> str:
    """Read the beginning of what was answered; nothing where that fails, since the status says enough."""
    try:
        return bytes(response.raw.read(_BODY_READ_BYTES, decode_content=True) or b"").decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""
