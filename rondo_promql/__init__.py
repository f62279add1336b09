"""PromQL over numpy arrays: an engine that knows no store, and asks whatever has `select` for its series.

`evaluate` answers at each step of a range, `evaluate_instant` at one time; `Source` is the door to the data. Names are
loaded at their first use, so that who only catches an error loads no numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondo_promql.arrays.histograms import Histograms as Histograms
    from rondo_promql.arrays.vector import STALE_BITS as STALE_BITS
    from rondo_promql.budget import QueryBudget as QueryBudget
    from rondo_promql.engine import DEFAULT_STEP_MS as DEFAULT_STEP_MS
    from rondo_promql.engine import LOOKBACK_MS as LOOKBACK_MS
    from rondo_promql.engine import evaluate as evaluate
    from rondo_promql.engine import evaluate_instant as evaluate_instant
    from rondo_promql.errors import PromqlError as PromqlError
    from rondo_promql.errors import QueryCanceledError as QueryCanceledError
    from rondo_promql.errors import QueryExecutionError as QueryExecutionError
    from rondo_promql.errors import QuerySyntaxError as QuerySyntaxError
    from rondo_promql.errors import QueryTimeoutError as QueryTimeoutError
    from rondo_promql.errors import TooManySamplesError as TooManySamplesError
    from rondo_promql.language.matchers import LabelMatcher as LabelMatcher
    from rondo_promql.language.nodes import selectors_of as selectors_of
    from rondo_promql.language.parsing import forget_parsed as forget_parsed
    from rondo_promql.language.parsing import parse_query as parse_query
    from rondo_promql.language.parsing import parse_text as parse_text
    from rondo_promql.results import Result as Result
    from rondo_promql.source import Hint as Hint
    from rondo_promql.source import Source as Source

_HOME = {
    "DEFAULT_STEP_MS": "engine",
    "Hint": "source",
    "Histograms": "arrays.histograms",
    "LOOKBACK_MS": "engine",
    "LabelMatcher": "language.matchers",
    "PromqlError": "errors",
    "QueryBudget": "budget",
    "QueryCanceledError": "errors",
    "QueryExecutionError": "errors",
    "QuerySyntaxError": "errors",
    "QueryTimeoutError": "errors",
    "Result": "results",
    "STALE_BITS": "arrays.vector",
    "Source": "source",
    "TooManySamplesError": "errors",
    "evaluate": "engine",
    "evaluate_instant": "engine",
    "forget_parsed": "language.parsing",
    "parse_query": "language.parsing",
    "parse_text": "language.parsing",
    "selectors_of": "language.nodes",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Give the public names."""
    return sorted(_HOME)
