"""Public names of a package, loaded at their first use: who only records pays for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def load_numpy() -> None:
    """Load numpy here, from few frames, before a module far below a command's does.

    CPython 3.11 keeps its frames in pieces of 16 KiB. Where numpy's modules call back and forth across the end of one,
    a piece is mapped and unmapped at each call: some 800 times, a twentieth of what a command takes to start.
    """
    import numpy  # noqa: F401, ICN001


def names_of(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package.

    Args: `home`: public name -> the module below the package that has it; "": the name is a module itself.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - what it is for
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return (
            getattr(import_module(f"{package}.{home[name]}"), name)
            if home[name]
            else import_module(f"{package}.{name}")
        )

    def __dir__() -> list[str]:  # noqa: N807 - what it is for
        return sorted(home)

    return __getattr__, __dir__
