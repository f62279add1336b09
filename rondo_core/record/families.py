"""Families: series of one name, told apart by labels whose values are looked up where something is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn

from rondo_core.errors import LabelError, UsageError
from rondo_core.model.labels import canonical_labels, cut_value

if TYPE_CHECKING:
    Declare = Callable[[Mapping[str, str]], Any]


class Family:
    """Series of one name by the values of their labels; each has one handle, made when it is first asked for.

    It remembers the handles of series that there are, so no more than their schema has room for. Threads may share it.
    Attributes: `name`, of the metric; `names`, of its labels, in the order in which `labels` takes their values.
    """

    __slots__ = ("_children", "_declare", "_pick", "name", "names")

    def __init__(self, name: str, names: Any, declare: Declare) -> None:
        """Look up series of this name, which `declare` makes by their labels; `Store.counter` and its like do this."""
        self.name = name
        self.names = tuple(names)
        self._children: dict[tuple[str, ...], Any] = {}
        self._declare = declare
        self._pick = itemgetter(*self.names)

    def labels(self, *values: object, **named: object) -> Any:
        """Give the handle of the series with these values of its labels, in order or by name, looked up by their text.

        A value that is longer than 1024 bytes is cut there, and one that is no Unicode has ? where it is none.
        Raises: UsageError: values are missing, or too many, or of labels that the family has not; as `Store.counter`
        where the series is new.
        """
        if named:
            if values or len(named) != len(self.names):
                self._refuse(values, named)
            try:
                picked = self._pick(named)
            except KeyError:
                self._refuse(values, named)
            values = picked if len(named) > 1 else (picked,)
        for value in values:
            if type(value) is not str:
                values = tuple(
                    [
                        each if (kind := type(each)) is str else str(each) if kind is int else self._text(each)
                        for each in values
                    ]
                )
                break
        handle = self._children.get(values)  # type: ignore[arg-type]  # of texts, all of them
        return handle if handle is not None else self._declared(values)

    def _declared(self, texts: Any) -> Any:
        """Declare a series by the texts of its labels' values, and remember its handle."""
        if len(texts) != len(self.names):
            self._refuse(texts, {})
        cut = tuple([cut_value(text) for text in texts])
        wanted = dict(zip(self.names, cut, strict=True))
        handle = self._declare(wanted)
        if cut == texts and set(canonical_labels(wanted)) <= set(handle.series.labels):
            self._children[texts] = handle  # not so the one that stands for series without room
        return handle

    def _text(self, value: Any) -> str:
        """Write a label's value as text, that of a text's own class as it is. Raises: LabelError: not one value."""
        if value is None or type(value) is bool or type(value) is float:
            return str(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, (Mapping, list, tuple, set)):
            raise LabelError(
                f"{self.name}: labels: {value!r}: not one value; give each of {', '.join(self.names)} its own"
            )
        return str(value)

    def _refuse(self, values: Any, named: Any) -> NoReturn:
        given = ", ".join([*map(repr, values), *[f"{name}={value!r}" for name, value in named.items()]])
        names = ", ".join(self.names)
        raise UsageError(f"{self.name}: labels({given}): give each of its labels once, in order or by name: {names}")

    def __getattr__(self, name: str) -> NoReturn:
        """Say that a family records nothing by itself. Raises: AttributeError."""
        if name in {"_children", "_declare", "_pick", "name", "names"}:
            raise AttributeError("a family that its constructor has not made; ask the store for one")
        names = ", ".join(self.names or ())
        raise AttributeError(f"{self.name}: a family has no {name!r}; choose one of its series first: .labels({names})")

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled. Raises: TypeError."""
        raise TypeError(f"{self}: places in a store's own memory are not copied or pickled; ask the store for them")

    def __repr__(self) -> str:
        """Name the metric and its labels."""
        return f"<Family {self.name}{{{', '.join(self.names or ())}}}>"
