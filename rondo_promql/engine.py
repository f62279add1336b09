"""The engine's two doors: a query over a range of steps, and a query at one time."""

from __future__ import annotations

import numpy as np

from rondo_promql.budget import QueryBudget
from rondo_promql.errors import QueryExecutionError, QuerySyntaxError
from rondo_promql.evaluation.context import Annotations, Context, Times
from rondo_promql.evaluation.evaluator import evaluate_scalar, evaluate_vector
from rondo_promql.evaluation.ranges import read_range
from rondo_promql.evaluation.selection import Reader
from rondo_promql.language.nodes import Node, SeriesSelector, Subquery, Text
from rondo_promql.language.parsing import parse_query
from rondo_promql.results import Result, matrix_result, samples_result, vector_result
from rondo_promql.source import Source

# Prometheus's own: how old a sample may be that an instant selector sees, and the step of a subquery without one.
LOOKBACK_MS = 300_000
DEFAULT_STEP_MS = 60_000
MAX_TIME_MS = 1 << 60


def evaluate(
    query: str,
    source: Source,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    *,
    budget: QueryBudget | None = None,
    lookback_ms: int = LOOKBACK_MS,
    default_step_ms: int = DEFAULT_STEP_MS,
) -> Result:
    """Evaluate a query at each step from start to end, both included: a matrix.

    Args:
        start_ms, end_ms, step_ms: whole milliseconds; times since the epoch.
        budget: bounds of time and size; none if None.
        lookback_ms: how old a sample may be that an instant selector sees.
        default_step_ms: the step of a subquery that names none.
    Raises: QuerySyntaxError: the query, or the range, cannot be evaluated over any data.
        QueryExecutionError: the data cannot be answered with, or the budget is spent.
    """
    start_ms, end_ms, step_ms = _whole_ms("start", start_ms), _whole_ms("end", end_ms), _whole_ms("step", step_ms)
    if step_ms <= 0:
        raise QuerySyntaxError("zero or negative query resolution step widths are not accepted. Try a positive integer")
    if end_ms < start_ms:
        raise QuerySyntaxError("end timestamp must not be before start time")
    plan = parse_query(query)
    if plan.kind in {"string", "matrix"}:
        name = {"matrix": "range vector"}.get(plan.kind, plan.kind)
        raise QuerySyntaxError(f'invalid expression type "{name}" for range query, must be Scalar or instant Vector')
    budget = budget or QueryBudget()
    n_steps = (end_ms - start_ms) // step_ms + 1
    budget.make(n_steps)
    times = np.arange(start_ms, start_ms + n_steps * step_ms, step_ms, dtype=np.int64)
    context = Context(times, step_ms, start_ms, end_ms, source, lookback_ms, default_step_ms, budget, Annotations())
    return _noted(_guarded(plan, context, instant=False), context)


def evaluate_instant(
    query: str,
    source: Source,
    at_ms: int,
    *,
    budget: QueryBudget | None = None,
    lookback_ms: int = LOOKBACK_MS,
    default_step_ms: int = DEFAULT_STEP_MS,
) -> Result:
    """Evaluate a query at one time: a scalar, a string, a vector, or the samples of a range as a matrix.

    Args and errors are those of `evaluate`.
    """
    plan, at_ms = parse_query(query), _whole_ms("time", at_ms)
    times: Times = np.array([at_ms], dtype=np.int64)
    context = Context(
        times, 0, at_ms, at_ms, source, lookback_ms, default_step_ms, budget or QueryBudget(), Annotations()
    )
    return _noted(_guarded(plan, context, instant=True), context)


def _whole_ms(name: str, given: float) -> int:
    """Make a time, or a distance of times, whole milliseconds; ranges and offsets beside it stay within int64.

    Raises: QuerySyntaxError: it is no number, or too large.
    """
    try:
        whole_ms = int(given)
    except (TypeError, ValueError, OverflowError):
        whole_ms = MAX_TIME_MS + 1
    if abs(whole_ms) > MAX_TIME_MS:
        raise QuerySyntaxError(
            f"{name} {given!r}: no time in milliseconds; give a whole number, of at most {MAX_TIME_MS}"
        )
    return whole_ms


def _guarded(plan: Node, context: Context, *, instant: bool) -> Result:
    """Evaluate with numpy's own warnings off, since NaN and infinities are values here."""
    try:
        with np.errstate(all="ignore"):
            return _result(plan, context, instant=instant)
    except RecursionError as error:
        raise QueryExecutionError("query of too many levels; split it") from error


def _result(plan: Node, context: Context, *, instant: bool) -> Result:
    if isinstance(plan, Text):
        return Result("string", plan.value)
    if plan.kind == "scalar":
        values = evaluate_scalar(plan, context)
        if instant:
            return Result("scalar", float(values[0]))
        return Result("matrix", series=[({}, context.times, values)])
    if isinstance(plan, SeriesSelector | Subquery) and plan.kind == "matrix":
        end_ms = int(context.moments(plan.moment)[0])
        blocks = read_range(plan, context, Reader(), evaluate_vector)
        return samples_result(blocks, end_ms - plan.range_ms, end_ms)
    vector = evaluate_vector(plan, context)
    return vector_result(vector, int(context.times[0])) if instant else matrix_result(vector, context.times)


def _noted(result: Result, context: Context) -> Result:
    result.warnings = list(context.annotations.warnings)
    result.infos = list(context.annotations.infos)
    return result
