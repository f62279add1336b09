"""Reading: rows, series, queries over stores and directories of stores, with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.read.budget import Budget as Budget
    from rondo_core.read.folded import still_counted as still_counted
    from rondo_core.read.newest_stores import ALL_STORES as ALL_STORES
    from rondo_core.read.newest_stores import NewestStores as NewestStores
    from rondo_core.read.newest_stores import StoreChoice as StoreChoice
    from rondo_core.read.query import QueryResult as QueryResult
    from rondo_core.read.query import SeriesData as SeriesData
    from rondo_core.read.source import StoreSource as StoreSource
    from rondo_core.read.source_histograms import MAX_BUCKET_SCALE as MAX_BUCKET_SCALE
    from rondo_core.read.source_histograms import Cells as Cells
    from rondo_core.read.source_names import Choice as Choice
    from rondo_core.read.source_notes import RememberedReads as RememberedReads
    from rondo_core.read.source_sketches import BucketTotals as BucketTotals
    from rondo_core.read.source_sketches import buckets_of as buckets_of
    from rondo_core.read.source_stores import StoresSource as StoresSource
    from rondo_core.read.store_reader import StoreReader as StoreReader
    from rondo_core.read.stores import LABEL as LABEL
    from rondo_core.read.stores import DirectoryScan as DirectoryScan
    from rondo_core.read.stores import StoresReader as StoresReader
    from rondo_core.read.stores import find_stores as find_stores
    from rondo_core.read.stores import holds_stores as holds_stores
    from rondo_core.read.stores import open_reader as open_reader
    from rondo_core.read.stores import open_source as open_source
    from rondo_core.read.stores import scan_directory as scan_directory
    from rondo_core.read.stores import store_labels as store_labels
    from rondo_core.read.unmatched import why_unmatched as why_unmatched

_HOME = {
    "BucketTotals": "source_sketches",
    "Cells": "source_histograms",
    "Choice": "source_names",
    "ALL_STORES": "newest_stores",
    "DirectoryScan": "stores",
    "NewestStores": "newest_stores",
    "StoreChoice": "newest_stores",
    "Budget": "budget",
    "LABEL": "stores",
    "MAX_BUCKET_SCALE": "source_histograms",
    "QueryResult": "query",
    "RememberedReads": "source_notes",
    "SeriesData": "query",
    "StoreReader": "store_reader",
    "StoreSource": "source",
    "StoresSource": "source_stores",
    "buckets_of": "source_sketches",
    "open_source": "stores",
    "StoresReader": "stores",
    "find_stores": "stores",
    "scan_directory": "stores",
    "holds_stores": "stores",
    "open_reader": "stores",
    "still_counted": "folded",
    "store_labels": "stores",
    "why_unmatched": "unmatched",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
