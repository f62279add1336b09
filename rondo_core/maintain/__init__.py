"""Work on stores that nobody writes: check, repair, migrate, edit, plan, copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.maintain.check import check_store as check_store
    from rondo_core.maintain.config_check import check_config as check_config
    from rondo_core.maintain.copies import copy_store as copy_store
    from rondo_core.maintain.edit import Edit as Edit
    from rondo_core.maintain.edit import remove_series as remove_series
    from rondo_core.maintain.edit import rename_series as rename_series
    from rondo_core.maintain.migrate import Migration as Migration
    from rondo_core.maintain.migrate import TierChange as TierChange
    from rondo_core.maintain.migrate import migrate_store as migrate_store
    from rondo_core.maintain.plan import StorePlan as StorePlan
    from rondo_core.maintain.plan import outage_ns as outage_ns
    from rondo_core.maintain.plan import plan_store as plan_store
    from rondo_core.maintain.recover import Finding as Finding
    from rondo_core.maintain.repair import repair_store as repair_store

_HOME = {
    "Edit": "edit",
    "Finding": "recover",
    "Migration": "migrate",
    "StorePlan": "plan",
    "TierChange": "migrate",
    "check_config": "config_check",
    "check_store": "check",
    "copy_store": "copies",
    "migrate_store": "migrate",
    "outage_ns": "plan",
    "plan_store": "plan",
    "remove_series": "edit",
    "rename_series": "edit",
    "repair_store": "repair",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
