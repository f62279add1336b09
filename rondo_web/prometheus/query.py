"""/api/v1/query, query_range, format_query and parse_query: PromQL over what is served."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from rondo_web.http.responses import PageResponse
from rondo_web.prometheus.endpoint import ApiRequest, success, success_of
from rondo_web.prometheus.expression import checked, parsed, tree_of, within_range
from rondo_web.prometheus.parameters import now_ms
from rondo_web.prometheus.selection import evaluated
from rondo_web.prometheus.values import matrix_json, point, seconds, vector_json


def query(asked: ApiRequest) -> PageResponse:
    """PageResponse an expression at an instant."""
    expression, at_ms = checked(asked.parameters.text("query")), asked.parameters.instant_ms("time", now_ms())
    return _result_json(asked, *evaluated(asked, expression, at_ms), at_ms)


def query_range(asked: ApiRequest) -> PageResponse:
    """PageResponse an expression at each step of a range."""
    steps = asked.parameters.steps_ms()
    expression = checked(asked.parameters.text("query"))
    return _result_json(asked, *evaluated(asked, expression, *steps), 0)


def _result_json(asked: ApiRequest, result: Any, reasons: list[str], at_ms: int) -> PageResponse:
    found, warnings, infos = result.plain(), list(result.warnings), [*result.infos, *reasons]
    limit = asked.parameters.limit()
    if result.kind in {"vector", "matrix"} and 0 < limit < len(found):
        found = found[:limit]
        warnings.append("results truncated due to limit")
    if result.kind == "vector":
        written = vector_json(found, at_ms)
    elif result.kind == "matrix":
        written = matrix_json(found)
    else:
        written = orjson.dumps(point(at_ms, found) if result.kind == "scalar" else [seconds(at_ms), found])
    return success(b'{"resultType":"%b","result":%b}' % (result.kind.encode(), written), warnings, infos)


def format_query(asked: ApiRequest) -> PageResponse:
    """Give an expression in its usual form."""
    node = parsed(asked.parameters.text("query"))
    return success_of(within_range(node.prettify))


def parse_query(asked: ApiRequest) -> PageResponse:
    """Give an expression as a tree."""
    node = parsed(asked.parameters.text("query"))
    return success_of(within_range(partial(tree_of, node)))
