"""Commands that take a directory of stores, run as users run them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from rondo_core import Store

RONDO = [sys.executable, "-m", "rondo_cli"]


def rondo(*arguments, status=0):
    command = [*RONDO, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture
def stores(tmp_path, small_schemas):
    """Three closed stores, and one that is being written."""
    root = tmp_path / "stores"
    for name in ("a", "b", "c"):
        with Store(root / f"{name}.rondo", small_schemas, writer="job") as store:
            store.counter("c_total").inc(2)
    with Store(root / "live.rondo", small_schemas) as store:
        store.counter("c_total").inc(2)
        yield root


def total(root):
    points = json.loads(rondo("query", root, "c_total", "--fn", "last", "--format", "json").stdout)
    return sum(series["points"][-1][1] for series in points)


def test_ls_says_who_writes_each_store_or_how_that_ended(stores):
    """A line a store; sorted as asked; for programs the same as JSON."""
    lines = rondo("ls", stores).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["a.rondo", "b.rondo", "c.rondo", "live.rondo"]
    assert " closed " in lines[2]
    assert f" pid {os.getpid()} " in lines[5]
    assert lines[-1].startswith("4 stores, ")
    (first, *_, last) = json.loads(rondo("ls", stores, "--format", "json", "--sort", "age").stdout)
    assert (first["name"], first["pid"], first["ended"]) == ("live.rondo", os.getpid(), "")
    assert (last["name"], last["pid"], last["ended"], last["writer"]) == ("a.rondo", None, "closed", "job")
    assert last["bytes"] == sum(file.stat().st_size for file in (stores / "a.rondo").iterdir())
    assert last["series"] > 0


def test_ls_of_a_directory_of_programs_lists_the_stores_of_each(stores):
    """As below RONDO_DIR, where open_store makes a directory for each program; one level, and no link is followed."""
    (stores.parent / "link").symlink_to(stores)
    lines = rondo("ls", stores.parent).stdout.splitlines()
    names = [f"stores/{name}.rondo" for name in ("a", "b", "c", "live")]
    assert [line.split()[0] for line in lines[2:-1]] == names
    assert [each["name"] for each in json.loads(rondo("ls", stores.parent, "--format", "json").stdout)] == names


def test_prune_folds_what_is_beyond_the_bound(stores):
    """First said, then done; what the directory answers stays; the live store is not touched."""
    before = total(stores)
    said = rondo("prune", stores, "--keep-last", 1, "--dry-run").stdout
    assert said.splitlines() == ["a.rondo: would be folded", "b.rondo: would be folded", "2 would be folded, 0 waiting"]
    assert len(list(stores.iterdir())) == 4
    done = json.loads(rondo("prune", stores, "--keep-last", 1, "--format", "json").stdout)
    assert done["folded"] == ["a.rondo", "b.rondo"]
    assert sorted(path.name for path in stores.iterdir()) == ["c.rondo", "ended.rondo", "live.rondo"]
    assert total(stores) == before == 8
    assert "2 folded" in rondo("ls", stores).stdout


def test_prune_follows_the_config(stores, tmp_path):
    """Its [store] has the bound, its exporters are waited for."""
    config = tmp_path / "rondo.toml"
    config.write_text('[store]\npath = "stores/x"\nkeep_last = 0\n[exporters.csv]\npath = "o.csv"\n')
    said = rondo("prune", stores, "--config", config).stdout
    assert said.splitlines()[-1] == "0 folded, 3 waiting"
    assert "a.rondo: stays, until its exporters have sent it" in said


def test_prune_without_a_bound_is_refused(stores, tmp_path):
    """One line, and nothing is done."""
    assert "no bound; give --keep-last" in rondo("prune", stores, status=2).stderr
    assert "check the path" in rondo("prune", tmp_path / "none", "--keep-last", 1, status=1).stderr


def test_check_info_and_plan_take_a_directory(stores):
    """A line a store, and the worst status of all."""
    assert "a.rondo: sound" in rondo("check", stores).stdout
    info = rondo("info", stores).stdout.splitlines()
    assert len(info) == 4
    assert "(job)" in info[0]
    assert "writing now" in info[3]
    assert rondo("plan", stores).stdout.splitlines()[-1].startswith("4 stores: ")
    plans = json.loads(rondo("plan", stores, "--format", "json").stdout)
    assert sorted(plans) == ["a.rondo", "b.rondo", "c.rondo", "live.rondo"]
    os.truncate(stores / "b.rondo" / "gauges.0.slab", 100)
    said = rondo("check", stores, status=1).stdout
    assert "b.rondo: damage: gauges.0.slab" in said
    assert "c.rondo: sound" in said
    found = json.loads(rondo("check", stores, "--format", "json", status=1).stdout)
    assert not found["a.rondo"]
    assert found["b.rondo"]
    assert "b.rondo" in rondo("info", stores, status=1).stderr


def test_export_takes_a_directory_but_for_the_stores_of_the_ended(stores, tmp_path):
    """Each store once; what was folded was sent before, or is never."""
    rondo("prune", stores, "--keep-last", 2)
    table = tmp_path / "o.csv"
    said = rondo("export", stores, "--to", "csv", "-o", f"path={table}").stderr
    assert [line for line in said.splitlines() if line.endswith(":")] == ["b.rondo:", "c.rondo:", "live.rondo:"]
    assert all(f'c_total{{instance=""{name}""}}' in table.read_text() for name in ("b", "c"))
    refused = rondo("export", stores / "ended.rondo", "--to", "csv", "-o", f"path={table}", status=2).stderr
    assert "a store of the ended, whose parts were sent as they were" in refused


def test_a_dump_of_a_directory_has_each_sample_once(stores):
    """The stores of the ended in the place of their parts, also where these are still there; one header for all."""
    shutil.copytree(stores / "a.rondo", stores.parent / "a.rondo")
    rondo("prune", stores, "--keep-last", 2)
    (stores.parent / "a.rondo").rename(stores / "a.rondo")
    for _ in range(2):  # which keeps no cursor
        dumped = rondo("export", stores, "--to", "csv").stdout.splitlines()
        told = [
            name for name in ("a", "b", "c", "ended", "live") if any(f'instance=""{name}""' in line for line in dumped)
        ]
        assert told in (["b", "c", "ended"], ["b", "c", "ended", "live"])
        assert [line for line in dumped if line == dumped[0]] == dumped[:1]
    assert "c_total" in rondo("export", stores / "ended.rondo", "--to", "csv").stdout


def test_a_directory_is_sent_again_from_its_start(stores, tmp_path):
    """Each store's cursor is passed over, where that is asked for."""

    def sent(name, *more):
        rondo("export", stores, "--to", "csv", "-o", f"path={tmp_path / name}", *more)
        text = (tmp_path / name).read_text()
        return [store for store in ("a", "b", "c") if f'c_total{{instance=""{store}""}}' in text]

    assert sent("first.csv") == ["a", "b", "c"]
    assert sent("again.csv", "--from-start") == ["a", "b", "c"]
    table = tmp_path / "rest.csv"
    table.touch()
    assert sent("rest.csv") == []
