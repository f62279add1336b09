"""What is served as a source of PromQL: held only while it is read, within the limits of a request."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.errors import QueryLimitError, UsageError
from rondo_core.read import Budget, RememberedReads, StoreChoice, StoreReader
from rondo_promql import (
    LOOKBACK_MS,
    LabelMatcher,
    PromqlError,
    QueryBudget,
    QuerySyntaxError,
    QueryTimeoutError,
    TooManySamplesError,
    evaluate,
    evaluate_instant,
    forget_parsed,
)
from rondo_web.errors import BusyError, EvaluationError
from rondo_web.prometheus.endpoint import ApiRequest
from rondo_web.prometheus.expression import MAX_PATTERNS, SIGNS, check_patterns, is_large, parsed, within_range
from rondo_web.reading.limits import LARGE, SMALL

NAME, EXTRA = "__name__", "extra_label"
NS_PER_MS = 1_000_000
MAX_TIMEOUT_MS = LARGE.max_ns // NS_PER_MS


def evaluated(asked: ApiRequest, expression: str, *times_ms: int) -> tuple[Any, list[str]]:
    """PageResponse an expression: at an instant, or from a start to an end by a step.

    Returns: the engine's result, see docs/promql.md; where it has nothing why, a line each, if a small read tells.
    Raises: QueryLimitError: a small read is not enough for it; EvaluationError: why there is no answer.
    """
    limits = asked.limits
    seconds = min(limits.max_ns / NS_PER_S, asked.parameters.duration_ms("timeout", MAX_TIMEOUT_MS) / 1000)
    budget = QueryBudget(seconds, limits.max_values, limits.max_values, asked.gone)
    lookback_ms = asked.parameters.duration_ms("lookback_delta", LOOKBACK_MS)
    answer = evaluate_instant if len(times_ms) == 1 else evaluate
    try:
        source = ServedSource(asked)
        reads = RememberedReads(source)
        result = answer(expression, reads, *times_ms, budget=budget, lookback_ms=lookback_ms)
        result.warnings += source.left_out
        check_points(sum(len(stamps) for _, stamps, _ in result.series))
        is_empty = result.kind in {"vector", "matrix"} and not result.series
        reasons = _why_empty(reads, asked) if is_empty and not is_large(expression) else []
    except (TooManySamplesError, QueryTimeoutError) as error:
        if limits is SMALL:
            raise QueryLimitError(str(error)) from None
        raise EvaluationError(str(error), error.error_type) from None
    except PromqlError as error:
        raise EvaluationError(str(error), error.error_type) from None
    finally:
        if is_large(expression):
            forget_parsed()
    return result, reasons


def _why_empty(reads: RememberedReads, asked: ApiRequest) -> list[str]:
    with suppress(QueryLimitError):
        return reads.why_empty(ServedSource(attrs.evolve(asked, limits=SMALL)))
    return []


def check_points(n_points: int) -> None:
    """Refuse an answer that is too long. Raises: EvaluationError: a line that says what to ask for instead."""
    if n_points > LARGE.max_points:
        what = f"the answer has {n_points} points; at most {LARGE.max_points} are told at once"
        raise EvaluationError(f"{what}: ask for fewer series, a shorter range or a longer step")


class ServedSource:
    """The source of one request. Of one thread."""

    def __init__(self, asked: ApiRequest) -> None:
        """Begin its time now. Raises: UsageError: an extra label is none."""
        limits = asked.limits
        self._asked = asked
        # What an expression reads is no point of its answer yet: there is one bound, of what is read.
        self._budget = Budget(limits.max_values, limits.max_values, limits.max_ns)
        self._extra = extra_matchers(asked.parameters.every(EXTRA))
        self._choice = StoreChoice(asked.parameters.limit("last"), asked.parameters.text("job"))
        self.left_out = dict[str, None]()  # a line for each store that could not be read

    def _source(self) -> AbstractContextManager[Any]:
        return self._asked.store.source(self._budget, self._choice)

    def select(self, matchers: Sequence[Any], start_ms: int, end_ms: int, hint: Any = None) -> list[Any]:
        """Give the samples of the series that all matchers take, see `StoreReader.source`.

        Raises: QueryLimitError: they are more than may be read; BusyError: nobody waits for them any more.
        """
        self.check()
        with self._source() as source:
            found = list(source.select([*matchers, *self._extra], start_ms, end_ms, hint))
            for each in getattr(source, "unread", ()):  # of a directory
                self.left_out[f"left out: {each}"] = None
        return found

    def series(self, matchers: Sequence[Any]) -> list[dict[str, str]]:
        """Give the label sets that all matchers take. Raises: QueryLimitError: there are many, of a small read."""
        self.check()
        store, limits = self._asked.store, self._asked.limits
        if not store.is_directory():
            with store.reader(limits) as reader:
                assert isinstance(reader, StoreReader)  # noqa: S101 - for the type checker
                limits.check_series(len(reader.registry))
        with self._source() as source:
            found = list(source.series([*matchers, *self._extra]))
        limits.check_series(len(found))
        self.check()
        return found

    def span_ms(self) -> tuple[int, int]:
        """Give the instants of the first sample and of the newest; 0 where there is none."""
        with self._source() as source:
            return source.oldest_ms() or 0, source.newest_ms() or 0

    def sampled_ms(self, matchers: Sequence[Any]) -> tuple[int, int] | None:
        """Give between which instants the series that all matchers take may have samples; None: they have none."""
        with self._source() as source:
            found: tuple[int, int] | None = source.sampled_ms([*matchers, *self._extra])
        return found

    def metadata(self) -> dict[str, tuple[str, str, str]]:
        """Give the type, the help and the unit of each metric."""
        with self._source() as source:
            return dict(source.metadata())

    def check(self) -> None:
        """Let the request go on. Raises: QueryLimitError: its time is over; BusyError: its client is gone."""
        self._budget.check()
        if self._asked.gone():
            raise BusyError("nobody waits for the answer any more")


def extra_matchers(given: Sequence[str]) -> list[LabelMatcher]:
    """Give the matchers that hold for every selector of a request: each of them a label and its value.

    Source: VictoriaMetrics, "Prometheus querying API enhancements", `extra_label`.
    Raises: UsageError: one is not of the form NAME=VALUE.
    """
    pairs = [each.partition("=") for each in given]
    for text, (name, sign, _) in zip(given, pairs, strict=True):
        if not name or not sign:
            raise UsageError(f'invalid parameter "{EXTRA}": {text[:64]!r} is not NAME=VALUE')
    return [LabelMatcher(name, "=", value) for name, _, value in pairs]


def matchers_of(selector: str) -> list[LabelMatcher]:
    """Read a selector of `match[]`. Raises: UsageError: it is none, or would take everything."""
    what = 'invalid parameter "match[]"'
    node = parsed(selector, "match[]")
    plain = type(node).__name__ == "VectorSelector" and within_range(lambda: node.offset is None and node.at is None)
    if not plain:
        raise UsageError(f"{what}: {selector[:64]!r} is no selector of series")
    if node.matchers.or_matchers:
        raise UsageError(f'{what}: "or" between matchers is no PromQL; give match[] again')
    given = [(each.name, SIGNS[str(each.op).rpartition(".")[2]], each.value) for each in node.matchers.matchers]
    found = matchers(given + [(NAME, "=", node.name)] * bool(node.name), what)
    if all(each.matches("") for each in found):
        raise UsageError(f"{what}: match[] must contain at least one non-empty matcher")
    return found


def matchers(given: Sequence[tuple[str, str, str]], what: str) -> list[LabelMatcher]:
    """Give conditions on labels, each of a name, a sign and a text.

    Raises: UsageError: a text is no regular expression, or they are too large; it begins with `what`.
    """
    patterns = [text for _, sign, text in given if sign in {"=~", "!~"}]
    if len(patterns) > MAX_PATTERNS:
        raise UsageError(f"{what}: {len(patterns)} regular expressions; at most {MAX_PATTERNS}")
    check_patterns(patterns, what)
    try:
        return [LabelMatcher(*each) for each in given]
    except QuerySyntaxError as error:
        raise UsageError(f"{what}: {error}") from None
    finally:
        if any(map(is_large, patterns)):
            forget_parsed()
