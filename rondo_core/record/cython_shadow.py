"""Stands in for the module `cython` where it is not installed: nothing is compiled."""

from typing import TypeVar

Class = TypeVar("Class")

compiled = False


def no_gc_clear(cls: Class) -> Class:
    """Give the class: its objects are not addresses where nothing is compiled."""
    return cls
