"""What a store holds is in the files, once, whatever happens between; pandas and DuckDB read it as the README shows."""

import contextlib
import math
import re
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rondo_exporter_parquet import files

from rondo_core import Batch, ManualClock, Plugins, Schema, Store, StoreReader, Tier
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_core.export.agent import Agent
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.export.runner import open_runner
from rondo_core.plugins.config_file import Config
from rondo_core.plugins.manager import EXPORTERS
from rondo_core.testing import make_part, read_batches

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
    for file in sorted(lake.glob("day=*/*/*.parquet")):
        for row in pq.ParquetFile(file).read().to_pylist():
            value = row["count"] if row["kind"] == "summary" else row["value"]
            found += [(pd.Timestamp(row["time"]).value, row["series"], value)]
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
    files = sorted(
        re.sub(r"-[0-9a-f]{16}\.", ".", str(file.relative_to(lake))) for file in lake.glob("day=*/*/*.parquet")
    )
    assert files == [
        f"day=2023-12-08/from-vm1/{MIDNIGHT_NS - 20 * S}.parquet",
        f"day=2023-12-09/from-vm1/{MIDNIGHT_NS}.parquet",
    ]


def test_columns_are_what_they_are_said_to_be(path, tmp_path):
    """The README's table names every column; each kind fills its own and leaves the others null."""
    export(path, tmp_path / "lake")
    file = next((tmp_path / "lake").glob("day=*/*/*.parquet"))
    table = pq.ParquetFile(file).read()
    documented = re.findall(
        r"`(\w+)`",
        "".join(re.findall(r"^\| (.*?) \|", README.partition("## Columns")[2].partition("##")[0], re.MULTILINE)),
    )
    assert documented == [*table.schema.names, "day"]
    for row in table.to_pylist():
        summary = row["kind"] == "summary"
        assert (row["value"] is None) == summary
        assert (row["count"] is None) == (row["sum"] is None) == (not summary)
        assert (row["min"] is None) == (row["max"] is None) == (not row["count"])
        inner = ",".join('{}="{}"'.format(key, value.replace('"', '\\"')) for key, value in row["labels"])
        assert row["series"] == row["name"] + (f"{{{inner}}}" if inner else "")
        assert row["interval_ns"] == (10 if row["name"] == "slow" else 1) * S
    order = [tuple(row[name] for name in ("name", "instance", "series", "time")) for row in table.to_pylist()]
    assert order == sorted(order)


@pytest.mark.parametrize("rows_per_file", [1, 50, 100_000])
def test_small_batches_become_files_of_the_size_asked_for(path, tmp_path, rows_per_file):
    """Small files are joined, none has more rows than asked for; nothing is lost or doubled at any bound."""
    lake = tmp_path / "lake"
    outcome = export(path, lake, max_samples=30, rows_per_file=rows_per_file)
    assert outcome.requests > 8
    assert counted(rows(lake)) == counted(stored(path))
    sizes = [pq.read_metadata(file).num_rows for file in lake.glob("day=*/*/*.parquet")]
    assert max(sizes) <= rows_per_file
    if rows_per_file > 1:
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
from pathlib import Path
from rondo_core import StoreReader
from rondo_core.export.runner import open_runner
from rondo_exporter_parquet import files

for name in ("mkdir", "unlink"):
    setattr(Path, name, dying(getattr(Path, name)))
os.fsync, os.replace, files.pq.write_table = dying(os.fsync), dying(os.replace), dying(files.pq.write_table)
with StoreReader(sys.argv[1]) as reader:
    runner = open_runner(reader, "parquet", {"directory": sys.argv[2], "instance": "vm1", "rows_per_file": int(sys.argv[3])})
    runner._sender._max_samples = 60
    runner.finish(1, 30)
