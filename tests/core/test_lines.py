"""The exporters csv and jsonl: every sample one line, once, also after a crash in the middle of a line."""

import csv
import json
import math
import os
import random
import struct
import subprocess
import sys

import numpy as np
import pytest

from rondo_core import Batch, Part, Plugins, Schema, Series, Store, StoreReader, Tier
from rondo_core.builtin import row_text
from rondo_core.errors import ExportError, RetryableExportError, UsageError
from rondo_core.export.cursor import Cursor, cursor_names, save_cursor
from rondo_core.export.drain import Drain
from rondo_core.export.runner import Runner, open_runner
from rondo_core.plugins.manager import EXPORTERS
from rondo_core.testing import read_batches

FORMATS = ("csv", "jsonl")
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))


@pytest.fixture
def recorded(path, clock):
    """Twenty-five seconds of every kind, one gauge in ten-second buckets, in a store that is closed."""
    schemas = [Schema("slow", "gauge", 8, (Tier("10s", "1h"),), "slow")]
    schemas += [Schema(f"{kind}s", kind, 8, TIERS) for kind in ("counter", "gauge", "summary")]
    with Store(path, schemas, clock=clock) as store:
        odd = store.gauge("odd", text='a "b", c\\d\r é\nx')
        counter, wait, slow = store.counter("c_total"), store.summary("wait_seconds"), store.gauge("slow")
        for second in range(25):
            store.tick()
            odd.set(float("inf") if second == 3 else second / 3)
            slow.set(second)
            if second % 3:
                counter.inc(second)
            for value in range(second % 3):
                wait.observe(value + 0.1)
            clock.advance(1)
    return path


def export(store, name, file, max_samples=10_000):
    with StoreReader(store) as reader:
        runner = open_runner(reader, name, {"path": str(file)}, max_samples=max_samples)
        return runner.finish(1, 30)


def open_with(name, **config):
    plugins = Plugins(config={name: config})
    plugins.load(EXPORTERS, [name])
    return plugins.open("rondo_exporter_open", name)


def read(name, file):
    """Every line as (time, series, value or the summary's four), by the standard library's own readers."""
    found = []
    if name == "csv":
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                values = [float(row[key]) if row[key] else None for key in ("value", "count", "sum", "min", "max")]
                found.append((int(row["timestamp_ns"]), row["series"], values))
        return found
    for row in map(json.loads, file.read_text().splitlines()):
        inner = ",".join(f"{key}={value}" for key, value in row["labels"].items())
        values = [row.get(key) for key in ("value", "count", "sum", "min", "max")]
        found.append((row["timestamp_ns"], f"{row['name']}{{{inner}}}" if inner else row["name"], values))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_sample_is_a_line_in_time_order_with_its_exact_value(recorded, tmp_path, name):
    """Counters and gauges have a value, summaries what the bucket saw; nothing else is there, and nothing twice."""
    outcome = export(recorded, name, tmp_path / "out")
    lines = read(name, tmp_path / "out")
    assert len(lines) == outcome.samples == len({line[:2] for line in lines})
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)
    with StoreReader(recorded) as reader:
        for series in reader.series():
            mine = {at: values for at, who, values in lines if who.partition("{")[0] == series.name}
            for fn, index in (
                (("last", 0),) if series.kind != "summary" else (("count", 1), ("sum", 2), ("min", 3), ("max", 4))
            ):
                data = reader.query([series], tier=0, fn=fn)[0]
                for at, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                    told = mine[at][index]
                    assert (float(told) if told is not None else 0) == value


def test_lines_read_as_they_are_said_to(recorded, tmp_path):
    """The names of the columns, and the fields of both kinds of objects, an infinity as a text."""
    export(recorded, "csv", tmp_path / "out.csv")
    first, second = (tmp_path / "out.csv").read_text().splitlines()[:2]
    assert first == "timestamp_ns,series,kind,value,count,sum,min,max"
    assert second.split(",")[0] == "1700000000000000000"
    save_cursor(recorded, Cursor("jsonl"))
    export(recorded, "jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {
        ("timestamp_ns", "name", "labels", "kind", "value"),
        ("timestamp_ns", "name", "labels", "kind", "count", "sum", "min", "max"),
    }
    assert [row["value"] for row in rows if row["name"] == "odd"][3] == "inf"
    assert next(row for row in rows if row["name"] == "odd")["labels"] == {"text": 'a "b", c\\d\r é\nx'}


