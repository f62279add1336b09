"""Many processes, each with a store of its own below one directory, read together."""

import os
import subprocess
import sys

import pytest

from rondo_core import Store, StoreReader, StoresReader
from rondo_core.errors import StoreNotFoundError, UnknownSeriesError
from rondo_core.stores import open_reader


def test_processes_are_read_together_the_dead_included(tmp_path):
    """A forked child, a child that was killed and the parent: three stores, one query, a label tells them apart."""
    parent = Store.for_process(tmp_path)
    parent.counter("jobs_total").inc(1)
    child = os.fork()
    if child == 0:
        try:
            mine = Store.for_process(tmp_path)
            mine.counter("jobs_total").inc(2)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    code = (
        "import os, sys; from rondo_core import Store\n"
        "Store.for_process(sys.argv[1]).counter('jobs_total').inc(3)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with StoresReader(tmp_path) as reader:
        found = reader.query("jobs_total")
        assert sorted(data.values[-1] for data in found) == [1, 2, 3]
        names = [dict(data.series.labels)["rondo_store"] for data in found]
        assert len(set(names)) == 3
        assert {int(name.split("-")[0]) for name in names} >= {os.getpid(), child}
        (one,) = reader.query(f'jobs_total{{rondo_store="{names[0]}"}}')
        assert one.series == found[0].series
        assert reader.writer_pid() == os.getpid()
    parent.close()


def test_stores_that_cannot_be_opened_are_left_out_and_named(tmp_path, small_schemas):
    """One damaged store never hides the others."""
    for name in ("a", "deep/b", "c"):
        with Store(tmp_path / name, small_schemas) as store:
            store.gauge("g").set(1.0)
    os.truncate(tmp_path / "c" / "gauges.0.slab", 100)
    with StoresReader(tmp_path) as reader:
        assert set(reader.readers) == {"a", "deep/b"}
        assert len(reader.query("g", "5s")) == 2
        assert "gauges.0.slab" in reader.errors[0]
        with pytest.raises(UnknownSeriesError, match="nearest: g"):
            reader.query("gg")


def test_a_directory_without_a_store_is_refused(tmp_path):
    """No store anywhere below: an error that names the directory."""
    with pytest.raises(StoreNotFoundError, match="no store here or below"):
        StoresReader(tmp_path)
    with pytest.raises(StoreNotFoundError):
        open_reader(tmp_path)


def test_open_reader_takes_a_store_or_a_directory_of_them(tmp_path, small_schemas):
    """One function for both, as the command line needs it."""
    Store(tmp_path / "s", small_schemas).close()
    with open_reader(tmp_path / "s") as one, open_reader(tmp_path) as many:
        assert isinstance(one, StoreReader)
        assert isinstance(many, StoresReader)
