"""What rondo counts of itself: each count has its series, whatever else is counted."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import pytest

from rondo_core import Store, open_store
from rondo_core.clock import ManualClock
from rondo_core.errors import SchemaError
from rondo_core.export.outcome import Outcome
from rondo_core.model import SELF_SCHEMA, Schema
from rondo_core.model.schema import DEFAULT_SCHEMAS, SELF_SCHEMAS, check_schemas, with_room
from rondo_core.plugins import Config
from rondo_core.record import selfmetrics
from rondo_core.record.admission import CAUSES

EVERYTHING = Outcome(
    **{field.name: 1 for field in attrs.fields(Outcome) if field.type in {"int", "float"}}, error="", stopped=False
)
REASONS = ("late", "future", "taken_back", "forked", *CAUSES)


def own(store: Store) -> set[tuple[str, str]]:
    """Give rondo's own series, each as its name and the one value of its labels."""
    series = store.registry.by_schema[SELF_SCHEMA]
    return {(each.name, "".join(value for _, value in each.labels)) for each in series}


def count_everything(store: Store, exporters: int, plugins: int) -> None:
    """Have everything counted that there is to be counted: the unbounded before the bounded."""
    metrics = store.self_metrics
    for number in range(plugins):
        metrics.set_total(selfmetrics.PLUGIN_FAILURES, 1.0, plugin=f"plugin{number}")
    for number in range(exporters):
        EVERYTHING.publish(metrics.set_total, f"exporter{number}")
    metrics.set_total(selfmetrics.ROWS_LOST, 1)
    metrics.count([dict.fromkeys(REASONS, 1)], 1, [])
    metrics.flush(store.clock())


@pytest.mark.parametrize("exporters", [1, 2, 5])
def test_no_count_takes_the_series_of_another(tmp_path: Path, exporters: int, caplog: pytest.LogCaptureFixture) -> None:
    """With every reason, cause, exporter and thirty failing plugins each count of a store is there; none is left out."""
    schemas = with_room(DEFAULT_SCHEMAS, exporters)
    with Store(tmp_path / "s", schemas, clock=ManualClock(10**18)) as store:
        caplog.set_level(logging.WARNING)
        count_everything(store, exporters, 30)
        there = own(store)
        assert "left out" not in caplog.text
        assert {cause for name, cause in there if name == selfmetrics.INVALID} == set(CAUSES)
        assert {(selfmetrics.ROWS_LOST, ""), (selfmetrics.SERIES_REFUSED, "")} <= there
        counted = {name for name in selfmetrics.HELP if name.startswith("rondo_export")}
        assert {(name, f"exporter{number}") for name in counted for number in range(exporters)} <= there
        failures = store.view.query(f"{selfmetrics.PLUGIN_FAILURES}", fn="last")
        assert sum(float(each.values[-1]) for each in failures) == 30
        assert len(there) == sum(schema.max_series for schema in schemas if schema.name == SELF_SCHEMA)


def test_what_there_is_no_room_for_takes_none_of_what_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An exporter too many is said once, and so it is in later runs under other names; a store's own counts stay."""
    clock = ManualClock(10**18)
    for _ in range(2):
        with Store(tmp_path / "s", clock=clock) as store:
            count_everything(store, 3, 30)
            there = own(store)
            assert {cause for name, cause in there if name == selfmetrics.INVALID} == set(CAUSES)
            assert {name for name, label in there if label == "exporter0"} >= {selfmetrics.EXPORT_DOUBTFUL}
            assert not {label for _, label in there} & {"exporter1", "exporter2"}
    assert caplog.text.count("there is room for 1 exporters") == 2


def test_rondos_own_schema_is_as_it_is_on_disk_unless_it_is_named(tmp_path: Path) -> None:
    """A store of another rondo, or with room for more exporters, opens with the program's schemas; a named one is held:
    with more room the store grows, and with less it is an error.
    """
    (small,) = (schema._replace(max_series=16) for schema in SELF_SCHEMAS)
    gauges = Schema("gauges", "gauge")
    for name, schemas in {"older": [small, gauges], "larger": with_room([gauges], 4)}.items():
        Store(tmp_path / name, schemas).close()
        Store(tmp_path / name, [gauges]).close()
    Store(tmp_path / "older", check_schemas([gauges])).close()
    with pytest.raises(SchemaError, match="schema rondo: max_series"):
        Store(tmp_path / "larger", check_schemas([gauges]))


def test_a_config_of_several_exporters_has_room_for_them_with_its_own_schemas_too(tmp_path: Path) -> None:
    """`open_store` makes room for what each exporter is counted by, unless the schemas name rondo's own."""
    table = {name: {"plugin": "jsonl", "path": str(tmp_path / name)} for name in "abc"}
    config = Config(store={"path": str(tmp_path / "s")}, exporters=table)
    with open_store(config, schemas=[Schema("gauges", "gauge")]) as store:
        (mine,) = (schema for schema in store.meta.schemas if schema.name == SELF_SCHEMA)
        assert mine.max_series == 53
    (small,) = (schema._replace(max_series=16) for schema in SELF_SCHEMAS)
    named = config._replace(store={"path": str(tmp_path / "t")})
    with open_store(named, schemas=[small, Schema("gauges", "gauge")]) as store:
        assert small in store.meta.schemas
