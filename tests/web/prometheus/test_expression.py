"""Expressions of strangers: none ends the process that parses it, none takes time by the square of its length."""

import subprocess
import sys

import pytest

from rondo_core.errors import UsageError
from rondo_web.prometheus.expression import MAX_LEVELS, checked, parsed, tree_of

DEEP = (
    "(" * 60_000 + "a" + ")" * 60_000,
    "+".join(["a"] * 60_000),
    "-" * 60_000 + "a",
    "sum(" * 9_000,
    " or ".join(["a"] * 9_000),
)


def test_a_deep_expression_is_refused_and_the_process_lives():
    """promql-parser itself would end it by SIGSEGV, as is shown here, so that nobody takes the bound away."""
    for text in DEEP:
        with pytest.raises(UsageError, match="at most"):
            parsed(text)
    code = "import promql_parser\ntry:\n  promql_parser.parse('(' * 500_000 + 'a' + ')' * 500_000)\nexcept ValueError: pass"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode < 0


@pytest.mark.parametrize("shape", ["{0}a{1}", "a{2}", "{3}a", "{4}a{1}"])
def test_the_deepest_that_is_taken_is_answered(shape):
    """It is parsed, written and told as a tree, without a RecursionError."""
    n = MAX_LEVELS - 1
    text = shape.format("(" * n, ")" * n, "+a" * n, "-" * n, "abs(" * n)
    assert parsed(text).prettify()
    assert tree_of(parsed(text))


@pytest.mark.parametrize(
    "text",
    ["'\\" * 30_000, '"\\' * 30_000, "`a" * 30_001, "'" * 60_001, "#" * 60_000, "\\" * 60_000, '"' + "\\\\" * 30_000],
    ids=lambda text: text[:4],
)
def test_what_is_never_closed_is_looked_at_once(text):
    """Some ms; a look at the rest of the text from each quote of it would take half a minute, and the test's timeout."""
    for _ in range(20):
        with pytest.raises(UsageError):
            parsed(text)


@pytest.mark.parametrize(
    "span",
    [
        "offset nan",
        "offset -inf",
        "offset 1e20",
        "offset +9e25",
        "[1e20]",
        "[5m:1e20]",
        "[1e19:]",
        "offset 99999999999999999999",
        "offset .9e99",
    ],
)
def test_a_duration_beyond_all_time_is_refused(span):
    """promql-parser panics at it, which would end the thread that parses, and writes a trace into the log."""
    with pytest.raises(UsageError, match="duration out of range"):
        parsed(f"a {span}")
    assert parsed(f'a{{b="x {span}"}} offset 1.5').prettify()


def test_what_stands_in_a_string_or_a_comment_is_no_level():
    """A long list of alternatives in a matcher is one matcher."""
    text = 'sum(a{b=~"' + "(x|y)+" * 300 + "\", c='(((('}) # " + "(" * 300 + "\n / 2"
    assert checked(text) == text
    with pytest.raises(UsageError, match="21 regular expressions; at most 20"):
        checked("a{" + ",".join('b=~"c"' for _ in range(21)) + "}")
    with pytest.raises(UsageError, match="no expression found in input"):
        checked(" ")


def test_a_tree_is_that_of_prometheus():
    """The members that its page reads, of every kind of node."""
    tree = tree_of(
        parsed(
            'topk by (x) (3, -rate(a{b!~"c"}[5m] offset 1m)) > bool on (x) group_left (y) (b @ 4 or max_over_time(c[1h:1m] @ end()))'
        )
    )
    assert tree["type"] == "binaryExpr"
    assert (tree["op"], tree["bool"]) == (">", True)
    assert tree["matching"] == {"card": "many-to-one", "include": ["y"], "labels": ["x"], "on": True}
    left, right = tree["lhs"], tree["rhs"]["expr"]
    assert (left["op"], left["grouping"], left["without"], left["param"]) == (
        "topk",
        ["x"],
        False,
        {"type": "numberLiteral", "val": "3"},
    )
    assert left["expr"]["op"] == "-"
    call = left["expr"]["expr"]
    assert call["func"] == {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"}
    assert call["args"] == [
        {
            "type": "matrixSelector",
            "name": "a",
            "range": 300_000,
            "offset": 60_000,
            "timestamp": None,
            "startOrEnd": None,
            "matchers": [{"name": "b", "type": "!~", "value": "c"}, {"name": "__name__", "type": "=", "value": "a"}],
        }
    ]
    assert right["matching"]["card"] == "many-to-many"
    assert right["lhs"]["timestamp"] == 4000
    (subquery,) = right["rhs"]["args"]
    assert (subquery["type"], subquery["range"], subquery["step"], subquery["startOrEnd"]) == (
        "subquery",
        3_600_000,
        60_000,
        "end",
    )
