"""What cannot be exported is said before anything is made: no file, no directory, no store, no archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_core import Store, open_store
from rondo_core.errors import RondoError, UsageError
from rondo_core.export import Agent, Exporters, open_runner
from rondo_core.export.cursor import CursorLock
from rondo_core.plugins import read_config
from rondo_core.read import StoreReader

TARGETS = {"csv": "path", "jsonl": "path", "parquet": "directory"}
UNSENDABLE = {
    "tier": ("7", "tier 7: the store has tiers 0 to 2"),
    "match": ("{x=~", "match"),
    "fn": ("nothing", "fn"),
    "max_samples": ("0", "max_samples"),
}


def made(path: Path) -> Path:
    """Make a store with one series."""
    with Store(path) as store:
        store.gauge("g").set(1.0)
    return path


def table(exporter: str, target: Path) -> dict[str, str]:
    """Give a whole table for an exporter that makes something."""
    return {TARGETS[exporter]: str(target)} | ({"instance": "vm1"} if exporter == "parquet" else {})


@pytest.mark.parametrize("exporter", TARGETS)
@pytest.mark.parametrize("option", UNSENDABLE)
def test_what_a_store_cannot_be_sent_by_is_said_before_the_exporter_makes_anything(
    tmp_path: Path, exporter: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tier, a selector, a reading or a number that cannot be leaves nothing where the exporter would have written."""
    store, target = made(tmp_path / "s.rondo"), tmp_path / "out"
    value, what = UNSENDABLE[option]
    given = table(exporter, target) | {option: value}
    options = [word for key, text in given.items() for word in ("-o", f"{key}={text}")]
    assert run(["export", str(store), "--to", exporter, *options]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert said.count("\n") == 1
    assert not target.exists()


def test_a_store_that_another_process_exports_leaves_nothing_either(tmp_path: Path) -> None:
    """Whoever comes second is told so, and has made no file."""
    store, target = made(tmp_path / "s.rondo"), tmp_path / "out"
    with StoreReader(store) as reader:
        lock = CursorLock(reader.folder, "csv")
        with pytest.raises(RondoError, match="another process exports it"):
            open_runner(reader, "csv", {"path": str(target)})
        lock.release()
    assert not target.exists()


def test_one_wrong_table_keeps_the_others_from_being_opened_too(tmp_path: Path) -> None:
    """Of several exporters none makes anything where the table of one is wrong; no store and no archive is made."""
    file, target, archive = tmp_path / "rondo.toml", tmp_path / "out", tmp_path / "archive"
    file.write_text(
        f'[store]\npath = "{tmp_path}/new.rondo"\n[agent]\nafter = "archive"\narchive = "{archive}"\n'
        f'[exporters.csv]\npath = "{target}"\n[exporters.jsonl]\nnokey = "x"\n'
    )
    config = read_config(file)
    made(tmp_path / "stores" / "s.rondo")
    with pytest.raises(UsageError, match="nokey"):
        Agent(tmp_path / "stores", config)
    with Store(tmp_path / "s.rondo") as store, pytest.raises(UsageError, match="nokey"):
        Exporters(store, config.exporters)
    with pytest.raises(UsageError, match="nokey"), open_store(config):
        pass
    assert run(["vmm", "--config", str(file), "--duration", "1"]) == 2
    assert not any(path.exists() for path in (target, archive, tmp_path / "new.rondo"))
