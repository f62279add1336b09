"""What a store is: labels, schemas, statistics, the layout of a ring; pure, no file is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.model import layout as layout
    from rondo_core.model import prometheus as prometheus
    from rondo_core.model import sketch as sketch
    from rondo_core.model.consolidator import Consolidator as Consolidator
    from rondo_core.model.labels import Kind as Kind
    from rondo_core.model.labels import Labels as Labels
    from rondo_core.model.labels import Series as Series
    from rondo_core.model.labels import canonical_labels as canonical_labels
    from rondo_core.model.labels import check_metric_name as check_metric_name
    from rondo_core.model.labels import format_series as format_series
    from rondo_core.model.labels import overridden as overridden
    from rondo_core.model.layout import META_FILE as META_FILE
    from rondo_core.model.layout import REGISTRY_FILE as REGISTRY_FILE
    from rondo_core.model.layout import RUNS_FILE as RUNS_FILE
    from rondo_core.model.layout import store_name as store_name
    from rondo_core.model.overflow import OVERFLOW as OVERFLOW
    from rondo_core.model.paths import is_directory as is_directory
    from rondo_core.model.paths import is_there as is_there
    from rondo_core.model.paths import read_named as read_named
    from rondo_core.model.paths import read_secret as read_secret
    from rondo_core.model.paths import state_directory as state_directory
    from rondo_core.model.ranges import parse_range as parse_range
    from rondo_core.model.schema import DEFAULT_SCHEMAS as DEFAULT_SCHEMAS
    from rondo_core.model.schema import DEFAULT_TIERS as DEFAULT_TIERS
    from rondo_core.model.schema import OWN_SERIES as OWN_SERIES
    from rondo_core.model.schema import SELF_MATCH as SELF_MATCH
    from rondo_core.model.schema import SELF_SCHEMA as SELF_SCHEMA
    from rondo_core.model.schema import SELF_SCHEMAS as SELF_SCHEMAS
    from rondo_core.model.schema import Schema as Schema
    from rondo_core.model.schema import Tier as Tier
    from rondo_core.model.schema import check_schemas as check_schemas
    from rondo_core.model.schema import with_room as with_room
    from rondo_core.model.schema_file import read_schemas as read_schemas
    from rondo_core.model.schema_file import write_schemas as write_schemas
    from rondo_core.model.selector import Selector as Selector
    from rondo_core.model.selector import parse_selector as parse_selector

_HOME = {
    "Consolidator": "consolidator",
    "DEFAULT_SCHEMAS": "schema",
    "DEFAULT_TIERS": "schema",
    "Kind": "labels",
    "Labels": "labels",
    "META_FILE": "layout",
    "OVERFLOW": "overflow",
    "REGISTRY_FILE": "layout",
    "RUNS_FILE": "layout",
    "SELF_MATCH": "schema",
    "OWN_SERIES": "schema",
    "SELF_SCHEMA": "schema",
    "SELF_SCHEMAS": "schema",
    "Schema": "schema",
    "Selector": "selector",
    "Series": "labels",
    "Tier": "schema",
    "canonical_labels": "labels",
    "check_metric_name": "labels",
    "format_series": "labels",
    "layout": "",
    "is_directory": "paths",
    "is_there": "paths",
    "overridden": "labels",
    "read_named": "paths",
    "read_secret": "paths",
    "parse_range": "ranges",
    "prometheus": "",
    "parse_selector": "selector",
    "read_schemas": "schema_file",
    "sketch": "",
    "state_directory": "paths",
    "store_name": "layout",
    "check_schemas": "schema",
    "with_room": "schema",
    "write_schemas": "schema_file",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
