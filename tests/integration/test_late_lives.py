"""Lives that ended up to a day ago come whole into real receivers, through faults; or each sample has a counted reason.

`make soak-late` sends a thousand.
"""

import os
import shutil
import time
from pathlib import Path

import attrs
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export import Agent, dry_run, export_status, open_dry_run, open_runner, read_store_state
from rondo_core.plugins.config_file import Config
from rondo_core.storage import Folder

LIVES = int(os.environ.get("RONDO_LATE_LIVES", "12"))
DAY_S, HOUR_S = 86_400, 3600
BENCH = Path(__file__).parents[2] / "bench"
WALKS = 20


@pytest.fixture
def bench(monkeypatch):
    """Let a test import from bench/, which is no package."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def lives(bench, tmp_path):
    """Ended lives of 20 to 100 s, the last of them two minutes ago, the first a day, and the folder of their stores."""
    import ended_lives

    planned = ended_lives.plan(LIVES, int(time.time()) - 120, DAY_S - HOUR_S)
    folder = tmp_path / "lives"
    folder.mkdir()
    for life in planned:
        ended_lives.record(folder, life)
    return planned, folder


def agent_for(folder, table):
    import ended_lives

    table = {"match": ended_lives.MATCH, **table}
    return Agent(folder, Config(exporters={"late": table}, agent={"instance_label": "instance"}))


def counted(folder):
    """What became of the samples of each life, by its name, as the cursors have it."""
    found = {}
    for path in sorted(folder.glob("*.rondo")):
        statuses = export_status(path)
        found[path.stem] = statuses[0] if statuses else None
    return found


def n_samples(life):
    import ended_lives

    return (len(ended_lives.COUNTERS) + len(ended_lives.GAUGES)) * life.seconds


RECEIVERS = [
    pytest.param("VictoriaMetrics", marks=pytest.mark.victoria_metrics),
    pytest.param("Prometheus", marks=pytest.mark.prometheus),
    pytest.param("InfluxDB", marks=pytest.mark.influxdb),
]


@pytest.mark.parametrize("name", RECEIVERS)
def test_lives_of_a_day_ago_arrive_whole_through_faults(lives, tmp_path, faulty_proxy, name):
    """No connection, 500, 429, half a request, an answer that is lost, agents one after the other: every sample is
    there with its value, none is there that was not recorded, and every one is acknowledged or doubtful."""
    import ended_lives
    import receivers

    planned, folder = lives
    with receivers.running(getattr(receivers, name)(tmp_path / name)) as receiver:
        faults = ["pass", "refuse", "500", "pass", "429", "half", "unanswered", "pass", "pass", "unanswered"]
        proxy = faulty_proxy(receiver.port, [(fault, None) for fault in faults])
        path = receiver.exporter["url"].removeprefix(receiver.url)
        table = {**receiver.exporter, "url": proxy.url.removesuffix("/api/v1/write") + path, "timeout": "20s"}
        for _ in range(WALKS):
            agent = agent_for(folder, table)  # each is another one, that knows nothing but what the cursors say
            done = agent.run_once(last=True)
            agent.close()
            if done.complete == len(planned):
                break
        assert done.complete == len(planned), done
        assert proxy.finished()
        found = ended_lives.compare(planned, receiver.points(int(time.time()) + HOUR_S, 27 * HOUR_S))
    statuses = counted(folder)
    print(f"\n| {name} | {len(planned)} lives | {found} | {len(proxy.served)} requests |")
    assert (found.missing, found.different) == (0, 0)
    for life in planned:
        status = statuses[life.name]
        assert status.samples + status.doubtful == n_samples(life), status
        assert status.refused == status.overwritten == 0


def forecasts(folder, receiver):
    """What a dry run says of each life: how many of its samples would not be taken."""
    import ended_lives

    found = {}
    for path in sorted(folder.glob("*.rondo")):
        table = {"plugin": "prometheus", "url": "http://x.invalid", "receiver": receiver, "match": ended_lives.MATCH}
        into = open_dry_run("late", table)
        with Folder(path) as held, StoreReader(held) as reader:
            dry_run(reader, "late", table, into, ended_run=read_store_state(held).run, labels={"instance": path.stem})
        found[path.stem] = sum(each.samples for each in into.forecast().refusals)
    return found


@pytest.mark.prometheus
def test_what_comes_too_late_is_what_the_dry_run_had_said_and_is_kept_with_its_reason(lives, tmp_path):
    """A Prometheus without a window that has samples of now takes none of the lives that a dry run said it would not.

    Their stores stay, named with the receiver's words; all others arrive whole.
    """
    import ended_lives
    import receivers

    planned, folder = lives
    # Nobody's last second is as old as the window, to a few minutes: the test may take as long.
    planned = [life for life in planned if abs(time.time() - life.started_ns / 1e9 - HOUR_S) > 600]
    for path in folder.glob("*.rondo"):
        if path.stem not in {life.name for life in planned}:
            shutil.rmtree(path)
    said = forecasts(folder, "prometheus")
    now = tmp_path / "now"
    now.mkdir()
    present = attrs.evolve(ended_lives.plan(1, int(time.time()) - 2, 0, 20)[0], name="now")
    ended_lives.record(now, present)
    with receivers.running(receivers.Prometheus(tmp_path / "prometheus", window="")) as receiver:
        for place in (now, folder):
            agent = agent_for(place, receiver.exporter)
            done = agent.run_once()
            agent.close()
        points = receiver.points(int(time.time()) + HOUR_S, 27 * HOUR_S)
    whole = [life for life in planned if not said[life.name]]
    late = [life for life in planned if said[life.name]]
    assert whole
    assert late
    found = ended_lives.compare([*whole, present], points)
    assert (found.missing, found.different) == (0, 0)
    statuses = counted(folder)
    for life in planned:
        status = statuses[life.name]
        assert said[life.name] in {0, n_samples(life)}
        assert status.samples == n_samples(life) - said[life.name]
    kept = {life.name for life in late}
    assert done.complete == len(whole)
    assert len(done.failures) == len(kept)
    for name in kept:
        (line,) = [each for each in done.failures if f"{name}.rondo" in each]
        assert "out of bounds" in line
        assert "out of bounds" in statuses[name].error


@pytest.mark.victoria_metrics
def test_victoria_metrics_drops_without_a_word_what_the_dry_run_had_named(path, bench, tmp_path):
    """Of a series with more labels than it takes some are gone, although it answered 2xx; one label less is whole."""
    import receivers

    several = ManualClock((int(time.time()) - 60) * 10**9)
    with Store(path, [Schema("g", "gauge", 4, (Tier("1s", "1m"),))], clock=several) as store:
        for name, count in (("fits", 29), ("more", 30)):
            store.gauge(name, {f"l{n:02}": "x" for n in range(count)}).set(count)
        several.advance(2)
    with receivers.running(receivers.VictoriaMetrics(tmp_path / "vm")) as receiver:
        table = {**receiver.exporter, "receiver": "victoriametrics"}
        into = open_dry_run("late", table)
        with StoreReader(path) as reader:
            dry_run(reader, "late", table, into, ended_run=1)
            outcome = open_runner(reader, "late", table).finish(1, 60)
        points = receiver.points(int(time.time()) + 60, 600)
    assert (outcome.refused_samples, outcome.error) == (0, "")
    (refusal,) = into.forecast().refusals
    assert (refusal.samples, refusal.series[:4], "more than 30 labels" in refusal.reason) == (1, "more", True)
    stored = {dict(labels)["__name__"]: len(labels) for labels in points}
    assert stored["fits"] == 30
    assert stored.get("more", 0) < 31
