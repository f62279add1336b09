"""What a store holds is in the files, once, whatever happens between; pandas and DuckDB read it as the README shows."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rondo_core import ManualClock, Plugins, Schema, Store, StoreReader, Tier
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.export.runner import Runner, open_runner
from rondo_core.plugins import EXPORTERS

S = 10**9
MIDNIGHT_NS = 19_700 * 86_400 * S
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def clock():
    return ManualClock(MIDNIGHT_NS - 20 * S)


@pytest.fixture
def path(tmp_path, clock):
    """Forty seconds of every kind around midnight, with gaps, in a store that is closed."""
    schemas = [Schema(f"{kind}s", kind, 8, TIERS) for kind in ("counter", "gauge", "summary")]
    schemas[1:1] = [Schema("slow", "gauge", 8, (Tier("10s", "1h"),), "slow")]
    with Store(tmp_path / "store.rondo", schemas, clock=clock) as store:
        record(store, clock, 40)
    return tmp_path / "store.rondo"


def record(store, clock, seconds):
    exits = [store.counter("vcpu_exits_total", reason=reason) for reason in ("io", 'a "b" é')]
    level, slow, wait = store.gauge("level"), store.gauge("slow"), store.summary("wait_seconds")
    for second in range(seconds):
        store.tick()
        exits[0].inc(second)
        exits[1].inc(2)
        slow.set(second)
        if second % 3:
            level.set(-second)
        for value in range(second % 4):
            wait.observe(value)
        clock.advance(1)


def export(path, lake, *, ended_run=1, max_samples=10_000, **config):
    with StoreReader(path) as reader:
        runner = open_runner(reader, "parquet", {"directory": str(lake), "instance": "vm1", **config})
        runner._sender._max_samples = max_samples
        return runner.finish(ended_run, 30)


def rows(lake):
    """Every row as (time, series, value or count), no file left out and none read by the exporter's own code."""
    found = []
    for file in sorted(lake.rglob("*.parquet")):
        for row in pq.ParquetFile(file).read().to_pylist():
            value = row["count"] if row["kind"] == "summary" else row["value"]
            found += [(row["time"].value, row["series"], value)]
    return sorted(found)


def stored(path):
    found = []
    with StoreReader(path) as reader:
        for series in reader.series():
            fn = "count" if series.kind == "summary" else "last"
            data = reader.query([series], tier=0, fn=fn)[0]
            found += zip(data.timestamps_ns.tolist(), [str(series)] * len(data), data.values.tolist(), strict=True)  # noqa: PD011 - no frame
    return sorted(found)


def counted(rows):
    """Leave out what the store's own query has no point for: a summary's bucket without an observation."""
    return [row for row in rows if not (row[1] == "wait_seconds" and row[2] == 0)]


def test_every_sample_is_there_once_by_day_and_instance(path, tmp_path):
    """Values and times are the store's own; a day is a folder, and an instance one below it."""
    lake = tmp_path / "lake"
    outcome = export(path, lake)
    assert outcome.samples == len(rows(lake))
    assert counted(rows(lake)) == counted(stored(path))
    files = sorted(str(file.relative_to(lake)) for file in lake.rglob("*.parquet"))
    assert files == [
        f"day=2023-12-08/instance=vm1/{MIDNIGHT_NS - 20 * S}.parquet",
        f"day=2023-12-09/instance=vm1/{MIDNIGHT_NS}.parquet",
    ]


