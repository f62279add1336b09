"""Parsing: a query's text, by promql-parser, into the nodes of the plan."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from rondo_promql.errors import PromqlError, QuerySyntaxError
from rondo_promql.language.literals import normalise_text
from rondo_promql.language.matchers import LabelMatcher, forget_expressions
from rondo_promql.language.nodes import (
    Aggregation,
    Binary,
    Call,
    Grouping,
    Matching,
    Moment,
    Negation,
    Node,
    Number,
    SeriesSelector,
    Subquery,
    Text,
)

# The parser's words, and those of Prometheus for the same.
_TYPE_NAMES = {"matrix": "range vector", "vector": "instant vector"}
_TYPE = re.compile(r"(?<=expected type )(matrix|vector)|(?<=got )(matrix|vector)\b")
_PHRASES = {
    "expected type scalar in aggregation expression": "expected type scalar in aggregation parameter",
    "only allowed on vector": "only allowed on instant vector",
    "illegal regex for": "error parsing regexp:",
    "scalar or vector, got: string": 'scalar or instant vector, got "string"',
    "scalar or vector, got: matrix": 'scalar or instant vector, got "range vector"',
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPERIMENTAL_AGGREGATIONS = {"limitk", "limit_ratio"}
_OUT_OF_RANGE = "parse error: duration out of range"
# Where a number is a duration, in seconds; one that is too long for the parser makes it panic. Strings are passed over.
_SPANS = re.compile(
    r""""(?:[^"\\]|\\.)*+"|(?:\boffset\s*[-+]?\s*(?=[0-9.]|nan\b|inf\b)|[\[:]\s*(?=[0-9]))"""
    r"(?P<number>nan|inf|[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)(?![a-z0-9_.])",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_S = 1e11  # some thousand years
SET_OPERATORS = frozenset({"and", "or", "unless"})
COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})


@lru_cache(maxsize=128)
def parse_query(query: str) -> Node:
    """Parse a query into its plan; the last 128 are kept, since dashboards and alerts ask the same again and again.

    Raises: QuerySyntaxError: the text does not parse, its types do not fit, or it uses what is experimental.
    """
    parsed = parse_text(query)
    try:
        return _convert(parsed)
    except RecursionError as error:
        raise QuerySyntaxError("parse error: query of too many levels; split it") from error
    except QuerySyntaxError:
        raise
    except (ValueError, OverflowError) as error:  # the parser takes durations that its own types do not
        raise QuerySyntaxError(_OUT_OF_RANGE) from error


