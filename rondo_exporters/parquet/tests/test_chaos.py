"""Agents that are killed, an object store that errs, answers late or too late, clocks apart: all is there, once."""

import contextlib
import os
import random
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rondo_exporter_parquet.checking import check
from rondo_exporter_parquet.compaction import compact
from rondo_exporter_parquet.place import open_place
from rondo_exporter_parquet.tools import LakeError, LakeTools

from rondo_core.errors import StoreNotFoundError, UsageError
from rondo_core.plugins.manager import EXPORTERS, Plugins

S = 10**9
MIDNIGHT_NS = 19_700 * 86_400 * S
ROUNDS = int(os.environ.get("RONDO_LAKE_ROUNDS", "4"))
N_STORES = 5


def test_nothing_is_lost_and_nothing_twice_through_kills_errors_and_late_answers(
    objects, tmp_path, make_stores, run_agent
):
    """Two agents by turns over the same stores, each killed somewhere, an object store that errs in every way, compaction
    between: once all is quiet the check finds every sample of every store, once, with its value."""
    chance = random.Random(int(os.environ.get("RONDO_LAKE_SEED", "1")))
    stores, place = tmp_path / "stores", open_place(objects.location)
    make_stores(stores)
    faults = ("error", "unanswered", "late", None, None, None, None, None)
    killed = 0
    for number in range(ROUNDS):
        objects.fault = lambda _: chance.choice(faults)
        status = run_agent(
            objects,
            "ab"[number % 2],
            stores,
            chance.randrange(1, 7),
            chance.choice(["killed before", "killed after", "late"]),
        )
        killed += status == -signal.SIGKILL
        objects.fault = None
        if chance.random() < 0.5:
            objects.carry_out_late()
        if chance.random() < 0.5:
            compact(place, rows_per_file=1000)
        if chance.random() < 0.3:
            objects.carry_out_late()
        assert check(place).missing == 0
    assert killed
    assert run_agent(objects, "c", stores) == 0
    objects.carry_out_late()
    compact(place, rows_per_file=1000)
    found = check(place, stores)
    assert not found.faults
    assert (found.twice, found.missing, found.different, found.pending) == (0, 0, 0, 0)
    assert (found.stores, found.instances, found.lives) == (N_STORES, N_STORES, N_STORES)
    assert found.rows == N_STORES * 45 * 2 + own_rows(stores)
    assert len(place.names("_lives", recursive=False)) <= 2 + 1  # a file a month
    tools = LakeTools(objects.location)
    [(n_rows,)] = tools.query("SELECT count(*) FROM samples WHERE name = 'level'")[1]
    assert n_rows == N_STORES * 45


def own_rows(stores):
    """How many samples of the stores' own metrics were sent."""
    from rondo_core.export import load_cursor

    return sum(load_cursor(path, "parquet").samples for path in stores.glob("*.rondo")) - N_STORES * 90


def open_exporter(where, **config):
    plugins = Plugins(config={"parquet": {"directory": str(where), "instance": "a", **config}})
    plugins.load(EXPORTERS, ["parquet"])
    return plugins.open("rondo_exporter_open", "parquet")


COMPACTOR = """
from rondo_exporter_parquet import compaction
from rondo_exporter_parquet.place import Place, open_place

Place.put, Place.remove, os.replace = dying(Place.put), dying(Place.remove), dying(os.replace)
compaction.compact(open_place(sys.argv[1]), rows_per_file=1000)
"""


@pytest.mark.parametrize("fatal", [2, 3, 6])
def test_a_compaction_that_is_killed_loses_and_doubles_nothing(tmp_path, fatal, small_files, killed_at):
    """SIGKILL before a file is written, before it has its name, and between the files that are removed."""
    lake, before = small_files(tmp_path)
    killed_at(fatal, COMPACTOR, lake)
    assert check(open_place(lake)).rows >= before
    done = compact(open_place(lake), rows_per_file=1000)
    found = check(open_place(lake))
    assert not found.faults
    assert (found.rows, found.files) == (before, done.after)
    assert not list(lake.rglob("*.unfinished"))