"""


@pytest.mark.parametrize(
    ("rows_per_file", "fatal"),
    # Every step of a file that is cut into two, and of one that another is joined with.
    [(50, 2), (50, 4), (50, 5), (50, 6), (50, 10), (50, 17), *((400, step) for step in range(10, 18))],
)
def test_a_kill_at_any_step_loses_and_doubles_nothing(path, tmp_path, killed_at, rows_per_file, fatal):
    """SIGKILL between any two steps of a write: the next export completes it, and no unfinished file stays."""
    lake = tmp_path / "lake"
    killed_at(fatal, SENDER, path, lake, rows_per_file)
    export(path, lake, rows_per_file=rows_per_file, max_samples=60)
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
    assert str(names["lake"]["time"].dtype).startswith("datetime64[us, UTC")
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
        ({"instance": "a", "directory": "/proc/no"}, "directory: /proc/no: (No such file|/proc cannot be written)"),
    ):
        with pytest.raises(UsageError, match=said):
            open_with(**config)


def test_every_file_says_which_layout_it_has(path, tmp_path):
    """The version is in the footer; a file of a later one, or with times of another unit, ends the export in words."""
    lake = tmp_path / "lake"
    export(path, lake, ended_run=0)
    file = max(lake.glob("day=*/*/*.parquet"))
    assert pq.read_metadata(file).metadata[b"rondo.version"] == b"3"
    save_cursor(path, Cursor("parquet"))
    assert 'its times are in us; set timestamps = "us"' in export(path, lake, timestamps="ns").error
    table = pq.ParquetFile(file).read()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"rondo.version": b"4"}), file)
    assert "layout 4, and 3 is known; upgrade rondo-exporter-parquet" in export(path, lake).error


def test_times_are_microseconds_or_as_they_are(tmp_path):
    """Which every engine reads; with timestamps = "ns" they are not cut."""
    odd_ns = MIDNIGHT_NS + 1_000_001
    part = attrs.evolve(make_part("gauge", ["level"], [[1.0]]), timestamps_ns=np.array([odd_ns]))
    for unit, stamp_ns in (("us", odd_ns - 1), ("ns", odd_ns)):
        lake = open_lake(tmp_path / unit, timestamps=unit)
        lake.send(Batch((part,)))
        lake.close()
        assert [row[0] for row in rows(tmp_path / unit)] == [stamp_ns]


def test_a_store_is_told_apart_by_a_column_of_text(tmp_path):
    """The column is the label `instance`, which an agent gives each store, or else the option; never a number."""
    lake = open_lake(tmp_path, instance="007")
    own, labelled = make_part("gauge", ["level"], [[1.0]]), make_part("gauge", ["level"], [[2.0]])
    other = labelled.series[0]._replace(labels=(("instance", "0x10"),))
    lake.send(Batch((own, attrs.evolve(labelled, series=(other,)))))
    lake.close()
    file = next(tmp_path.glob("day=*/*/*.parquet"))
    assert pq.read_schema(file).field("instance").type == pa.string()
    found = pd.read_parquet(tmp_path)[["instance", "value"]].to_numpy().tolist()
    assert sorted(found) == [["007", 1.0], ["0x10", 2.0]]


def part_of(store, n_rows, value=1.0):
    """Rows of one store among many that recorded in the same minutes."""
    part = make_part("gauge", ["level"], [[value]] * n_rows)
    stamps = MIDNIGHT_NS + np.arange(n_rows) * S
    return attrs.evolve(part, timestamps_ns=stamps, series=(part.series[0]._replace(labels=(("instance", store),)),))


@pytest.mark.parametrize(
    ("n_stores", "n_rows", "rows_per_file"),
    [(120, 60, 1000), (40, 7, 100), (20, 600, 1000), (6, 2500, 1000), (50, 1, 16)],
)
def test_hundreds_of_stores_of_the_same_minutes_become_files_of_one_size(
    tmp_path, monkeypatch, n_stores, n_rows, rows_per_file
):
    """No file has more rows than asked for, few have less than half of that, and a row is written few times."""
    written, write = [], pq.write_table

    def counting(table, *args, **options):
        written.append(table.num_rows)
        write(table, *args, **options)

    monkeypatch.setattr(pq, "write_table", counting)
    lake = open_lake(tmp_path, rows_per_file=rows_per_file)
    for store in range(n_stores):
        lake.send(Batch((part_of(f"job{store}", n_rows),)))
    lake.close()
    sizes = [pq.read_metadata(file).num_rows for file in tmp_path.glob("day=*/*/*.parquet")]
    assert sum(sizes) == n_stores * n_rows == len(set(rows(tmp_path)))
    assert max(sizes) <= rows_per_file
    small = [size for size in sizes if 2 * size <= rows_per_file]
    assert len({size.bit_length() for size in small}) == len(small)
    assert sum(written) <= sum(sizes) * (1 + max(0, math.log2(rows_per_file / n_rows)))


def test_two_agents_at_once_fill_one_lake(tmp_path):
    """Each under a name of its own: every sample of every store is there once, under its store's instance."""
    agents, stored_rows = [], []
    for fleet in ("east", "west"):
        for number in range(6):
            clock = ManualClock(MIDNIGHT_NS - 20 * S)
            store_path = tmp_path / fleet / f"{fleet}{number}.rondo"
            store_path.parent.mkdir(exist_ok=True)
            with Store(store_path, [Schema("gauges", "gauge", 4, TIERS)], clock=clock) as store:
                for second in range(40):
                    store.gauge("level").set(second)
                    clock.advance(1)
            own = [(stamp, value) for stamp, series, value in stored(store_path) if series == "level"]
            stored_rows += [(f"{fleet}{number}", *each) for each in own]
        table = {"directory": str(tmp_path / "lake"), "instance": fleet, "rows_per_file": 60}
        config = Config(exporters={"parquet": table}, agent={"instance_label": "instance"})
        agents.append(Agent(tmp_path / fleet, config))
    threads = [threading.Thread(target=agent.run_once) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for agent in agents:
        agent.close()
    files = list((tmp_path / "lake").glob("day=*/*/*.parquet"))
    found = pd.concat([pd.read_parquet(file) for file in files])
    found = found[found["name"] == "level"]
    stamps = found["time"].astype("datetime64[ns, UTC]").astype("int64")
    assert sorted(zip(found["instance"], stamps, found["value"], strict=True)) == sorted(stored_rows)
    assert max(pq.read_metadata(file).num_rows for file in files) <= 60
    assert len(files) < 2 * len(stored_rows) / 60


@pytest.mark.parametrize("most_spans", [1, 256])
def test_what_is_the_same_is_not_written_again(tmp_path, monkeypatch, most_spans):
    """A batch that is sent again, whole or in parts, beside those of other stores, changes no file."""
    monkeypatch.setattr(files, "_MAX_SPANS", most_spans)
    lake = open_lake(tmp_path, rows_per_file=100)
    for store in ("a", "b", "c"):
        lake.send(Batch((part_of(store, 60),)))
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in tmp_path.glob("day=*/*/*.parquet")}
    for store, n_rows in (("b", 60), ("a", 17), ("c", 60)):
        lake.send(Batch((part_of(store, n_rows),)))
    assert before == {
        file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in tmp_path.glob("day=*/*/*.parquet")
    }
    lake.send(Batch((part_of("b", 61, 2.0),)))
    lake.close()
    found = rows(tmp_path)
    assert len(found) == len(set(found)) == 181
    assert sum(value == 2.0 for _, _, value in found) == 61


