"""Functions of labels: label_replace, label_join, and the labels that `absent` answers with."""

from __future__ import annotations

import re
from typing import Any

from rondo_promql.arrays.vector import NAME, Labels, with_labels
from rondo_promql.errors import QueryExecutionError
from rondo_promql.language.literals import NOT_UTF8
from rondo_promql.language.matchers import LabelMatcher, compile_expression

_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)


def _check_name(name: str, function: str) -> None:
    if not name or NOT_UTF8 in name:
        raise QueryExecutionError(f"invalid destination label name in {function}(): {name}")


def replace_label(labels: list[Labels], target: str, template: str, source: str, pattern: str) -> list[Labels]:
    """Set a label, where the whole of another fits an RE2 expression, to a template with `$1` and `${name}`.

    Raises: QueryExecutionError: the expression does not compile, or the label's name is none.
    """
    try:
        expression = compile_expression(pattern)
    except ValueError as error:
        raise QueryExecutionError(f"invalid regular expression in label_replace(): {pattern}") from error
    _check_name(target, "label_replace")
    replaced = []
    for each in labels:
        match = expression.fullmatch(dict(each).get(source, ""))
        replaced.append(each if match is None else with_labels(each, {target: _expanded(template, match)}))
    return replaced


def _expanded(template: str, match: Any) -> str:
    """Put a match's groups into a template; one that there is not is empty."""

    def replace(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            return match.group(int(name) if name.isdecimal() else name) or ""
        except (IndexError, KeyError):
            return ""

    return _REFERENCE.sub(replace, template)


def join_labels(labels: list[Labels], target: str, separator: str, sources: list[str]) -> list[Labels]:
    """Set a label to the values of others, joined; a QueryExecutionError tells of a label's name that is none."""
    _check_name(target, "label_join")
    joined = []
    for each in labels:
        values = dict(each)
        joined.append(with_labels(each, {target: separator.join(values.get(name, "") for name in sources)}))
    return joined


def labels_when_absent(matchers: tuple[LabelMatcher, ...]) -> Labels:
    """Give the labels that a selector asks for by equality, each once; what is asked for in another way has none."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == NAME:
            continue
        if matcher.op == "=" and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return tuple(sorted((name, value) for name, value in labels.items() if value))