def test_columns_are_what_they_are_said_to_be(path, tmp_path):
    """The README's table names every column; each kind fills its own and leaves the others null."""
    export(path, tmp_path / "lake")
    file = next((tmp_path / "lake").rglob("*.parquet"))
    table = pq.ParquetFile(file).read()
    documented = re.findall(
        r"`(\w+)`",
        "".join(re.findall(r"^\| (.*?) \|", README.partition("## Columns")[2].partition("##")[0], re.MULTILINE)),
    )
    assert documented == [*table.schema.names, "day", "instance"]
    for row in table.to_pylist():
        summary = row["kind"] == "summary"
        assert (row["value"] is None) == summary
        assert (row["count"] is None) == (row["sum"] is None) == (not summary)
        assert (row["min"] is None) == (row["max"] is None) == (not row["count"])
        inner = ",".join('{}="{}"'.format(key, value.replace('"', '\\"')) for key, value in row["labels"])
        assert row["series"] == row["name"] + (f"{{{inner}}}" if inner else "")
        assert row["interval_ns"] == (10 if row["name"] == "slow" else 1) * S
    assert [row["time"].value for row in table.to_pylist()] == sorted(row["time"].value for row in table.to_pylist())


@pytest.mark.parametrize("rows_per_file", [1, 50, 100_000])
def test_small_batches_become_files_of_the_size_asked_for(path, tmp_path, rows_per_file):
    """A file grows until it has its rows; nothing is lost or doubled at any bound."""
    lake = tmp_path / "lake"
    outcome = export(path, lake, max_samples=30, rows_per_file=rows_per_file)
    assert outcome.requests > 8
    assert counted(rows(lake)) == counted(stored(path))
    sizes = [pq.read_metadata(file).num_rows for file in lake.rglob("*.parquet")]
    assert max(sizes) < rows_per_file + 60 or len(sizes) == 2
    if rows_per_file == 50:
        assert len(sizes) < outcome.requests