@pytest.mark.parametrize("name", FORMATS)
def test_a_crash_at_any_byte_of_a_batch_loses_and_doubles_no_line(recorded, tmp_path, name):
    """Cut anywhere in the last batch, the file is whole again after that batch was sent again."""
    batches = read_batches(recorded, max_samples=60)
    assert len(batches) > 2
    file = tmp_path / "out"

    def send(sent):
        exporter = open_with(name, path=str(file))
        for each in sent:
            exporter.send(each)
        exporter.close()

    send(batches[:-1])
    begun = file.stat().st_size
    send(batches[-1:])
    whole = file.read_bytes()
    for size in range(begun, len(whole), 7):
        file.write_bytes(whole[:size])
        send(batches[-1:])
        assert file.read_bytes() == whole
    header = whole.index(b"\n") if name == "csv" else 10
    for size in range(header):
        file.write_bytes(whole[:size])
        send(batches)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_batch_cut_otherwise_after_a_crash_is_found_all_the_same(recorded, tmp_path, name):
    """What was written and not acknowledged is left out also where it comes in smaller or larger batches."""
    file = tmp_path / "out"
    export(recorded, name, file)
    whole = sorted(file.read_bytes().split(b"\n"))
    for max_samples in (20, 33, 10_000):
        save_cursor(recorded, Cursor(name))
        export(recorded, name, file, max_samples)
        assert sorted(file.read_bytes().split(b"\n")) == whole


