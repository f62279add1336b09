"""Change a module in one small place at a time, at the level of its syntax tree: what `make mutants` tries out.

A comparison, an operator, a number, a text, a condition, a returned value, a statement: each of them once, and as a
slip of a programmer would have it. Left alone is what no test can see or should hold: docstrings, annotations, what
only type checkers read, and the words of an error, of which tests hold the sense and not each letter.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}  # fmt: skip
_ANNOTATIONS = {"annotation", "returns", "type_params"}


class Mutant(NamedTuple):
    """One change: in which function, on which line, what stood there and what stands there now."""

    place: str
    line: int
    change: str


class _Site(NamedTuple):
    place: str
    node: Any
    apply: Callable[[], Any]
    whole: Any


def mutants(source: str) -> list[Mutant]:
    """Name every change that can be made in a module; a second one that reads alike, in one place, ends in #2."""
    found = [_made(source, number)[1] for number in range(len(list(_sites(ast.parse(source)))))]
    times = Counter[tuple[str, str]]()
    for at, each in enumerate(found):
        times[each.place, each.change] += 1
        if (n_alike := times[each.place, each.change]) > 1:
            found[at] = each._replace(change=f"{each.change} #{n_alike}")
    return found


def mutated(source: str, number: int) -> ast.Module:
    """Make one change, counted from 0, in a fresh tree of the module. Raises: IndexError: there are fewer."""
    return _made(source, number)[0]


def _made(source: str, number: int) -> tuple[ast.Module, Mutant]:
    tree = ast.parse(source)
    for at, site in enumerate(_sites(tree)):
        if at == number:
            before = _text(site.whole)
            whole = site.apply() or site.whole
            return ast.fix_missing_locations(tree), Mutant(site.place, site.node.lineno, f"{before} -> {_text(whole)}")
    raise IndexError(number)


def _text(node: Any) -> str:
    return ast.unparse(node).replace("\n", " ")


def _sites(tree: ast.Module) -> Iterator[_Site]:
    yield from _within(tree, "module")


def _within(node: ast.AST, place: str) -> Iterator[_Site]:
    for field, value in ast.iter_fields(node):
        if field in _ANNOTATIONS:
            continue
        if isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, ast.stmt):
                    yield from _statement(value, at, place)
                elif isinstance(each, ast.AST):
                    yield from _expression(value, at, place, node)
        elif isinstance(value, ast.AST):
            yield from _expression(node, field, place, node)


def _statement(body: list[Any], at: int, place: str) -> Iterator[_Site]:
    """Give what can be changed in one statement of a body, the statement itself first."""
    node = body[at]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"__all__", "__slots__"}:
        return
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Break | ast.Continue):
        yield _Site(place, node, _setter(body, at, ast.Pass()), node)
    if isinstance(node, ast.AugAssign):
        yield _Site(place, node, _swapped(node, "op", _OPERATED[type(node.op)]()), node)
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield _Site(place, node, _setter(body, at, ast.Return(ast.Constant(None))), node)
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Compare | ast.BoolOp):
        yield _Site(place, node, _setter(node, "test", ast.UnaryOp(ast.Not(), node.test)), node.test)
    if isinstance(node, ast.Raise):
        return
    name = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
    yield from _within(node, f"{place}.{name}".removeprefix("module.") if name else place)


def _setter(holder: Any, at: Any, new: ast.AST) -> Callable[[], Any]:
    def apply() -> ast.AST:
        if isinstance(holder, list):
            holder[at] = new
        else:
            setattr(holder, at, new)
        return new

    return apply


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _expression(holder: Any, at: Any, place: str, above: ast.AST) -> Iterator[_Site]:
    """Give what can be changed in an expression; `holder` has it at the index or field `at`."""
    node = holder[at] if isinstance(holder, list) else getattr(holder, at)
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            yield _Site(place, node, _swapped(node.ops, index, _COMPARED[type(operator)]()), node)
    elif isinstance(node, ast.BinOp):
        yield _Site(place, node, _swapped(node, "op", _OPERATED[type(node.op)]()), node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _Site(place, node, _swapped(node, "op", other), node)
    elif isinstance(node, ast.UnaryOp):
        yield _Site(place, node, _setter(holder, at, node.operand), node)
    elif isinstance(node, ast.IfExp):
        negated = ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        yield _Site(place, node, _setter(holder, at, negated), node)
    elif isinstance(node, ast.Constant) and (new := _other(node)) is not None:
        # Of a number alone nobody can tell which it was: the change is shown by what it stands in.
        whole = above if isinstance(above, ast.expr | ast.Assign | ast.AnnAssign | ast.Return) else node
        yield _Site(place, node, _constant(node, new), whole)
        return
    yield from _within(node, place)


def _swapped(holder: Any, at: Any, new: ast.AST) -> Callable[[], None]:
    def apply() -> None:
        _setter(holder, at, new)()

    return apply


def _constant(node: ast.Constant, new: Any) -> Callable[[], None]:
    def apply() -> None:
        node.value = new

    return apply


def _other(node: ast.Constant) -> Any:
    value = node.value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}?"
    if isinstance(value, bytes):
        return value + b"?"
    return None
