"""The nodes of a parsed query: the plan that an evaluation walks. Durations and times are whole milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from rondo_promql.language.matchers import LabelMatcher


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or a duration in seconds."""

    value: float
    kind: ClassVar[str] = "scalar"


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    value: str
    kind: ClassVar[str] = "string"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is evaluated: `at` is a time, "start" or "end" of the query, or None for each step's own."""

    offset_ms: int = 0
    at: int | str | None = None


@dataclass(frozen=True, slots=True)
class SeriesSelector:
    """A selector of series: instant, or of a range if `range_ms` is not 0."""

    matchers: tuple[LabelMatcher, ...]
    moment: Moment
    range_ms: int = 0

    @property
    def kind(self) -> str:
        """Say whether it gives an instant vector or a matrix."""
        return "matrix" if self.range_ms else "vector"


@dataclass(frozen=True, slots=True)
class Subquery:
    """A matrix of what an instant expression gives at steps of its own; `step_ms` 0 is the engine's default."""

    inner: Node
    moment: Moment
    range_ms: int
    step_ms: int
    kind: ClassVar[str] = "matrix"


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    function: str
    arguments: tuple[Node, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Negation:
    """A minus before an expression."""

    inner: Node
    kind: str


@dataclass(frozen=True, slots=True)
class Grouping:
    """The labels of `by` or, if `without`, those that are left out."""

    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregation over the series of a vector; `parameter` is that of topk, quantile and count_values."""

    operator: str
    inner: Node
    grouping: Grouping
    parameter: Node | None = None
    kind: ClassVar[str] = "vector"


@dataclass(frozen=True, slots=True)
class Matching:
    """How the series of two vectors find each other.

    `labels` are those of `on` or, unless `on`, of `ignoring`; `many` is "left" for group_left, "right" for
    group_right, "" for one to one; `include` are the labels taken from the side that is one.
    """

    labels: tuple[str, ...] = ()
    on: bool = False
    many: str = ""
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two expressions; `returns_bool` gives a comparison's outcome as 0 or 1."""

    operator: str
    left: Node
    right: Node
    matching: Matching
    returns_bool: bool
    kind: str


Node: TypeAlias = Number | Text | SeriesSelector | Subquery | Call | Negation | Aggregation | Binary


def selectors_of(node: Node) -> list[SeriesSelector]:
    """Give the selectors of an expression, from left to right."""
    match node:
        case SeriesSelector():
            return [node]
        case Call(arguments=inner):
            return [each for argument in inner for each in selectors_of(argument)]
        case Binary():
            return selectors_of(node.left) + selectors_of(node.right)
        case Aggregation():
            return selectors_of(node.inner) + (selectors_of(node.parameter) if node.parameter is not None else [])
        case Subquery() | Negation():
            return selectors_of(node.inner)
        case _:
            return []
