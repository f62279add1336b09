"""How a monitor's store is kept unless asked otherwise."""

from __future__ import annotations

from rondo_core import Schema

VMM_SCHEMAS = (
    Schema("counters", "counter", 16),
    Schema("gauges", "gauge", 8),
    Schema("summaries", "summary", 4),
)
