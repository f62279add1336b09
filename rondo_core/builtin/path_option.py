"""The one option of the exporters of lines, and its check, which each of them has as its own hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo_core import Option, hookimpl


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name the one key."""
    from rondo_core.builtin.lines import PATH

    return [PATH]


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at the path. Raises: UsageError: it cannot be written."""
    from rondo_core.builtin.lines import check_path

    check_path(config["path"])
