"""PromQL over numpy arrays: an engine that knows no store, and asks whatever has `select` for its series.

`evaluate` answers at each step of a range, `evaluate_instant` at one time; `Source` is the door to the data.
"""

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.vector import STALE_BITS
from rondo_promql.budget import Budget
from rondo_promql.engine import DEFAULT_STEP_MS, LOOKBACK_MS, evaluate, evaluate_instant
from rondo_promql.errors import (
    PromqlError,
    QueryCanceledError,
    QueryExecutionError,
    QuerySyntaxError,
    QueryTimeoutError,
    TooManySamplesError,
)
from rondo_promql.language.matchers import Matcher
from rondo_promql.language.parsing import forget_parsed, parse_query, parse_text
from rondo_promql.results import Result
from rondo_promql.source import Hint, Source

__all__ = [
    "DEFAULT_STEP_MS",
    "LOOKBACK_MS",
    "STALE_BITS",
    "Budget",
    "Hint",
    "Histograms",
    "Matcher",
    "PromqlError",
    "QueryCanceledError",
    "QueryExecutionError",
    "QuerySyntaxError",
    "QueryTimeoutError",
    "Result",
    "Source",
    "TooManySamplesError",
    "evaluate",
    "evaluate_instant",
    "forget_parsed",
    "parse_query",
    "parse_text",
]