def test_files_of_version_1_are_brought_up_to_date(path, tmp_path):
    """An instance's own ones when it is next written, all of a lake by one command; no row is lost or doubled."""
    lake = tmp_path / "lake"
    for instance in ("vm1", "007"):
        save_cursor(path, Cursor("parquet"))
        export(path, lake, ended_run=0, instance=instance)
        for file in lake.rglob(f"from-{instance}/*.parquet"):
            make_version_1(file, instance)
    before = rows(lake)
    save_cursor(path, Cursor("parquet"))
    export(path, lake, ended_run=0)
    assert not list(lake.rglob("instance=vm1"))
    assert rows(lake) == before
    command = [sys.executable, "-m", "rondo_exporter_parquet", str(lake)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "007: 2 files\n"
    assert not list(lake.rglob("instance=*"))
    assert rows(lake) == before
    assert set(pd.read_parquet(lake)["instance"]) == {"vm1", "007"}


def make_version_1(file, instance):
    """Make a file what the first layout was: times in ns, the instance in the path only."""
    table = pq.ParquetFile(file).read()
    kept = {key: value for key, value in table.schema.metadata.items() if key.endswith(b"_ns")}
    table = table.set_column(0, "time", table["time"].cast(pa.timestamp("ns", "UTC"))).drop_columns(["instance"])
    old = file.parents[1] / f"instance={instance}" / file.name
    old.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata(kept), old)
    file.unlink()
    with contextlib.suppress(OSError):
        file.parent.rmdir()


def open_lake(directory, **config):
    plugins = Plugins(config={"parquet": {"directory": str(directory), "instance": "fleet", **config}})
    plugins.load(EXPORTERS, ["parquet"])
    return plugins.open("rondo_exporter_open", "parquet")


def test_files_of_others_are_left_alone(path, tmp_path):
    """A file that this exporter did not write, or a damaged one, ends the export in words and keeps the cursor."""
    lake = tmp_path / "lake"
    export(path, lake, ended_run=0)
    file = max(lake.glob("day=*/*/*.parquet"))
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
    batches = read_batches(path)
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


def test_the_table_of_lives_has_few_files_however_many_one_agent_sends(tmp_path):
    """Eight files of a life become one and eight of those one again; each life is in them once."""
    n_lives = 75
    for number in range(n_lives):
        clock = ManualClock(MIDNIGHT_NS)
        with Store(tmp_path / f"lives/job{number}.rondo", [Schema("c", "counter", 1, TIERS)], clock=clock) as store:
            store.counter("done_total").inc()
            clock.advance(2)
    lake = tmp_path / "lake"
    config = Config(
        exporters={"parquet": {"directory": str(lake), "instance": "host"}}, agent={"instance_label": "instance"}
    )
    agent = Agent(tmp_path / "lives", config)
    assert not agent.run_once().failures
    agent.close()
    sizes = sorted(pq.ParquetFile(file).metadata.num_rows for file in (lake / "_lives").glob("*.parquet"))
    assert sizes == [1, 1, 1, 8, 64]
    assert len(set(pd.read_parquet(lake / "_lives")["instance"])) == n_lives
