"""Every error of a query, typed by what its caller can do about it, and worded as Prometheus words its own.

`error_type` is the word that the HTTP API of Prometheus has for the kind, so that a server need not know the classes.
"""

from __future__ import annotations


class PromqlError(Exception):
    """The root of a query's errors; `error_type` is the HTTP API's word, `exit_status` what a command ends with."""

    error_type = "execution"
    exit_status = 1

    def __init__(self, message: str) -> None:
        """Keep the one line as `message` and as `args`, so that the error pickles."""
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        """Give the one line."""
        return self.message


class QuerySyntaxError(PromqlError, ValueError):
    """A query that does not parse, or whose types do not fit: the caller mends the text."""

    error_type = "bad_data"
    exit_status = 2


class QueryExecutionError(PromqlError):
    """A query that met, in the data it read, what it has no answer for: two series of the same labels, for one."""


class QueryTimeoutError(QueryExecutionError, TimeoutError):
    """A query that ran longer than its budget allows."""

    error_type = "timeout"

    def __init__(self, message: str = "query timed out in expression evaluation") -> None:
        """Use the words of Prometheus."""
        super().__init__(message)


class QueryCanceledError(QueryExecutionError):
    """A query that nobody waits for any more."""

    error_type = "canceled"

    def __init__(self, message: str = "query was canceled in expression evaluation") -> None:
        """Use the words of Prometheus."""
        super().__init__(message)


class TooManySamplesError(QueryExecutionError):
    """A query that would read or make more samples than its budget allows."""
