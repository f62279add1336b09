"""`rondo export --dry-run`: what would be sent, what would not be taken and why, and nothing leaves or changes."""

import json

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import wall_ns

pytest.importorskip("rondo_exporter_prometheus", reason="the exporter prometheus is not installed")
TO = ("--to", "prometheus", "--url", "http://receiver.invalid/api/v1/write", "--match", "level")


def make(path, age_s, **labels):
    clock = ManualClock(wall_ns() // 10**9 * 10**9 - age_s * 10**9)
    with Store(path, [Schema("g", "gauge", 4, (Tier("1s", "1m"),))], clock=clock) as store:
        level = store.gauge("level", labels)
        for second in range(10):
            level.set(second)
            clock.advance(1)
    return path


def state(folder):
    return {path: (path.stat().st_ino, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_directory_is_told_by_reason_and_series_and_stays_as_it_was(tmp_path, capsys):
    """The status is 1 where something would not be taken, each store's series with its label; nothing is written."""
    make(tmp_path / "new.rondo", 60)
    make(tmp_path / "old.rondo", 7200)
    make(tmp_path / "wide.rondo", 60, **{f"l{n}": "x" for n in range(30)})
    before = state(tmp_path)
    limits = ("--dry-run", "-o", "receiver=mimir")
    assert run(["export", str(tmp_path), *TO, *limits]) == 1
    said = capsys.readouterr().out
    assert "prometheus: 30 samples in 6 requests" in said
    assert "nothing was sent" in said
    assert '10 of level{instance="old"}' in said
    assert run(["export", str(tmp_path), *TO, *limits, "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["samples"] == 30
    reasons = {each["reason"]: (each["series"].startswith("level{"), each["samples"]) for each in found["refusals"]}
    assert reasons == {
        "older than 1h before the receiver's newest sample": (True, 10),
        "more than 30 labels": (True, 10),
    }
    assert run(["export", str(tmp_path), *TO, *limits, "-o", "limits=window=3h,labels=40"]) == 0
    assert state(tmp_path) == before


def test_what_cannot_be_is_one_line(tmp_path, capsys):
    """A receiver or a limit that there is not, a store that there is not."""
    store = str(make(tmp_path / "s.rondo", 60))
    for words, wanted in ((("-o", "receiver=nobody"), "nobody"), (("-o", "limits=window=soon"), "soon")):
        assert run(["export", store, *TO, "--dry-run", *words]) == 2
        told = capsys.readouterr().err
        assert wanted in told
        assert len(told.splitlines()) == 1
    assert run(["export", str(tmp_path / "none.rondo"), *TO, "--dry-run"]) == 1
