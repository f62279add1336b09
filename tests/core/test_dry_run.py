"""A dry run sees what an export would send, and leaves the store and its cursor as they were."""

import numpy as np
import pytest

from rondo_core import Plugins, Store, StoreReader, hookimpl
from rondo_core.errors import PluginError
from rondo_core.export import Forecast, dry_run, open_dry_run, open_runner
from rondo_core.export.cursor import Cursor, save_cursor


class Looking:
    """Keeps each batch that it is handed."""

    def __init__(self):
        self.batches = []

    def send(self, batch):
        self.batches.append(batch)
        return 0

    def forecast(self):
        return Forecast()

    def close(self):
        """Hold nothing."""


@pytest.fixture
def ended(path, small_schemas, clock):
    """Twenty seconds of a counter and a gauge; the gauge misses one of them."""
    with Store(path, small_schemas, clock=clock) as store:
        counter, gauge = store.counter("c_total"), store.gauge("g")
        for second in range(20):
            counter.inc()
            if second != 7:
                gauge.set(second)
            store.tick()
            clock.advance(1)
    return path


def files(path):
    return {each.name: (each.stat().st_ino, each.read_bytes()) for each in path.iterdir()}


def seen(batches):
    return {
        (series.name, stamp)
        for batch in batches
        for part in batch.parts
        for row, stamp in enumerate(part.timestamps_ns.tolist())
        for column, series in enumerate(part.series)
        if not np.isnan(part.statistics["last"][row, column])
    }


def test_hook_rondo_dry_run_open():
    """It is opened by name with its own table; a plugin without it is told from one that has it."""

    class Mine:
        @hookimpl
        def rondo_dry_run_open(self, config):
            return config["answer"]

    plugins = Plugins(config={"mine": {"answer": 42}})
    plugins.register(Mine(), "mine")
    assert plugins.implements("rondo_dry_run_open", "mine")
    assert plugins.open("rondo_dry_run_open", "mine") == 42
    assert not plugins.implements("rondo_exporter_open", "mine")
    with pytest.raises(PluginError, match="rondo_exporter_open"):
        plugins.open("rondo_exporter_open", "mine")


def test_it_sees_each_pending_sample_once_and_changes_no_file(ended):
    """All samples and the end of the run, with the labels that the stores of a directory get; no cursor, no lock."""
    before, into = files(ended), Looking()
    with StoreReader(ended) as reader:
        outcome = dry_run(
            reader,
            "x",
            {"max_samples": 10, "match": "{__name__=~'c_total|g'}"},
            into,
            ended_run=1,
            labels={"instance": "a"},
        )
        newest_ns = reader.newest_ns()
    assert files(ended) == before
    assert outcome.samples == len(seen(into.batches)) == 39
    assert outcome.requests == len(into.batches)
    *sent, end = into.batches
    assert {series.labels for batch in sent for part in batch.parts for series in part.series} == {(("instance", "a"),)}
    assert {series.name for series in end.ended} == {"c_total", "g"}
    assert end.ended_ns == newest_ns


def test_what_is_acknowledged_is_not_pending_unless_all_is_asked_for(ended):
    """It begins at the cursor, as an export does; from the start it sees all, and says the end of no run again."""
    with StoreReader(ended) as reader:
        first = reader.newest_ns() // 10**9 - 4
        positions = {f"{schema.name}.0": first for schema in reader.meta.schemas}
        save_cursor(reader.folder, Cursor("x", positions=positions, ended_run=1))
        pending, whole = Looking(), Looking()
        table = {"match": "{__name__=~'c_total|g'}"}
        dry_run(reader, "x", table, pending, ended_run=1)
        dry_run(reader, "x", table, whole, ended_run=1, from_start=True)
    assert len(seen(pending.batches)) == 10
    assert len(seen(whole.batches)) == 39
    assert [bool(batch.ended) for batch in pending.batches] == [False]
    assert whole.batches[-1].ended


def test_a_plugin_that_knows_no_limits_has_its_samples_counted(ended, tmp_path):
    """The exporter itself is not opened: its file is not made."""
    target = tmp_path / "lines.csv"
    table = {"plugin": "csv", "path": str(target)}
    into = open_dry_run("lines", table)
    with StoreReader(ended) as reader:
        outcome = dry_run(reader, "lines", table, into, ended_run=1)
        assert not target.exists()
        sent = open_runner(reader, "lines", table).finish(1, 60)
    found = into.forecast()
    assert (outcome.samples, found.refusals, found.sent_bytes) == (sent.samples, (), None)
    assert "csv" in found.notes[0]