@pytest.mark.parametrize("rows_per_file", [1, 100_000])
@pytest.mark.parametrize("again", [77, 10_000])
def test_what_is_sent_again_takes_the_place_of_what_was_there(path, tmp_path, rows_per_file, again):
    """From whichever cursor and in whichever batches a second export begins, each sample is there once."""
    lake = tmp_path / "lake"
    export(path, lake, max_samples=30, rows_per_file=rows_per_file)
    before = rows(lake)
    for back_s in (3, 40):
        newest = MIDNIGHT_NS // S + 20
        positions = {f"{name}.0": newest - back_s for name in ("counters", "gauges", "summaries", "rondo")}
        save_cursor(path, Cursor("parquet", {**positions, "slow.0": (newest - back_s) // 10}))
        export(path, lake, max_samples=again, rows_per_file=rows_per_file)
        assert rows(lake) == before


SENDER = """
import os, signal, sys
from pathlib import Path
from rondo_core import StoreReader
from rondo_core.export.runner import open_runner
from rondo_exporter_parquet import lake

fatal, count = int(sys.argv[3]), 0

def dying(call):
    def inner(*args, **options):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return inner

for name in ("mkdir", "replace", "unlink", "open"):
    setattr(Path, name, dying(getattr(Path, name)))
os.fsync, lake.pq.write_table = dying(os.fsync), dying(lake.pq.write_table)
with StoreReader(sys.argv[1]) as reader:
    runner = open_runner(reader, "parquet", {"directory": sys.argv[2], "instance": "vm1", "rows_per_file": 50})
    runner._sender._max_samples = 60
    runner.finish(1, 30)
"""


@pytest.mark.parametrize("fatal", [2, 4, 5, 6, 10, 17])
def test_a_kill_at_any_step_loses_and_doubles_nothing(path, tmp_path, fatal):
    """SIGKILL between any two steps of a write: the next export completes it, and no unfinished file stays."""
    lake = tmp_path / "lake"
    run = subprocess.run([sys.executable, "-c", SENDER, str(path), str(lake), str(fatal)], check=False)
    assert run.returncode == -signal.SIGKILL
    export(path, lake, rows_per_file=50, max_samples=60)
    assert counted(rows(lake)) == counted(stored(path))
    assert not list(lake.rglob("*.unfinished"))


def test_the_readme_is_read_by_duckdb_and_pandas(path, tmp_path, monkeypatch, capsys):
    """The README's query and its block of Python run as shown, and see every exit, of every instance."""
    for instance in ("vm1", "vm/2"):
        save_cursor(path, Cursor("parquet"))
        export(path, tmp_path / "lake", instance=instance)
    monkeypatch.chdir(tmp_path)
    query = README.partition("```sql\n")[2].partition("```")[0]
    found = duckdb.connect().execute(query).fetchall()
    assert {(instance, reason) for _, instance, reason, _ in found} == {
        (instance, reason) for instance in ("vm1", "vm/2") for reason in ("io", 'a "b" é')
    }
    assert {exits for _, _, reason, exits in found if reason != "io"} == {18.0}
    names = {}
    exec(README.partition("```python\n")[2].partition("```")[0], names)
    assert isinstance(names["lake"], pd.DataFrame)
    assert str(names["lake"]["time"].dtype).startswith("datetime64[ns, UTC")
    assert "io" in capsys.readouterr().out
    assert names["lake"]["value"].max() == sum(range(40))


def test_one_process_at_a_time_writes_an_instance(tmp_path):
    """A second exporter of the same instance is refused in words; of another it is not; close lets go."""

    def open_with(**config):
        plugins = Plugins(config={"parquet": {"directory": str(tmp_path / "lake"), **config}})
        plugins.load(EXPORTERS, ["parquet"])
        return plugins.open("rondo_exporter_open", "parquet")

    first, other = open_with(instance="a"), open_with(instance="b")
    with pytest.raises(UsageError, match="instance: another process writes instance=a in"):
        open_with(instance="a")
    first.close()
    first.close()
    open_with(instance="a").close()
    other.close()
    with pytest.raises(ExportError, match="was closed"):
        first.send(None)
    for config, said in (
        ({}, "parquet.instance: missing"),
        ({"instance": ""}, "instance: empty"),
        ({"instance": "a", "rows_per_file": 0}, "rows_per_file: 0"),
        ({"instance": "a", "compression": "rar"}, "parquet.compression: 'rar': choose from"),
        ({"instance": "a", "directory": "/proc/no"}, "directory: /proc/no: No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            open_with(**config)


def test_files_of_others_are_left_alone(path, tmp_path):
    """A file that this exporter did not write, or a damaged one, ends the export in words and keeps the cursor."""
    lake = tmp_path / "lake"
    export(path, lake, ended_run=0)
    file = max(lake.rglob("*.parquet"))
    for content, said in (
        (b"no parquet", "not a whole Parquet file"),
        (foreign(tmp_path), "not written by this exporter"),
    ):
        file.write_bytes(content)
        save_cursor(path, Cursor("parquet"))
        outcome = export(path, lake)
        assert outcome.stopped
        assert said in outcome.error
        assert file.read_bytes() == content


def foreign(tmp_path):
    pd.DataFrame({"time": [1]}).to_parquet(tmp_path / "foreign.parquet")
    return (tmp_path / "foreign.parquet").read_bytes()


def test_a_full_disk_is_tried_again(path, tmp_path):
    """What the disk does not take stays in the store: the error may pass, and nothing unfinished is left."""
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "day=2023-12-08").write_text("in the way")
    with StoreReader(path) as reader:
        batches = []

        class Keep:
            def send(self, batch):
                batches.append(batch)

            def close(self):
                pass

        Runner(reader, Keep(), "keep").finish(0, 0)
    plugins = Plugins(config={"parquet": {"directory": str(lake), "instance": "a"}})
    plugins.load(EXPORTERS, ["parquet"])
    exporter = plugins.open("rondo_exporter_open", "parquet")
    with pytest.raises(RetryableExportError, match="what was not written stays in the store"):
        exporter.send(batches[0])
    (lake / "day=2023-12-08").unlink()
    exporter.send(batches[0])
    exporter.close()
    assert rows(lake)


def test_the_plugin_is_cheap_to_import():
    """To list plugins imports neither pyarrow nor numpy."""
    code = "import sys, rondo_exporter_parquet.plugin\nprint(sorted({'pyarrow', 'numpy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
