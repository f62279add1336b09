"""The exporter passes the suite that rondo gives to all, read back with pyarrow."""

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rondo_exporter_parquet import plugin
from rondo_exporter_parquet.lake import Lake

from rondo_core import Batch
from rondo_core.errors import UsageError
from rondo_core.testing import ExporterTests, make_part


class Files:
    """A directory; what a reader of its files sees."""

    def __init__(self, directory):
        self.config, self._directory = {"directory": str(directory), "instance": "vm1"}, directory

    def samples(self):
        for path in self._directory.glob("day=*/from-vm1/*.parquet"):
            table = pq.ParquetFile(path).read(["series", "time", "value", "kind"])
            columns = (table["series"], table["time"].cast(pa.int64()), table["value"], table["kind"])
            for series, stamp_us, value, kind in zip(*(each.to_pylist() for each in columns), strict=True):
                if kind != "summary":
                    yield series, stamp_us // 1000, value

    def answer(self, how):
        raise AssertionError(f"a directory cannot answer {how}")


class TestConformance(ExporterTests):
    """Parquet files."""

    plugin = plugin
    name = "parquet"
    faults = ()

    @pytest.fixture
    def receiver(self, tmp_path):
        return Files(tmp_path / "lake")


def test_the_instance_is_kept_until_what_is_being_written_is_written(tmp_path, monkeypatch):
    """While a batch goes to the disk, a close from another thread does not let another process in; afterwards it does."""
    lake, put = Lake(tmp_path, "vm1", 1000, "none"), Lake._put
    closer = threading.Thread(target=lake.close)

    def put_while_closing(self, day, table):
        closer.start()
        closer.join(0.1)  # it ends only where close does not wait
        with pytest.raises(UsageError, match="another process writes"):
            Lake(tmp_path, "vm1", 1000, "none")
        put(self, day, table)

    monkeypatch.setattr(Lake, "_put", put_while_closing)
    lake.send(Batch((make_part("gauge", ["level"], [[1.0]]),)))
    closer.join()
    Lake(tmp_path, "vm1", 1000, "none").close()
