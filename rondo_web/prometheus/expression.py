"""Expressions of strangers: how long and how deep one may be before it is parsed at all, and its form as JSON.

promql-parser goes down one level of the machine's stack for each level of an expression, and takes time by the square
of it: an expression that is deep enough would end the process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from rondo_core.errors import UsageError
from rondo_promql import QuerySyntaxError, parse_text

T = TypeVar("T")
MAX_CHARS = 64 << 10
MAX_LEVELS = 200  # operators, brackets and matchers of one expression
MAX_PATTERNS = 20  # regular expressions of one expression, each of which takes memory when it is compiled
_WORTH_KEEPING = 200  # in the unit of the next
MAX_WEIGHT = (
    1000  # classes of characters in all its texts, each as often as it is repeated: some 0.2 ms each to compile
)
# A string or a comment, in which nothing counts; else what brings a regular expression with it, or makes an expression
# one level deeper.
_TOKENS = re.compile(
    r"""
    (?P<text> "(?:[^"\\]|\\.?)*+"? | '(?:[^'\\]|\\.?)*+'? | `[^`]*+`? ) | \#[^\n]*+
    | (?P<pattern> =~ | !~ | \blabel_replace\b )
    | (?P<level> [-+*/%^<>=!(\[{] | \b(?:and|or|unless|atan2)\b )
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
# The parser's words for the operators of matchers, and PromQL's.
SIGNS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_BY_NUMBER = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U0{3}([0-9a-fA-F]{5})|([0-3][0-7]{2}))")
_CLASSES, _REPEATED = re.compile(r"[\\.\[]|\(\?"), re.compile(r"\{(?:[0-9]*,)?([0-9]{1,9})")


def checked(expression: str, name: str = "query") -> str:
    """Give an expression that may be parsed, which the parameter `name` has.

    Raises: UsageError: it is missing, or longer or deeper than a stranger's may be.
    """
    what = f'invalid parameter "{name}"'
    if not expression.strip():
        raise UsageError(f"{what}: no expression found in input")
    if len(expression) > MAX_CHARS:
        raise UsageError(f"{what}: {len(expression)} characters; at most {MAX_CHARS}")
    tokens = [(each.lastgroup, each[0]) for each in _TOKENS.finditer(expression)]
    found = Counter(kind for kind, _ in tokens)
    if (levels := found["level"] + found["pattern"]) > MAX_LEVELS:
        raise UsageError(f"{what}: {levels} operators, brackets and matchers; at most {MAX_LEVELS}")
    if found["pattern"] > MAX_PATTERNS:
        raise UsageError(f"{what}: {found['pattern']} regular expressions; at most {MAX_PATTERNS}")
    check_patterns([text for kind, text in tokens if kind == "text"], what)
    return expression


def check_patterns(texts: Sequence[str], what: str) -> None:
    """Refuse texts that would be too large as regular expressions. Raises: UsageError: it begins with `what`."""
    if sum(map(weight_of, texts)) > MAX_WEIGHT:
        raise UsageError(f"{what}: its regular expressions are too large; give shorter ones, with fewer repetitions")


def weight_of(text: str) -> int:
    """Say how large a text may become as a regular expression: the parser compiles it, with all else at a halt.

    Where repetitions stand beside each other they are taken as if they stood within each other.
    """

    def character(match: re.Match[str]) -> str:
        return chr(min(0x10FFFF, int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16)))

    text = _BY_NUMBER.sub(character, text)
    weight = len(_CLASSES.findall(text)) + 1 + len(text) // 50
    for each in _REPEATED.finditer(text):
        weight = min(weight * max(1, int(each[1])), 1 << 40)
    return weight


def is_large(text: str) -> bool:
    """Say whether what is compiled of a text is not worth its memory once it was used."""
    return weight_of(text) > _WORTH_KEEPING


def parsed(expression: str, name: str = "query") -> Any:
    """Parse an expression. Raises: UsageError: see `checked`, or it is no PromQL."""
    try:
        return parse_text(checked(expression, name))
    except QuerySyntaxError as error:
        raise UsageError(f'invalid parameter "{name}": {error}') from None


def tree_of(node: Any) -> dict[str, Any]:
    """Give a parsed expression in the form of Prometheus's parse_query.

    Source: Prometheus, web/ui, "ASTNode".
    """
    kind = type(node).__name__
    return {"type": _TYPES[kind], **_MEMBERS[kind](node)}


def within_range(read: Callable[[], T]) -> T:
    """Give what is read of a parsed expression. Raises: UsageError: an instant or a duration is beyond all time.

    The parser takes them, and gives a ValueError where they are looked at.
    """
    try:
        return read()
    except (ValueError, OverflowError):
        raise UsageError('invalid parameter "query": an instant or a duration is out of range') from None


def _binary(node: Any) -> dict[str, Any]:
    modifier, matching = node.modifier, None
    op = str(node.op)
    both_series = not any(type(_bare(side)).__name__ == "NumberLiteral" for side in (node.lhs, node.rhs))
    if both_series:
        labels = modifier.matching if modifier is not None else None
        cards = {"OneToOne": "one-to-one", "ManyToOne": "many-to-one", "OneToMany": "one-to-many"}
        card = (
            cards.get(str(modifier.card).rpartition(".")[2], "many-to-many") if modifier is not None else "one-to-one"
        )
        matching = {
            "card": "many-to-many" if op in {"and", "or", "unless"} else card,
            "include": list(modifier.group_labels or ()) if modifier is not None else [],
            "labels": list(labels.labels) if labels is not None else [],
            "on": labels is not None and str(labels.type).endswith("Include"),
        }
    return {
        "op": op,
        "lhs": tree_of(node.lhs),
        "rhs": tree_of(node.rhs),
        "matching": matching,
        "bool": modifier is not None and modifier.return_bool,
    }


def _bare(node: Any) -> Any:
    while type(node).__name__ in {"ParenExpr", "UnaryExpr"}:
        node = node.expr
    return node


def _aggregate(node: Any) -> dict[str, Any]:
    modifier = node.modifier
    return {
        "op": str(node.op),
        "expr": tree_of(node.expr),
        "param": tree_of(node.param) if node.param is not None else None,
        "grouping": list(modifier.labels) if modifier is not None else [],
        "without": modifier is not None and str(modifier.type).endswith("Without"),
    }


def _call(node: Any) -> dict[str, Any]:
    func = node.func
    told = {
        "name": func.name,
        "argTypes": [_value_type(each) for each in func.arg_types],
        "variadic": func.variadic,
        "returnType": _value_type(func.return_type),
    }
    return {"func": told, "args": [tree_of(each) for each in node.args]}


def _value_type(value_type: Any) -> str:
    return str(value_type).rpartition(".")[2].lower()


def _selector(node: Any) -> dict[str, Any]:
    matchers = [
        {"name": each.name, "type": SIGNS[str(each.op).rpartition(".")[2]], "value": each.value}
        for each in node.matchers.matchers
    ]
    if node.name:
        matchers.append({"name": "__name__", "type": "=", "value": node.name})
    return {"name": node.name or "", "matchers": matchers, **_moved(node)}


def _moved(node: Any) -> dict[str, Any]:
    at = node.at
    kind = str(at.type).rpartition(".")[2] if at is not None else ""
    return {
        "offset": _ms(node.offset),
        "timestamp": round(at.at.timestamp() * 1000) if kind == "At" else None,
        "startOrEnd": kind.lower() if kind in {"Start", "End"} else None,
    }


def _ms(span: timedelta | None) -> int:
    return round(span.total_seconds() * 1000) if span is not None else 0


_TYPES = {
    "AggregateExpr": "aggregation",
    "BinaryExpr": "binaryExpr",
    "Call": "call",
    "MatrixSelector": "matrixSelector",
    "NumberLiteral": "numberLiteral",
    "ParenExpr": "parenExpr",
    "StringLiteral": "stringLiteral",
    "SubqueryExpr": "subquery",
    "UnaryExpr": "unaryExpr",
    "VectorSelector": "vectorSelector",
}
_MEMBERS = {
    "AggregateExpr": _aggregate,
    "BinaryExpr": _binary,
    "Call": _call,
    "MatrixSelector": lambda node: {**_selector(node.vector_selector), "range": _ms(node.range)},
    "NumberLiteral": lambda node: {"val": repr(node.val).removesuffix(".0")},
    "ParenExpr": lambda node: {"expr": tree_of(node.expr)},
    "StringLiteral": lambda node: {"val": node.val},
    "SubqueryExpr": lambda node: {
        "expr": tree_of(node.expr),
        "range": _ms(node.range),
        "step": _ms(node.step),
        **_moved(node),
    },
    "UnaryExpr": lambda node: {"op": "-", "expr": tree_of(node.expr)},
    "VectorSelector": _selector,
}