def parse_text(query: str) -> Any:
    """Parse a query into promql-parser's own expression. Raises: QuerySyntaxError: the text does not parse."""
    try:
        import promql_parser
    except ImportError as error:
        raise PromqlError("PromQL needs promql-parser; install the extra promql of rondo-tsdb") from error
    text = normalise_text(query)
    if any(each["number"] and not abs(float(each["number"])) < _LONGEST_S for each in _SPANS.finditer(text)):
        raise QuerySyntaxError(_OUT_OF_RANGE)
    try:
        return promql_parser.parse(text)
    except ValueError as error:
        raise QuerySyntaxError(f"parse error: {_reworded(str(error), query)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the parser; no Exception, so that it would end a thread
            raise
        raise QuerySyntaxError("parse error: the parser gave up on it") from error


def forget_parsed() -> None:
    """Drop what is kept of queries, plans and compiled expressions: those of strangers may be large."""
    parse_query.cache_clear()
    forget_expressions()


def _reworded(message: str, query: str) -> str:
    """Give the parser's message in the words of Prometheus; where it says nothing, with the query's own text."""
    if message == "invalid promql query":
        return f"this is no PromQL: {' '.join(query.split())[:200]}"
    message = re.sub(r"'(\w[^']*)'", r'"\1"', message)
    for theirs, ours in _PHRASES.items():
        message = message.replace(theirs, ours)
    return _TYPE.sub(lambda match: _TYPE_NAMES[match.group()], message)


def _convert(parsed: Any) -> Node:
    """Turn one of the parser's expressions into a node."""
    return _CONVERTERS[type(parsed).__name__](parsed)


def _selector(parsed: Any, range_ms: int = 0) -> SeriesSelector:
    if parsed.matchers.or_matchers:
        raise QuerySyntaxError('parse error: unexpected "or" between label matchers; write two selectors with "or"')
    operators = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    matchers = [
        LabelMatcher(each.name, operators[str(each.op).split(".")[-1]], each.value) for each in _matchers(parsed)
    ]
    if parsed.name is not None:
        matchers.insert(0, LabelMatcher("__name__", "=", parsed.name))
    if all(each.matches("") for each in matchers):
        raise QuerySyntaxError("parse error: vector selector must contain at least one non-empty matcher")
    return SeriesSelector(tuple(matchers), _moment(parsed), range_ms)


def _matchers(parsed: Any) -> list[Any]:
    return list(parsed.matchers.matchers)


def _matrix(parsed: Any) -> SeriesSelector:
    return _selector(parsed.vector_selector, _milliseconds(parsed.range))


def _milliseconds(delta: timedelta | None) -> int:
    return 0 if delta is None else delta // timedelta(milliseconds=1)


def _moment(parsed: Any) -> Moment:
    modifier = parsed.at
    at: int | str | None = None
    if modifier is not None:
        kind = str(modifier.type).rsplit(".", maxsplit=1)[-1]
        try:
            at = round((modifier.at - _EPOCH) / timedelta(milliseconds=1)) if kind == "At" else kind.lower()
        except (ValueError, OverflowError) as error:
            raise QuerySyntaxError("parse error: timestamp out of bounds for @ modifier") from error
    return Moment(_milliseconds(parsed.offset), at)


def _subquery(parsed: Any) -> Subquery:
    return Subquery(_convert(parsed.expr), _moment(parsed), _milliseconds(parsed.range), _milliseconds(parsed.step))


def _call(parsed: Any) -> Call:
    function = parsed.func
    if function.experimental:
        raise QuerySyntaxError(f'parse error: function "{function.name}" is not enabled')
    kind = str(function.return_type).rsplit(".", maxsplit=1)[-1].lower()
    return Call(function.name, tuple(_convert(each) for each in parsed.args), kind)


def _negation(parsed: Any) -> Node:
    inner = _convert(parsed.expr)
    return Number(-inner.value) if isinstance(inner, Number) else Negation(inner, inner.kind)


def _aggregation(parsed: Any) -> Aggregation:
    operator = str(parsed.op)
    if operator in _EXPERIMENTAL_AGGREGATIONS:
        raise QuerySyntaxError(
            f"parse error: {operator}() is experimental and must be enabled with "
            "--enable-feature=promql-experimental-functions"
        )
    modifier = parsed.modifier
    grouping = Grouping()
    if modifier is not None:
        grouping = Grouping(tuple(modifier.labels), str(modifier.type).endswith("Without"))
    parameter = None if parsed.param is None else _parameter(parsed.param)
    return Aggregation(operator, _convert(parsed.expr), grouping, parameter)


def _parameter(parsed: Any) -> Node:
    if isinstance(parsed, str):
        return Text(parsed)
    return Number(float(parsed)) if isinstance(parsed, int | float) else _convert(parsed)


def _binary(parsed: Any) -> Binary:
    operator = str(parsed.op).strip()
    left, right = _convert(parsed.lhs), _convert(parsed.rhs)
    matching, returns_bool = Matching(), False
    if (modifier := parsed.modifier) is not None:
        returns_bool = bool(modifier.return_bool)
        fills = modifier.fill_values
        if fills is not None and (fills.lhs is not None or fills.rhs is not None):
            raise QuerySyntaxError("parse error: fill modifiers are experimental and not enabled")
        many = {"ManyToOne": "left", "OneToMany": "right"}.get(str(modifier.card).rsplit(".", maxsplit=1)[-1], "")
        on = modifier.matching is not None and str(modifier.matching.type).endswith("Include")
        labels = () if modifier.matching is None else tuple(modifier.matching.labels)
        matching = Matching(labels, on, many, tuple(modifier.group_labels or ()))
    kind = "scalar" if left.kind == right.kind == "scalar" else "vector"
    return Binary(operator, left, right, matching, returns_bool, kind)


_CONVERTERS: dict[str, Callable[[Any], Node]] = {
    "NumberLiteral": lambda parsed: Number(float(parsed.val)),
    "StringLiteral": lambda parsed: Text(parsed.val),
    "ParenExpr": lambda parsed: _convert(parsed.expr),
    "VectorSelector": _selector,
    "MatrixSelector": _matrix,
    "SubqueryExpr": _subquery,
    "Call": _call,
    "UnaryExpr": _negation,
    "AggregateExpr": _aggregation,
    "BinaryExpr": _binary,
}
