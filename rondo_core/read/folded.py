"""Which stores of a directory count: not those that a store of the ended has taken in and that are still there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rondo_core.errors import StoreError, one_line
from rondo_core.storage.directory import read_meta
from rondo_core.storage.ended import ENDED_FILE, ended_names, read_ended
from rondo_core.storage.files import Folder, identity_at


def still_counted(stores: Sequence[Path], odd: list[str] | None = None) -> list[Path]:
    """Give the stores without those that a store of the ended has taken in, of which only the removal is left.

    Args: `odd`: takes what could not be read, a line each.
    """
    folded = _folded(ended_stores(stores), [] if odd is None else odd)
    return [path for path in stores if not _is_folded(path, folded)]


def ended_stores(stores: Sequence[Path]) -> list[Path]:
    """Give where stores of the ended may lie."""
    return [each / name for each in sorted({path.parent for path in stores}) for name in ended_names()]


def marks_of(ended: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Tell which stores of the ended lie at these paths now."""
    return [identity_at(path) for path in ended]


def _folded(ended: Sequence[Path], odd: list[str]) -> dict[tuple[Path, str], str]:
    """Give the id of each store, by directory and name, that was folded into one of these."""
    folded: dict[tuple[Path, str], str] = {}
    for path in ended:
        if not os.path.isfile(path / ENDED_FILE):  # noqa: PTH113 - it raises nothing
            continue
        try:
            with Folder(path, follow=False) as held:
                mark = read_ended(held)
        except StoreError as error:
            odd.append(one_line(error))
            continue
        for store_id, name in mark.members if mark else ():
            folded[path.parent, name] = store_id
    return folded


def _is_folded(path: Path, folded: Mapping[tuple[Path, str], str]) -> bool:
    """Say whether a store counts no more, since another has taken it in, and only its removal is left to be done."""
    store_id = folded.get((path.parent, path.name))
    if store_id is None:
        return False
    try:
        return read_meta(path).store_id == store_id
    except StoreError:
        return False
