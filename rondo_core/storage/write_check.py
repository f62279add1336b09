"""Look whether what a config names can be written, and change nothing."""

from __future__ import annotations

import os
from pathlib import Path

from rondo_core.errors import UsageError
from rondo_core.model.paths import is_directory, is_there


def check_directory(option: str, path: str | Path) -> None:
    """Look whether a directory can be written, or made where it is missing; nothing is changed.

    Raises: UsageError: it cannot; `option` names what it was given for.
    """
    place = Path(path).absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    _check_place(option, path, place, os.W_OK | os.X_OK)


def check_appendable(option: str, path: str | Path) -> None:
    """Look whether a file can be written, or made in its directory; nothing is changed. Raises: UsageError."""
    place = Path(path)
    if not os.path.lexists(place):
        _check_place(option, path, place.absolute().parent, os.W_OK | os.X_OK)
    elif not os.access(place, os.W_OK) or is_directory(place):
        what = "is a directory" if is_directory(place) else "cannot be written"
        raise UsageError(f"{option}: {path}: {what}; choose another")


def _check_place(option: str, given: str | Path, directory: Path, access: int) -> None:
    if not is_there(directory):
        raise UsageError(f"{option}: {given}: there is no {directory}; make it, or choose another")
    if not is_directory(directory):
        raise UsageError(f"{option}: {given}: {directory} is a file, not a directory; choose another")
    if not os.access(directory, access):
        raise UsageError(f"{option}: {given}: {directory} cannot be written; choose another")