@pytest.mark.parametrize("name", FORMATS)
def test_only_this_exporters_files_are_appended_to(recorded, tmp_path, name):
    """What is another's is not touched; nor is what is no file, or what another process appends to."""
    file = tmp_path / "out"
    for content in (b"notes\n", b"no end", b'{"a": 1}\n', b"timestamp_ns,other\n"):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=r"path: .*out: does not begin as"):
            open_with(name, path=str(file))
        assert file.read_bytes() == content
    file.unlink()
    export(recorded, name, file)
    with file.open("ab") as more:
        more.write(b"a line of another's\n")
    with pytest.raises(UsageError, match="holds lines that are not this exporter's"):
        open_with(name, path=str(file))
    file.unlink()
    first = open_with(name, path=str(file))
    with pytest.raises(UsageError, match="another process appends to it"):
        open_with(name, path=str(file))
    first.close()
    first.close()
    with pytest.raises(ExportError, match="was closed"):
        first.send(Batch(()))
    os.mkfifo(tmp_path / "fifo")
    for bad, said in (
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path, "Is a directory"),
        ("/no/such", "No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            open_with(name, path=str(bad))


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_no_half_batch(recorded, tmp_path, name, monkeypatch):
    """What the disk took of a batch that it did not take whole is taken back; the batch may be sent again."""
    from rondo_core.builtin import lines

    file, real, calls = tmp_path / "out", os.write, []

    def write(descriptor, data):
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: max(1, len(data) // 2)])

    exporter = open_with(name, path=str(file))
    with StoreReader(recorded) as reader:
        monkeypatch.setattr(lines.os, "write", write)
        runner = Runner(reader, exporter, name)
        with pytest.raises(RetryableExportError, match="No space left on device; what was not written stays"):
            exporter.send(Drain(reader).next({}, 1 << 62, 10_000).batch)
        assert file.stat().st_size == 0
        monkeypatch.setattr(lines.os, "write", real)
        outcome = runner.finish(1, 10)
    assert len(read(name, file)) == outcome.samples


def test_the_command_prints_lines_and_nothing_else(recorded):
    """`rondo export STORE --to csv` is a file of its own on standard output; the count is on standard error."""
    command = [sys.executable, "-m", "rondo_cli", "export", str(recorded), "--to"]
    said = subprocess.run([*command, "csv"], capture_output=True, check=True)
    assert said.stdout.startswith(b"timestamp_ns,series,kind,value,count,sum,min,max\n1700000000000000000,")
    assert b"samples sent" in said.stderr
    said = subprocess.run([*command, "jsonl"], capture_output=True, check=True)
    assert all(json.loads(line) for line in said.stdout.splitlines())
    assert said.stdout.count(b"\n") > 50


def test_a_reader_that_went_away_ends_the_export(recorded):
    """A closed pipe is an error in words, and what it did not take stays to be sent."""
    command = [sys.executable, "-m", "rondo_cli", "export", str(recorded), "--to", "csv"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    said = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert said.returncode == 1
    assert "standard output: Broken pipe" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_of_another_value_is_no_sample_that_is_there(tmp_path, clock, name):
    """Two stores whose series have the same names, into one file: every sample of both is a line, and none is left out."""
    for path, value in (("a", 1.0), ("b", 2.0)):
        with Store(tmp_path / path, [Schema("g", "gauge", 2)], clock=clock) as store:
            store.gauge("level").set(value)
        export(tmp_path / path, name, tmp_path / "out")
    assert [values[0] for _, who, values in read(name, tmp_path / "out") if who == "level"] == [1.0, 2.0]


def test_standard_output_gets_all_of_it_each_time(tmp_path, recorded):
    """A dump keeps no cursor; what goes to a file is sent once, unless it is asked for from the start."""
    command = [sys.executable, "-m", "rondo_cli", "export", str(recorded), "--to", "csv"]

    def lines(*more):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = lines()
    assert len(first) > 2
    assert lines() == first
    assert lines("--match", '{__name__=~"rondo_.*"}') != first
    assert cursor_names(recorded) == []
    lines("-o", f"path={tmp_path / 'once'}")
    lines("-o", f"path={tmp_path / 'again'}")
    lines("-o", f"path={tmp_path / 'whole'}", "--from-start")
    assert (tmp_path / "once").read_text().splitlines() == first
    assert (tmp_path / "again").read_text() == ""
    assert (tmp_path / "whole").read_text().splitlines() == first


@pytest.mark.parametrize("orjson", ["with orjson", "without orjson"])
@pytest.mark.parametrize("name", FORMATS)
def test_rows_of_any_shape_are_the_lines_of_their_samples(tmp_path, name, orjson, monkeypatch):
    """Holes, whole and other numbers, infinities, both zeroes, names full of marks: each sample, in order, to the bit; and
    each number as Python writes it, whatever library does so: a line that is sent again is known by its text."""
    if orjson == "without orjson":
        monkeypatch.setattr(row_text, "_orjson", lambda: None)
    chance, file, want = random.Random(7), tmp_path / "out", []
    kinds = {"whole": lambda: float(chance.randrange(-9, 10**6)), "any": lambda: chance.gauss(0, 1e9)}
    odd = [
        math.inf,
        -math.inf,
        0.0,
        -0.0,
        1e15,
        1e16,
        -1e17,
        5e-324,
        1e300,
        2.0**53,
        1e-4,
        -9.999e-5,
        2.5e-7,
        0.1,
        1e22,
    ]
    kinds["odd"] = lambda: chance.choice(odd)
    kinds["bits"] = lambda: struct.unpack(
        "<d", struct.pack("<Q", chance.randrange(0x7FF) << 52 | chance.getrandbits(52))
    )[0]
    exporter = open_with(name, path=str(file))
    for start in range(0, 160, 4):
        parts = []
        for number in range(chance.randrange(1, 4)):
            kind = chance.choice(("counter", "gauge", "summary"))
            shape = chance.randrange(1, 5), chance.randrange(1, 4)
            labels = [(("n", f"{start}.{number}.{n}"), ("text", chance.choice(NAMES))) for n in range(shape[1])]
            series = tuple(Series(f"m{number}", label, kind, kind, n) for n, label in enumerate(labels))
            draw, holes = kinds[chance.choice([*kinds])], chance.choice((0, 0.4))
            names = ("count", "sum", "min", "max") if kind == "summary" else ("last",)
            statistics = {each: np.array([[draw() for _ in series] for _ in range(shape[0])]) for each in names}
            if kind == "summary":
                statistics["count"] = np.array([[chance.randrange(3) for _ in series] for _ in range(shape[0])], float)
            statistics[names[0]][np.array([[chance.random() < holes for _ in series] for _ in range(shape[0])])] = (
                np.nan
            )
            stamps = np.arange(start, start + shape[0], dtype=np.int64) * 10**9
            parts.append(Part(kind, 0, 10**9, kind, series, stamps, statistics))
        exporter.send(Batch(tuple(parts)))
        samples = [
            (int(part.timestamps_ns[row]), called(name, part.series[column]), told(part, row, column))
            for part in parts
            for row, column in np.argwhere(part.there()).tolist()
        ]
        want += sorted(samples, key=lambda sample: sample[0])
    exporter.close()
    found = [
        (at, who, [None if each is None else float(each) for each in values]) for at, who, values in read(name, file)
    ]
    assert repr(found) == repr(want)
    texts = number_texts(name, file)
    assert len(texts) > 200
    assert texts == [repr(float(text)) for text in texts]


def number_texts(name, file):
    """What is written of each float64 that is finite, but for counts."""
    if name == "csv":
        with file.open(newline="") as lines:
            rows = [[row[key] for key in ("value", "sum", "min", "max") if row[key]] for row in csv.DictReader(lines)]
        return [text for row in rows for text in row]
    found = []
    for line in file.read_text().split("\n")[:-1]:
        json.loads(line, parse_float=lambda text: found.append(text) or 0.0)
    return found


def called(name, series):
    """The name of a series as `read` gives it."""
    inner = ",".join(f"{key}={value}" for key, value in series.labels)
    return str(series) if name == "csv" else f"{series.name}{{{inner}}}"


NAMES = ["plain", "50 %", "%s%d", 'a "b", c\\d', "\r", "\x85", "\u2028é"]


def told(part, row, column):
    """What a sample holds: its value, and the four of a summary, without extremes where nothing was seen."""
    if part.kind != "summary":
        return [float(part.statistics["last"][row, column]), None, None, None, None]
    count, total, low, high = (float(part.statistics[name][row, column]) for name in ("count", "sum", "min", "max"))
    return [None, count, total, *((low, high) if count else (None, None))]
