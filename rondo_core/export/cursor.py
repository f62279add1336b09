"""How far one exporter has been acknowledged: a small file in the store, replaced atomically, never in part."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Self

import attrs

from rondo_core.errors import StoreError
from rondo_core.files import read_bytes

VERSION = 1
MAX_BYTES = 1 << 20


@attrs.frozen
class Cursor:
    """What an exporter's receiver has acknowledged.

    Attributes:
        exporter: its name.
        positions: "schema.tier" -> the first bucket that was not acknowledged yet.
        ended_run: the last run whose end was acknowledged; 0 for none.
        samples: how many samples were acknowledged since the cursor was made.
    """

    exporter: str
    positions: dict[str, int] = attrs.field(factory=dict)
    ended_run: int = 0
    samples: int = 0

    def moved(self, positions: dict[str, int], samples: int, ended_run: int) -> Self:
        """Give the cursor after one more acknowledgement."""
        whole = {**self.positions, **positions}
        return attrs.evolve(
            self, positions=whole, samples=self.samples + samples, ended_run=max(self.ended_run, ended_run)
        )


def cursor_path(store: Path, exporter: str) -> Path:
    """Name the exporter's cursor in the store's directory."""
    return store / f"cursor_{exporter}.json"


def load_cursor(store: Path, exporter: str) -> Cursor:
    """Read the cursor; one that is missing, or that does not read, starts from the oldest bucket still there.

    Starting over sends again what was sent before, which receivers take as the same sample; it loses nothing.
    """
    with contextlib.suppress(
        StoreError, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    ):
        plain: dict[str, Any] = json.loads(read_bytes(cursor_path(store, exporter), MAX_BYTES))
        if plain["version"] == VERSION:
            positions = {str(key): int(value) for key, value in plain["positions"].items() if 0 <= value < 1 << 62}
            return Cursor(exporter, positions, int(plain["ended_run"]), int(plain["samples"]))
    return Cursor(exporter)


def save_cursor(store: Path, cursor: Cursor) -> None:
    """Replace the cursor's file, synced before it takes its name.

    Raises: StoreError: the directory cannot be written, or the disk has no room; the old cursor stays.
    """
    path = cursor_path(store, cursor.exporter)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    text = json.dumps({"version": VERSION, **attrs.asdict(cursor)}, indent=1) + "\n"
    try:
        with unfinished.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; the cursor stays where it was") from None