def test_compaction_leaves_few_files_and_those_of_a_busy_exporter(tmp_path, small_files):
    """Of a day few files stay, however many came; the folder that an exporter writes is left to it, and said."""
    lake, before = small_files(tmp_path)
    with contextlib.closing(open_exporter(lake, instance="fleet-0")):
        done = compact(open_place(lake), rows_per_file=100_000)
        assert done.busy == ["fleet-0"]
        assert list(lake.glob("day=*/from-fleet-0/*.parquet"))
    done = compact(open_place(lake), rows_per_file=100_000)
    assert done.after < done.before
    for day in lake.glob("day=*"):
        sizes = [pq.read_metadata(file).num_rows for file in day.glob("*/*.parquet")]
        assert len({size.bit_length() for size in sizes}) == len(sizes)  # at most one for each power of two
    assert check(open_place(lake)).rows == before
    assert compact(open_place(lake), rows_per_file=100_000).days == 0


def test_a_check_says_what_is_twice_missing_or_different(tmp_path, small_files):
    """A file that was copied, one that was removed, one whose values were changed: each is found, and named."""
    lake, _ = small_files(tmp_path)
    stores = tmp_path / "fleet-1"
    file = next(lake.glob("day=*/from-fleet-1/*.parquet"))
    whole = file.read_bytes()
    copy = file.with_name("copy.parquet")
    copy.write_bytes(whole)
    twice = check(open_place(lake))
    assert twice.twice == pq.read_metadata(file).num_rows
    assert "are there twice, such as of job-1; rondo lake compact --whole" in twice.faults[0]
    assert compact(open_place(lake), whole=True).same == twice.twice
    assert not check(open_place(lake), stores).faults
    [joined] = [each for each in lake.glob("day=*/compacted/*.parquet") if b"job-1" in each.read_bytes()][:1]
    whole, table = joined.read_bytes(), pq.ParquetFile(joined).read()
    place = table.schema.get_field_index("value")
    changed = table.set_column(place, table.schema.field("value"), pa.array([7.5] * table.num_rows))
    pq.write_table(changed, joined)
    different = check(open_place(lake), stores)
    assert different.different > 40
    assert "of its samples have other values in the lake" in different.faults[0]
    joined.unlink()
    missing = check(open_place(lake), stores)
    assert missing.missing > 40
    assert any("samples were acknowledged, and" in line for line in missing.faults)
    joined.write_bytes(whole[:-7])
    assert "not a whole Parquet file" in check(open_place(lake)).faults[0]


def test_what_is_no_lake_is_said_in_a_line(tmp_path, objects, small_files):
    """A directory that is not there, an empty one, a file system that nobody knows, an option that is none."""
    with pytest.raises(StoreNotFoundError, match="no lake there; check the path"):
        LakeTools(str(tmp_path / "none"))
    with pytest.raises(LakeError, match="no samples there"):
        LakeTools(objects.location).query("SELECT 1")
    with pytest.raises(UsageError, match="install what fsspec needs"):
        LakeTools("xyz://there")
    with pytest.raises(UsageError, match="s3://bucket: colour: no option"):
        LakeTools("s3://bucket?colour=red")
    with pytest.raises(UsageError, match="credentials in a URL"):
        LakeTools("s3://me:secret@bucket/x")
    lake, n_rows = small_files(tmp_path)
    tools = LakeTools(str(lake))
    assert not tools.is_sql("sum(from_total)")
    assert tools.is_sql(" -- why\n SELECT 1")
    with pytest.raises(UsageError, match="Binder Error: Referenced column"):
        tools.query("SELECT nothing FROM samples")
    (lake / "day=2023-12-09" / "x").mkdir()
    (lake / "day=2023-12-09" / "x" / "y.parquet").write_bytes(b"no parquet")
    assert tools.query("SELECT count(*) FROM samples")[1] == [(n_rows,)]
    assert [line.partition(": ")[0] for line in tools.errors] == ["day=2023-12-09/x/y.parquet"]
