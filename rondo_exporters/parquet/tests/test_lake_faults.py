"""What befalls a lake beside the death of its agents: strangers' files, damage, other layouts, who meets whom, clocks."""

import contextlib
import shutil
import socket
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rondo_exporter_parquet.checking import check
from rondo_exporter_parquet.compaction import compact, expire
from rondo_exporter_parquet.place import Place, open_place
from rondo_exporter_parquet.source import LakeSource
from rondo_exporter_parquet.tools import LakeError, LakeTools

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import RondoError, StoreNotFoundError, UsageError
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config
from rondo_promql import evaluate_instant

S = 10**9
MIDNIGHT_NS = 19_700 * 86_400 * S


def rewritten(path, told):
    """Write a file anew as a later version of the exporter might: another layout, and a column more."""
    table, known = pq.ParquetFile(path).read(), dict(pq.read_metadata(path).metadata)
    table = table.append_column("novel", pa.array([1] * table.num_rows))
    pq.write_table(table.replace_schema_metadata(known | told), path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


DAMAGES = {
    "cut short": (
        lambda lake, file, life: cut(file),
        "180a74366dfa9a97.parquet: not a whole Parquet file",
    ),
    "empty": (
        lambda lake, file, life: file.write_bytes(b""),
        "not a whole Parquet file",
    ),
    "newer": (lambda lake, file, life: rewritten(file, {b"rondo.version": b"4"}), "layout 4, and 3 is known; upgrade"),
    "a stranger's": (
        lambda lake, file, life: pq.write_table(pa.table({"time": ["x"]}), file.with_name("theirs.parquet")),
        "theirs.parquet: not written by this exporter",
    ),
    "in no folder": (
        lambda lake, file, life: pq.write_table(pa.table({"time": ["x"]}), file.parent.parent / "theirs.parquet"),
        "day=2023-12-09/theirs.parquet: lies in no folder of a day; move it away",
    ),
    "in no day": (
        lambda lake, file, life: (
            (lake / "day=monday" / "x").mkdir(parents=True),
            pq.write_table(pa.table({"time": [1]}), lake / "day=monday" / "x" / "y.parquet"),
        ),
        "day=monday/x/y.parquet: lies in no folder of a day; move it away",
    ),
    "lives cut short": (lambda lake, file, life: cut(life), "not a whole Parquet file"),
    "lives newer": (
        lambda lake, file, life: rewritten(life, {b"rondo.lives": b"2"}),
        "lives of layout 2, and 1 is known",
    ),
    "lives of a stranger": (
        lambda lake, file, life: pq.write_table(pa.table({"instance": [1]}), life.with_name("theirs.parquet")),
        "_lives/theirs.parquet: no lives that this exporter wrote; move it away",
    ),
}


@pytest.fixture(scope="module")
def four_lives(tmp_path_factory, small_files):
    return small_files(tmp_path_factory.mktemp("lives"), 4)[0]


def count_of(source, query="sum(count_over_time(level[30d]))"):
    """How many samples of a gauge PromQL counts."""
    [(_, value)] = evaluate_instant(query, source, (MIDNIGHT_NS + 86_400 * S) // 10**6).plain()[:1]
    return int(value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_none_of_the_lakes_is_named_and_holds_up_no_other(four_lives, tmp_path, damage):
    """Damaged, of a later layout, or a stranger's: the check, a compaction, PromQL and SQL name it in a line, leave it as
    it is and go on with all others."""
    lake = tmp_path / "lake"
    shutil.copytree(four_lives, lake)
    spoil, said = DAMAGES[damage]
    file = next(lake.glob("day=2023-12-09/from-fleet-0/*.parquet"))
    spoil(lake, file, min(lake.glob("_lives/*.parquet")))
    before = {path: path.read_bytes() for path in lake.rglob("*.parquet")}
    found = check(open_place(lake))
    assert [line for line in found.faults if said in line], found.faults
    check(open_place(lake), four_lives.parent / "fleet-0")  # compares what is left
    source = LakeSource(open_place(lake))
    at_ms = (MIDNIGHT_NS + 8000 * S) // 10**6
    [(_, value)] = evaluate_instant('count_over_time(level{instance="job-1"}[1h])', source, at_ms).plain()
    assert value == 45
    if "lives" not in damage:
        assert [line for line in source.errors if said in line]
    tools = LakeTools(str(lake))
    assert tools.query("SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM lives)")[1] == [
        (found.rows, found.lives)
    ]
    assert [line for line in tools.errors if said in line]
    done = compact(open_place(lake), whole=True)
    assert [line for line in done.faults if said in line]
    assert [name for name in before if said.partition(":")[0] in str(name) and not name.exists()] == []
    assert len(list(lake.glob("day=2023-12-09/compacted/*.parquet"))) == 1
    again = check(open_place(lake))
    assert (again.rows, again.twice) == (found.rows, 0)


def test_a_lake_that_has_nothing_yet_or_lives_alone_answers(four_lives, tmp_path, objects):
    """PromQL gives nothing and says no error; SQL over what has no file says so; lives outlive the days of their samples."""
    for location in (str(tmp_path), objects.location):
        source = LakeTools(location).source()
        assert evaluate_instant("up", source, MIDNIGHT_NS // 10**6).plain() == []
        assert source.series() == []
        assert source.newest_ms() is None
        with pytest.raises(LakeError, match="no samples there; an exporter `parquet` brings them"):
            LakeTools(location).query("SELECT 1")
    shutil.copytree(four_lives, tmp_path / "lake")
    place = open_place((tmp_path / "lake").rename(tmp_path / "l'a*k[e]?"))
    assert len(LakeTools(place.location).query("SELECT DISTINCT day FROM samples")[1]) > 1
    assert expire(place, "2100-01-01")[0] > 1
    [(lives, samples)] = LakeTools(place.location).query(
        "SELECT (SELECT count(*) FROM lives), (SELECT count(*) FROM increases)"
    )[1]
    assert (lives, samples) == (4, 0)
    shutil.copytree(four_lives, tmp_path / "half")
    half = open_place(tmp_path / "half")
    assert expire(half, max(name for name in half.folders() if name.startswith("day=")).removeprefix("day="))[0]
    for number in range(4):  # what has expired is not missing, in a store either
        found = check(half, four_lives.parent / f"fleet-{number}")
        assert (found.stores, found.faults) == (1, [])
    with pytest.raises(StoreNotFoundError, match="no directory of stores; check the path"):
        check(place, tmp_path / "nowhere")


def test_a_bucket_that_is_not_there_is_no_empty_lake(objects):
    """A name that was misspelt: whatever is asked of it says so, and a check is not well."""
    tools = LakeTools(objects.location.replace("s3://lake-", "s3://lakes-"))
    for ask in (tools.source, tools.compact, tools.check, lambda: tools.query("SELECT 1"), lambda: tools.expire(1)):
        with pytest.raises(UsageError, match=r"^s3://lakes-\w+/ci: there is no lakes-\w+; check the name"):
            ask()


def test_an_object_store_that_is_not_there_is_named_in_a_line(objects):
    """Whichever is asked of it first: the lake's name, and what the client says, as an error of rondo's own."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    tools = LakeTools(f"s3://ci/lake?endpoint=127.0.0.1:{port}&scheme=http&attempts=1&timeout=5")
    for ask in (tools.source, tools.compact, tools.check, lambda: tools.query("SELECT 1"), lambda: tools.expire(1)):
        with pytest.raises(RondoError, match=r"^s3://ci/lake: When listing objects"):
            ask()


class Steps:
    """Calls back before each file of a lake is written or removed."""

    def __init__(self, monkeypatch, call):
        self.count, self._inside = 0, False
        for name in ("put", "remove"):
            monkeypatch.setattr(Place, name, self._watched(getattr(Place, name), call))

    def _watched(self, real, call):
        def inner(place, *args):
            if not self._inside:
                self.count += 1
                self._inside = True
                try:
                    call(self.count)
                finally:
                    self._inside = False
            return real(place, *args)

        return inner


def test_who_reads_while_a_compaction_goes_on_counts_each_sample_once(tmp_path, monkeypatch, small_files):
    """Before every step, PromQL answers as before; a reader that listed the files before the compaction reads on after it;
    the check finds nothing missing; SQL answers."""
    lake, rows = small_files(tmp_path, 3)
    place, tools = open_place(lake), LakeTools(str(lake))
    early = LakeSource(place)
    expected = count_of(early)

    def look(_):
        assert count_of(LakeSource(place)) == count_of(early) == expected
        assert check(place).missing == 0
        assert tools.query("SELECT count(*) FROM samples")[1][0][0] >= rows

    late = LakeSource(place)
    steps = Steps(monkeypatch, look)
    compact(place, whole=True)
    assert steps.count > 5
    monkeypatch.undo()
    assert count_of(late) == expected
    assert not check(place).faults


class Stop(BaseException):
    """The end of a process, as far as a lake can tell."""


def test_a_compaction_that_ends_before_any_of_its_steps_loses_and_doubles_nothing(four_lives, tmp_path, monkeypatch):
    """Each step of it is its last once: all is read meanwhile, and the next compaction leaves every sample once."""
    rows, fatal, ended = check(open_place(four_lives)).rows, 0, False
    while not ended:
        fatal += 1
        lake = tmp_path / f"lake-{fatal}"
        shutil.copytree(four_lives, lake)
        place = open_place(lake)
        expected = count_of(LakeSource(place))

        def stop(count, fatal=fatal):
            if count == fatal:
                raise Stop

        with monkeypatch.context() as patched:
            Steps(patched, stop)
            try:
                compact(place, whole=True)
                ended = True
            except Stop:
                pass
        assert count_of(LakeSource(place)) == expected
        compact(place, whole=True)
        found = check(place)
        assert (found.rows, found.faults) == (rows, [])
    assert fatal > 4


def test_a_day_that_expires_while_it_is_compacted_is_no_fault(tmp_path, monkeypatch, small_files):
    """Before any step: the compaction ends, other days stay whole, and the next expiry removes what it may have written."""
    lake, _ = small_files(tmp_path, 2)
    whole = tmp_path / "whole"
    lake.rename(whole)
    for step in (1, 2, 4):
        shutil.copytree(whole, lake)
        place = open_place(lake)
        with monkeypatch.context() as patched:
            Steps(patched, lambda count, step=step, place=place: expire(place, "2023-12-09") if count == step else None)
            compact(place, whole=True)
        expire(place, "2023-12-09")
        assert [path.name for path in lake.glob("day=*")] == ["day=2023-12-09"]
        found = check(place)
        assert (found.twice, found.missing) == (0, 0)
        shutil.rmtree(lake)


def test_two_compactions_of_an_object_store_at_once_leave_each_sample_once(
    objects, tmp_path, monkeypatch, make_stores, run_agent
):
    """One runs whole between two steps of the other: no error, no sample lost; what is there twice the next one joins."""
    make_stores(tmp_path / "stores", 2)
    assert run_agent(objects, "a", tmp_path / "stores") == 0
    place = open_place(objects.location)
    rows, expected = check(place).rows, count_of(LakeSource(place))
    assert len(place.names("day=2023-12-09")) > 2
    with monkeypatch.context() as patched:
        Steps(patched, lambda count: compact(open_place(objects.location), whole=True) if count == 1 else None)
        compact(place, rows_per_file=100)
    assert check(place).twice > 0
    assert count_of(LakeSource(place)) == expected
    compact(place, rows_per_file=100)
    found = check(place, tmp_path / "stores")
    assert (found.rows, found.faults) == (rows, [])


def test_a_prefix_that_is_forbidden_keeps_what_it_should_have_in_the_store(objects, tmp_path, monkeypatch, make_stores):
    """403 for lives: the agent names the lake, and sends that end again when it may; nothing is twice, nothing is lost.
    Parts of an upload that nobody completed are no file."""
    make_stores(tmp_path / "stores", 2)
    allowed = type(objects).__call__

    def forbidding(self, environ, start_response):
        if "/_lives/" in environ["PATH_INFO"]:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        return allowed(self, environ, start_response)

    config = Config(
        exporters={"parquet": {"directory": objects.location, "instance": "a"}}, agent={"instance_label": "instance"}
    )
    with contextlib.closing(Agent(tmp_path / "stores", config)) as agent:
        with monkeypatch.context() as patched:
            patched.setattr(type(objects), "__call__", forbidding)
            done = agent.run_once()
        assert (done.complete, len(done.failures)) == (0, 2)
        assert all("s3://" in line and "_lives" in line for line in done.failures), done.failures
        assert check(open_place(objects.location)).lives == 0
    with contextlib.closing(Agent(tmp_path / "stores", config)) as agent:
        assert agent.run_once().complete == 2
    bucket, _, prefix = open_place(objects.location).root.partition("/")
    boto3 = pytest.importorskip("boto3", reason="no boto3; moto brings it")
    client = boto3.client("s3", endpoint_url=objects.url, region_name="us-east-1")
    key = f"{prefix}/day=2023-12-09/arrived/1-half.parquet"
    started = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.upload_part(Bucket=bucket, Key=key, UploadId=started["UploadId"], PartNumber=1, Body=b"half")
    found = check(open_place(objects.location), tmp_path / "stores")
    assert (found.lives, found.faults) == (2, [])


def test_agents_whose_clocks_are_an_hour_apart_fill_one_lake(tmp_path, make_stores):
    """Each with stores of its own, living and ended, seen by a clock ahead and one behind; compaction between."""
    place, agents, stores = tmp_path / "lake", [], []
    clocks = [ManualClock(MIDNIGHT_NS - 1800 * S), ManualClock(MIDNIGHT_NS + 1800 * S)]
    for number, clock in enumerate(clocks):
        directory = tmp_path / f"host-{number}"
        make_stores(directory, 2)
        schemas = [Schema("gauges", "gauge", 4, (Tier("1s", "10m"),))]
        stores.append(Store(directory / f"live-{number}.rondo", schemas, clock=clock))
        (directory / "job-0.rondo").rename(directory / f"one-{number}.rondo")
        (directory / "job-1.rondo").rename(directory / f"two-{number}.rondo")
        table = {"directory": str(place), "instance": f"host-{number}"}
        config = Config(exporters={"parquet": table}, agent={"instance_label": "instance"})
        agents.append(Agent(directory, config, clock=clock))
    for _ in range(3):
        for clock, store, agent in zip(clocks, stores, agents, strict=True):
            for second in range(20):
                store.gauge("level").set(second)
                store.tick()
                clock.advance(1)
            assert not agent.run_once().failures
        assert not compact(open_place(place), rows_per_file=1000).faults
    for store, agent in zip(stores, agents, strict=True):
        store.close()
        assert agent.run_once().complete == 3
        agent.close()
    compact(open_place(place), rows_per_file=1000)
    for number in range(2):
        found = check(open_place(place), tmp_path / f"host-{number}")
        assert (found.faults, found.pending, found.instances, found.lives) == ([], 0, 6, 6)


def test_a_life_of_three_days_is_whole_in_any_time_zone(tmp_path, monkeypatch):
    """It lies in the days of UTC; sums over days add up to what the store says; once its first day has expired it is no
    fault that this is gone, and its row stays."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        (tmp_path / "stores").mkdir()
        clock = ManualClock(MIDNIGHT_NS - 3600 * S)
        with Store(
            tmp_path / "stores" / "long.rondo", [Schema("c", "counter", 4, (Tier("5m", "4d"),))], clock=clock
        ) as store:
            for _ in range(2 * 288 + 24):
                store.counter("done_total").inc(2)
                store.tick()
                clock.advance(300)
        table = {"directory": str(tmp_path / "lake"), "instance": "a"}
        with contextlib.closing(
            Agent(tmp_path / "stores", Config(exporters={"parquet": table}, agent={"instance_label": "instance"}))
        ) as agent:
            assert agent.run_once().complete == 1
        place = open_place(tmp_path / "lake")
        assert sorted(place.folders()) == ["_lives", *(f"day=2023-12-{day:02}" for day in (8, 9, 10, 11))]
        found = check(place, tmp_path / "stores")
        assert (found.faults, found.missing, found.lives) == ([], 0, 1)
        tools = LakeTools(str(tmp_path / "lake"))
        _, grown = tools.query(
            "SELECT time::DATE, sum(increase) FROM increases WHERE name = 'done_total' GROUP BY ALL ORDER BY ALL"
        )
        assert [value for _, value in grown] == [24, 576, 576, 24]
        at_ms = (MIDNIGHT_NS + 2 * 86_400 * S + 3600 * S) // 10**6
        [(_, value)] = evaluate_instant("increase(done_total[3d])", tools.source(), at_ms).plain()
        assert value == pytest.approx(1200, abs=2.5)  # up to the end of the last bucket, by extrapolation
        expire(place, "2023-12-09")
        found = check(place)
        assert (found.faults, found.days, found.lives) == ([], 3, 1)
    finally:
        monkeypatch.undo()
        time.tzset()
