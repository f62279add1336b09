"""What a type checker makes of the public API: read by mypy in `make check`, and never run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from rondo_core import (
    Batch,
    Consolidator,
    Counter,
    CounterBatch,
    Gauge,
    GaugeBatch,
    ManualClock,
    Option,
    Part,
    Plugins,
    Range,
    Schema,
    Series,
    SeriesData,
    Store,
    StoreReader,
    StoresReader,
    Summary,
    Tier,
    open_store,
    read_schemas,
    watch_loop,
)
from rondo_core.export import Agent, Outcome, Runner, export_status
from rondo_core.maintain import Finding, Migration, check_store, migrate_store
from rondo_core.plugins import Config, read_config


def records(path: Path) -> None:
    """A store and its instruments."""
    clock = ManualClock(0)
    assert_type(clock(), int)
    with Store(path, [Schema("gauges", "gauge", 8, (Tier("1s", "10m"),))], clock=clock, tick_interval_s=1.0) as store:
        assert_type(store, Store)
        assert_type(store.counter("a_total", {"b": 1}, help="A.", unit="x", c="d"), Counter)
        gauge = store.gauge("g")
        assert_type(gauge, Gauge)
        assert_type(store.summary("s_seconds"), Summary)
        assert_type(store.batch([gauge]), GaugeBatch)
        assert_type(store.counter_batch([store.counter("c_total")]), CounterBatch)
        assert_type(store.tick(), None)
    watch_loop()
    assert_type(Store.for_process(path), Store)
    with open_store("rondo.toml") as opened:
        assert_type(opened, Store)
    assert_type(read_schemas(path), tuple[Schema, ...])
    watch_loop()


def reads(path: Path) -> None:
    """Readers and what they answer."""
    with StoreReader(path) as reader:
        for each in reader.query("g{a=b}", "15m", tier=0, fn="max"):
            assert_type(each, SeriesData)
            assert_type(each.series, Series)
            assert_type(each.timestamps_ns, NDArray[np.int64])
            assert_type(each.values, NDArray[np.float64])
        assert_type(reader.query("g")[:1]._repr_html_(), str)
        assert_type(reader.series("g"), list[Series])
    with StoresReader(path) as readers:
        assert_type([each.fn for each in readers.query("g", Range())], list[str])


def works(path: Path, config: Config) -> None:
    """Exports, agents, checks and migrations."""
    assert_type(read_config(path), Config)
    assert_type(Agent(path, config).run_once().failures, list[str])
    assert_type(check_store(path), list[Finding])
    assert_type(migrate_store(path, read_schemas(path), dry_run=True), Migration)
    assert_type(Option("url", help="where to", required=True).name, str)


def sends(runner: Runner, batch: Batch) -> None:
    """What an exporter is given, and what a runner says."""
    assert_type(runner.finish(0, 1.0), Outcome)
    assert_type(batch.parts, tuple[Part, ...])
    assert_type(batch.parts[0].timestamps_ns, NDArray[np.int64])
    assert_type(batch.n_samples, int)


def plugs(plugins: Plugins, consolidator: Consolidator) -> Iterator[Any]:
    """Plugins and what they bind."""
    assert_type(consolidator.name, str)
    yield plugins
    yield export_status
