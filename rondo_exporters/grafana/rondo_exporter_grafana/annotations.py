"""A request for each mark and note, what Grafana's answer means for it, and the question whether it has one already."""

from __future__ import annotations

import contextlib
import json
import logging
from importlib.metadata import version
from typing import TypeVar
from urllib.parse import urlencode

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import AnswerLostError, ExportError, RetryableExportError
from rondo_core.export import Connection, EventRequest, HttpResponse
from rondo_core.export.http import error_of, redirected, retry_after_s
from rondo_exporter_grafana.encode import Annotation, annotation_of
from rondo_exporter_grafana.plugin import Settings

logger = logging.getLogger("rondo.export.grafana")

T = TypeVar("T")
MAX_RESPONSE_BYTES = 4 << 20
# How many annotations of one millisecond are looked at: Grafana gives 100 where nothing is said.
MAX_FOUND = 1000
FORBIDDEN = 403
MENDS = {
    401: "; check token or token_file",
    403: "; the token's service account needs annotations:create",
    404: "; check url and dashboard_uid",
}


class GrafanaAnnotations:
    """Takes marks and notes to one Grafana, over one connection that stays open."""

    def __init__(self, settings: Settings, clock: Clock = wall_ns) -> None:
        """Make the session; the connection is made by the first mark.

        Raises: UsageError: the token's file cannot be read, or holds no token.
        """
        self._settings, self._clock = settings, clock
        self._connection = Connection(settings.endpoint)
        self._headers = {
            **settings.headers,
            "Accept": "application/json",
            "User-Agent": f"rondo-exporter-grafana/{version('rondo-exporter-grafana')}",
        }
        self._may_ask = True
        settings.check_authorization()

    def __repr__(self) -> str:
        """Name Grafana's URL, and nothing that is secret."""
        return f"GrafanaAnnotations({self._settings.endpoint.shown_url!r})"

    def send_event(self, request: EventRequest) -> None:
        """Add the annotation of a mark or a note; one that may be there already is looked for first.

        Raises: ReceiverAwayError: no connection; AnswerLostError: no answer, or 5xx, after which it may be there;
        RetryableExportError: 408, 425 or 429, or no answer to the question whether it is there; PermanentExportError:
        400, 409 or 422; BatchTooLargeError: 413; ExportError: any other status but 2xx, what is no Grafana, a
        certificate that is not trusted, or the exporter was closed.
        """
        annotation, settings = annotation_of(request, self._settings), self._settings
        authorization = settings.authorization()
        if request.resent and self._may_ask and self._is_there(annotation, authorization):
            return
        headers = {**self._headers, **authorization, "Content-Type": "application/json"}
        answer = self._connection.post(annotation.body(settings.dashboard_uid), headers, MAX_RESPONSE_BYTES)
        error = self._error(answer, authorization)
        if error is not None:
            raise error
        if answer.complete:
            self._read(answer, dict)

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def _is_there(self, annotation: Annotation, authorization: dict[str, str]) -> bool:
        """Ask for the annotations of its millisecond, whatever their tags, which Grafana may have failed to keep."""
        at = annotation.time_ms
        asked = {"from": at, "to": at, "type": "annotation", "limit": MAX_FOUND}
        if self._settings.dashboard_uid:
            asked["dashboardUID"] = self._settings.dashboard_uid
        try:
            answer = self._connection.get(urlencode(asked), self._headers | authorization, MAX_RESPONSE_BYTES)
        except AnswerLostError as error:
            raise RetryableExportError(str(error)) from None  # it was asked, and sent nothing
        if answer.status == FORBIDDEN:
            self._may_ask = False
            what = "the token may not read annotations (annotations:read), so what is sent again may be there twice"
            logger.warning("%s: answered 403: %s", self._settings.endpoint.shown_url, what)
            return False
        failed = self._error(answer, authorization)
        if isinstance(failed, RetryableExportError):
            raise RetryableExportError(*failed.args)
        if failed is not None:
            raise ExportError(str(failed.args[0]))
        if not answer.complete:
            raise RetryableExportError(f"{self._settings.endpoint.shown_url}: its answer was cut short")
        return any(map(annotation.is_found_as, self._read(answer, list)))

    def _read(self, answer: HttpResponse, kind: type[T]) -> T:
        """Read the JSON of an answer. Raises: ExportError: it is none, or of another kind."""
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, kind):
            said = f"answered {answer.status}, but not as Grafana does; check url"
            raise ExportError(f"{self._settings.endpoint.shown_url}: {said}")
        return found

    def _error(self, answer: HttpResponse, authorization: dict[str, str]) -> ExportError | None:
        """Turn a status into the error that it is; None: it is one of success."""
        status, shown_url = answer.status, self._settings.endpoint.shown_url
        if 200 <= status < 300:
            return None
        text = answer.body[:4096].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            text = str(json.loads(answer.body)["message"])
        reason = self._settings.presentable(text, authorization) or "no reason given"
        said = f"{shown_url}: answered {status}: {reason}{MENDS.get(status, '')}"
        if 300 <= status < 400:
            said += redirected(answer.headers.get("location", ""), shown_url)
        wait_s = retry_after_s(answer.headers.get("retry-after", ""), self._clock())
        if status >= 500:
            return AnswerLostError(said, wait_s)
        return error_of(status, said, wait_s) or ExportError(said)
