"""Errors of a request: the HTTP status of each, and the one short line of JSON that says what is wrong."""

from __future__ import annotations

import json

from rondo_core.errors import QueryLimitError, RondoError, UnknownSeriesError, UsageError, one_line

MAX_SAID = 300  # characters
PROMETHEUS_API = "/api/v1/"
# Source: Prometheus, "HTTP API", errorType.
_KINDS = {404: "not_found", 422: "execution", 503: "unavailable"}
# The first that an error is of.
_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (UnknownSeriesError, 404),
    (QueryLimitError, 422),
    (UsageError, 400),
    (RondoError, 503),
    (OSError, 503),
    (MemoryError, 503),
)
FAILURES = tuple(kind for kind, _ in _STATUSES)


class BusyError(RondoError):
    """The server has as much to do as it takes on at once."""

    def __init__(self, message: str = "the server is busy; ask again in a second") -> None:
        """Say so."""
        super().__init__(message)


class EvaluationError(RondoError):
    """An expression that cannot be answered, and Prometheus's `errorType` of that."""

    def __init__(self, message: str, kind: str = "execution") -> None:
        """Take what the engine says."""
        super().__init__(message, kind)
        self.message, self.kind = message, kind

    def __str__(self) -> str:
        """Say why."""
        return self.message


def status_of(error: BaseException) -> int:
    """Give the HTTP status of an error that is one of FAILURES."""
    if isinstance(error, EvaluationError):
        return {"bad_data": 400, "execution": 422}.get(error.kind, 503)
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def failure_text(error: BaseException) -> str:
    """Give the words for an error that is one of FAILURES."""
    return one_line(error) if isinstance(error, RondoError) else f"the store cannot be read now: {one_line(error)}"


def error_body(said: str, kind: str = "") -> bytes:
    """Write an error as one short line of JSON: what a client sent does not come back at any length.

    Args: `kind`: Prometheus's `errorType`, for whoever asks in its words, see `prometheus_kind`; empty: for others.
    """
    text = " ".join(said.split())
    told = {"status": "error", "errorType": kind} if kind else {}
    return json.dumps(told | {"error": text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."}).encode() + b"\n"


def prometheus_kind(status: int, path: str = PROMETHEUS_API) -> str:
    """Name the kind of an error as Prometheus's clients know it; empty for a path that is none of theirs."""
    return _KINDS.get(status, "bad_data") if path.startswith(PROMETHEUS_API) else ""
