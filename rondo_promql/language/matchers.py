"""Label matchers: a name and a test of its value, by equality or by an RE2 expression that fits the whole value."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rondo_promql.errors import PromqlError, QuerySyntaxError

# What one expression's automaton may take; RE2 refuses a larger one when it is compiled.
MAX_EXPRESSION_BYTES = 8 << 20


@lru_cache(maxsize=256)
def compile_expression(pattern: str) -> Any:
    """Compile an RE2 expression whose `.` fits a newline too; use `fullmatch`, since Prometheus anchors at both ends.

    Raises: ValueError: RE2 does not take the pattern. PromqlError: google-re2 is not installed.
    """
    try:
        import re2
    except ImportError as error:
        raise PromqlError("regular expressions need google-re2; install the extra promql of rondo-tsdb") from error
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = MAX_EXPRESSION_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from error


def forget_expressions() -> None:
    """Drop the compiled expressions that are kept here, and those that RE2's Python side keeps too."""
    compile_expression.cache_clear()
    import re2

    re2.purge()


class LabelMatcher:
    """One label matcher: `.matches(value)` tests a label's value, "" where the label is missing.

    `name`, `op` (`=`, `!=`, `=~` or `!~`) and `value` are as written, for a source that has an index.
    """

    __slots__ = ("matches", "name", "op", "value")
    matches: Callable[[str], bool]

    def __init__(self, name: str, op: str, value: str) -> None:
        """Make the test; a QuerySyntaxError tells of an expression that RE2 does not take."""
        self.name, self.op, self.value = name, op, value
        if op in {"=", "!="}:
            self.matches = value.__eq__ if op == "=" else value.__ne__
            return
        try:
            fits = compile_expression(value).fullmatch
        except ValueError as error:
            raise QuerySyntaxError(f"parse error: error parsing regexp: {error}: `{value}`") from error
        self.matches = (lambda text: fits(text) is not None) if op == "=~" else (lambda text: fits(text) is None)

    def __repr__(self) -> str:
        """Give the matcher as PromQL writes it."""
        return f'{self.name}{self.op}"{self.value}"'
