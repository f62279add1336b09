"""rondo's own file exporters pass the suite that it gives to others, read back with the standard library alone."""

import csv
import json

import pytest

from rondo_core.builtin import csv_lines, json_lines
from rondo_core.model.labels import canonical_labels, format_series
from rondo_core.testing import ExporterTests


class Lines:
    """A file; what a test sees of it."""

    def __init__(self, path, read):
        self.path, self.config, self._read = path, {"path": str(path)}, read

    def samples(self):
        with self.path.open(encoding="utf-8", newline="") as file:
            yield from self._read(file)

    def answer(self, how):
        raise AssertionError(f"a file cannot answer {how}")


def read_csv(file):
    for row in csv.DictReader(file):
        if row["kind"] != "summary":
            yield row["series"], int(row["timestamp_ns"]) // 10**6, float(row["value"])


class TestCsv(ExporterTests):
    """Comma-separated values."""

    plugin = csv_lines
    name = "csv"
    faults = ()

    @pytest.fixture
    def receiver(self, tmp_path):
        return Lines(tmp_path / "out.csv", read_csv)


def read_jsonl(file):
    for line in file:
        plain = json.loads(line)
        if plain["kind"] != "summary":
            series = format_series(plain["name"], canonical_labels(plain["labels"]))
            yield series, plain["timestamp_ns"] // 10**6, float(plain["value"])


class TestJsonl(ExporterTests):
    """JSON lines."""

    plugin = json_lines
    name = "jsonl"
    faults = ()

    @pytest.fixture
    def receiver(self, tmp_path):
        return Lines(tmp_path / "out.jsonl", read_jsonl)
