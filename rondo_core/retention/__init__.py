"""Bounds of a directory of stores: what is kept of the dead, and what is folded into the store of the ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.retention.bound import Bound as Bound
    from rondo_core.retention.listing import Listed as Listed
    from rondo_core.retention.listing import list_stores as list_stores
    from rondo_core.retention.listing import look_at_store as look_at_store
    from rondo_core.retention.pruning import Pruned as Pruned
    from rondo_core.retention.pruning import prune as prune

_HOME = {
    "Bound": "bound",
    "Listed": "listing",
    "Pruned": "pruning",
    "list_stores": "listing",
    "look_at_store": "listing",
    "prune": "pruning",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
