"""What `/metrics/info` tells of a directory of stores is read from their headers, and follows what happens to them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.read import StoreReader
from rondo_web.metrics.info import info
from rondo_web.reading.limits import LARGE
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.workers import Workers

SCHEMAS = [Schema("gauges", "gauge", 4, (Tier("1s", "20s"),))]
LONG_AGO_NS = 10**18


def made(path: Path, *names: str) -> None:
    """Record gauges of these names, in a store whose files were last changed long ago."""
    with Store(path, SCHEMAS) as store:
        for name in names:
            store.gauge(name).set(1.0)
    for file in path.iterdir():
        os.utime(file, ns=(LONG_AGO_NS, LONG_AGO_NS))


def told(store: ServedStore) -> dict[str, list[str]]:
    """Give the series that are told of each store, but for rondo's own, and what was left out."""
    plain = json.loads("".join(info(store, None, LARGE).pieces))
    found: dict[str, list[str]] = {Path(each["path"]).name: [] for each in plain["stores"]}
    for each in plain["series"]:
        if not each["name"].startswith("rondo_"):
            found[each["labels"]["rondo_store"]].append(each["name"])
    assert plain["n_series"] == sum(each["series"] for store in plain["stores"] for each in store["schemas"])
    return found | {"left out": plain["left_out"]}


def test_info_of_many_stores_opens_none_that_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look reads no file of a store that stayed as it was; what came, went, changed or was replaced is seen."""
    for name in "abc":
        made(tmp_path / name, name)
    served = ServedStore(tmp_path, Workers())
    read: list[str] = []
    real = __import__("rondo_web.reading.descriptions", fromlist=["read_meta"]).read_meta
    monkeypatch.setattr("rondo_web.reading.descriptions.read_meta", lambda path: read.append(path.name) or real(path))
    monkeypatch.setattr(StoreReader, "__init__", lambda *_: pytest.fail("a store was opened whole"))
    assert told(served) == {"a": ["a"], "b": ["b"], "c": ["c"], "left out": []}
    assert told(served)["a"] == ["a"]
    assert sorted(read) == ["a", "b", "c"]
    shutil.rmtree(tmp_path / "b")
    shutil.rmtree(tmp_path / "c")
    made(tmp_path / "c", "other")
    made(tmp_path / "d", "d")
    with Store(tmp_path / "a") as store:
        store.gauge("more").set(1.0)
        assert told(served) == {"a": ["a", "more"], "c": ["other"], "d": ["d"], "left out": []}
    os.truncate(tmp_path / "d" / "meta", 3)
    found = told(served)
    assert "d" not in found
    assert [line.split(":")[0] for line in found["left out"]] == [str(tmp_path / "d" / "meta")]
    served.close()
