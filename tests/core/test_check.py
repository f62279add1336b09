"""`check` names every kind of damage in words and nothing else; `repair` keeps what is whole, and says what it left."""

import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from rondo_core import ManualClock, Store, StoreReader
from rondo_core.errors import CorruptStoreError, StoreError, StoreExistsError, StoreLockedError, StoreNotFoundError
from rondo_core.maintain.check import check_store
from rondo_core.maintain.check_rows import longest_growth
from rondo_core.maintain.repair import repair_store
from rondo_core.model import layout
from rondo_core.model.schema import SELF_PREFIX
from rondo_core.storage.journal import find_whole, parse

PAGE = layout.PAGE_BYTES


def write(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def flip(file, offset, bit=0):
    write(file, offset, bytes([file.read_bytes()[offset] ^ (1 << bit)]))


def record_offsets(file):
    payloads, _, _ = parse(file.read_bytes())
    offsets, offset = [], 16
    for payload in payloads:
        offsets.append(offset)
        offset += 8 + len(payload)
    return offsets


def points(path, *, tier=None, own=False):
    """Every point of every series: (series, tier, timestamp) -> the coverage and the default reading."""
    found = {}
    with StoreReader(path) as reader:
        for series in reader.series():
            if series.name.startswith(SELF_PREFIX) and not own:
                continue
            for number in range(len(reader.slabs[series.schema])) if tier is None else [tier]:
                fns = {"counter": ("last",), "gauge": ("avg", "max"), "summary": ("count", "sum", "max")}[series.kind]
                for fn in fns:
                    (data,) = reader.query([series], "all", tier=number, fn=fn)
                    stamps, values = data.timestamps_ns.tolist(), data.values.tolist()
                    found |= {(str(series), number, fn, at): v for at, v in zip(stamps, values, strict=True)}
    return found


def damage(path):
    return [(found.file, found.where, found.what) for found in check_store(path) if found.severity == "damage"]


def slab_rows(path, name):
    """Slot, bucket of every row of a slab in use, and the slab's spec."""
    with StoreReader(path) as reader:
        schema, tier = name.split(".")[:2]
        slab = reader.slabs[schema][int(tier)]
        headers = np.array(slab.headers())
        return [(slot, int(bucket)) for slot, bucket in enumerate(headers) if bucket > 0], slab.spec


def cell_at(spec, slot, name, column):
    size = struct.calcsize("<" + spec.cell(name).format)
    return PAGE + slot * spec.row_bytes + spec.cell(name).offset + column * size


# -- sound


def test_a_sound_store_has_no_finding_closed_or_live_or_new(path, fill, tmp_path):
    """Rings that wrapped, late samples, an open window, a cursor, a run that goes on: all of it is as it should be."""
    store = fill(path, close=False)
    assert check_store(path) == []
    store.close()
    assert check_store(path) == []
    Store(tmp_path / "new").close()
    assert check_store(tmp_path / "new") == []


def test_a_clock_that_stepped_back_leaves_a_sound_store(path, fill):
    """Dropped rows, folded windows taken back, totals that went on: nothing to find, before and after the close."""
    store = fill(path, close=False)
    store.clock.advance(-95)
    for _ in range(30):
        store.counter("c_total", n=0).inc(3)
        store.gauge("g", n=1).set(4.0)
        store.tick()
        assert check_store(path) == []
        store.clock.advance(1)
    store.close()
    assert check_store(path) == []
    with Store(path, clock=ManualClock(store.clock() - 40 * 10**9)) as store:
        store.counter("c_total", n=1).inc(1)
    assert check_store(path) == []


def test_a_store_whose_writer_was_killed_is_sound(path):
    """SIGKILL in the middle of recording leaves nothing for check to name."""
    code = (
        "import os, signal, sys\nfrom rondo_core import Store\n"
        "store = Store(sys.argv[1], tick_interval_s=0.01)\n"
        "counter, gauge, summary = store.counter('c_total'), store.gauge('g'), store.summary('s')\n"
        "for n in range(20000):\n counter.inc(); gauge.set(n); summary.observe(n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert check_store(path) == []
    Store(path).close()
    assert check_store(path) == []


def test_check_of_a_live_store_under_load_finds_nothing(path):
    """While another process records as fast as it can, what is in the middle of being written is no damage."""
    code = (
        "import sys\nfrom rondo_core import Store\n"
        "store = Store(sys.argv[1], tick_interval_s=0.01)\n"
        "counter, summary = store.counter('c_total'), store.summary('s')\nprint('ready', flush=True)\n"
        "while True:\n counter.inc(); summary.observe(1.5)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        for _ in range(10):
            assert check_store(path) == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- every kind of damage, in words


@pytest.mark.parametrize(
    ("harm", "file", "words"),
    [
        (lambda path: flip(path / "meta", 60), "meta", "no whole record"),
        (lambda path: flip(path / "meta", 3), "meta", "not a journal"),
        (lambda path: (path / "series").unlink(), "series", "missing"),
        (lambda path: flip(path / "series", record_offsets(path / "series")[1] + 20), "series", "whole ones go on at"),
        (lambda path: flip(path / "series", record_offsets(path / "series")[1] + 5), "series", "its text is whole"),
        (lambda path: flip(path / "series", record_offsets(path / "series")[1]), "series", "its text is whole"),
        (lambda path: os.truncate(path / "series", 1000), "series", "1000 bytes where the schemas make it"),
        (lambda path: flip(path / "runs", 1), "runs", "not a record of runs"),
        (lambda path: flip(path / "runs", 512 + 512 + 30), "runs", "damaged: it does not check"),
        (lambda path: (path / "gauges.1.slab").unlink(), "gauges.1.slab", "missing"),
        (lambda path: os.truncate(path / "gauges.0.slab", 5000), "gauges.0.slab", "5000 bytes, of"),
        (lambda path: flip(path / "gauges.0.slab", 30), "gauges.0.slab", "not the one that the store's schema makes"),
        (lambda path: flip(path / "gauges.1.slab", 2048 + 6), "gauges.1.slab", "the next window to fold is"),
        (lambda path: flip(path / "gauges.0.slab", PAGE), "gauges.0.slab", "which cannot lie there"),
        (lambda path: flip(path / "gauges.0.slab", PAGE + 6), "gauges.0.slab", "which cannot lie there"),
        (lambda path: flip(path / "gauges.0.slab", PAGE + 15, 7), "gauges.0.slab", "no writer counts to"),
        (lambda path: (path / "cursor_test.json").write_text("{"), "cursor_test.json", "does not read"),
        (lambda path: (path / "stray").symlink_to("/etc/passwd"), "stray", "symbolic link"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_named_with_its_file(path, fill, harm, file, words):
    """Whatever was hit: the file, and in words what is wrong with it; nothing else is accused."""
    fill(path)
    harm(path)
    found = damage(path)
    assert any(name == file and words in what for name, _, what in found), found
    assert {name for name, _, what in found if "no series is known" not in what} == {file}


def test_a_link_to_the_file_outside_is_damage_and_is_never_followed(path, fill, tmp_path):
    """A slab moved out of the store and linked back in is refused, by check and by every open."""
    fill(path)
    shutil.move(path / "gauges.0.slab", tmp_path / "elsewhere")
    (path / "gauges.0.slab").symlink_to(tmp_path / "elsewhere")
    assert ("gauges.0.slab", "", "a symbolic link; put the file itself in its place") in damage(path)
    for opens in (Store, StoreReader):
        with pytest.raises(CorruptStoreError, match="symbolic link"):
            opens(path)


def test_a_total_that_falls_is_named_with_the_row(path, fill):
    """One counter cell set far too high: that row is named, and not those after it."""
    fill(path)
    rows, spec = slab_rows(path, "counters.0.slab")
    slot = sorted(rows, key=lambda row: row[1])[20][0]
    write(path / "counters.0.slab", cell_at(spec, slot, "last", 1), struct.pack("<d", 1e12))
    found = [each for each in damage(path) if "falls" in each[2]]
    assert len(found) == 1
    assert found[0][0] == "counters.0.slab"
    assert "column 1 is 1e+12" in found[0][2]


def test_a_summary_that_contradicts_itself_is_named(path, fill):
    """A minimum above the maximum, a sum outside what count, minimum and maximum allow."""
    fill(path)
    rows, spec = slab_rows(path, "summaries.0.slab")
    slot = sorted(rows, key=lambda row: row[1])[22][0]
    for name in ("min0", "min1"):
        write(path / "summaries.0.slab", cell_at(spec, slot, name, 2), struct.pack("<d", 1e9))
    assert any("column 2 contradicts itself" in what and "min0 1e+09" in what for _, _, what in damage(path))


def test_a_coarse_cell_that_is_no_merge_is_named(path, fill):
    """A closed window that the finer tier still holds must be its merge."""
    fill(path)
    rows, spec = slab_rows(path, "gauges.1.slab")
    slot = sorted(rows, key=lambda row: row[1])[-3][0]
    write(path / "gauges.1.slab", cell_at(spec, slot, "last", 0), struct.pack("<d", -190.25))
    assert any(name == "gauges.1.slab" and "merge to" in what for name, _, what in damage(path))


def test_a_torn_tail_and_a_strange_file_are_notes(path, fill):
    """What a crash explains, and what rondo did not make, is told but is no damage."""
    fill(path)
    end = parse((path / "series").read_bytes())[1]
    write(path / "series", end, struct.pack("<II", 40, 1) + b"half a record")
    (path / "notes.txt").write_text("mine")
    found = check_store(path)
    assert [(each.file, each.severity) for each in found] == [("series", "note"), ("notes.txt", "note")]
    assert "cut short" in found[0].what


def test_check_says_what_is_no_store(path, tmp_path):
    """Nothing there, a file, an empty directory: typed, in a line."""
    with pytest.raises(StoreNotFoundError, match="no such store"):
        check_store(path)
    path.write_text("x")
    with pytest.raises(StoreError, match="a file, not a store"):
        check_store(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreNotFoundError, match="not a store"):
        check_store(tmp_path / "empty")


# -- the registry: damage is no torn tail


@pytest.mark.parametrize("at", [0, 2, 5, 12, 30])
def test_a_damaged_record_before_whole_ones_is_never_cut_off(path, fill, at):
    """A flip in a record's length, checksum or text: a writer refuses to open, and not one byte is changed."""
    fill(path)
    file = path / "series"
    flip(file, record_offsets(file)[2] + at)
    before = file.read_bytes()
    for opens in (Store, StoreReader):
        with pytest.raises(CorruptStoreError, match="rondo repair") as caught:
            opens(path)
        assert caught.value.offset == record_offsets(file)[-1] + 8 + len(parse(before)[0][-1])
    assert file.read_bytes() == before


def test_zeroes_over_several_records_are_no_end_of_the_journal(path, fill):
    """A page lost in a power failure, with whole records on the next: refused, and the later records are found."""
    fill(path)
    offsets = record_offsets(path / "series")
    write(path / "series", offsets[2], bytes(offsets[5] - offsets[2]))
    with pytest.raises(CorruptStoreError, match="rondo repair"):
        Store(path)
    assert any("go on at byte" in what for _, _, what in damage(path))


def test_a_search_for_whole_records_ends_in_hostile_data():
    """Data made of places where a record may begin is given up on, not searched for hours."""
    hostile = bytes(16) + (b"\xff\x7f\0\0\x80\x80\x80\x80\x80" * 200_000)
    assert find_whole(hostile, 16, 0) is not None


def test_the_longest_growth_leaves_out_the_fewest():
    """One value too high, or one too low: only it is left out."""
    assert longest_growth([1, 2, 99, 3, 4]) == [0, 1, 3, 4]
    assert longest_growth([1, 2, 0, 3, 3]) == [0, 1, 3, 4]
    assert longest_growth([]) == []


# -- repair


def repaired(path, tmp_path):
    """Repair, check the result, and give its points and what was said to be left."""
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    new = tmp_path / "mended"
    outcome = repair_store(path, new)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    assert check_store(new) == []
    return new, outcome


def test_repair_of_a_sound_store_is_a_copy(path, fill, tmp_path):
    """Same id, same points, same runs, same cursor; nothing was left; and a writer goes on from the same totals."""
    store = fill(path)
    new, outcome = repaired(path, tmp_path)
    assert outcome.left == []
    assert points(new, own=True) == points(path, own=True)
    with StoreReader(path) as one, StoreReader(new) as other:
        assert one.meta == other.meta
        assert one.runs() == other.runs()
        assert list(one.registry) == list(other.registry)
    assert json.loads((new / "cursor_test.json").read_text()) == json.loads((path / "cursor_test.json").read_text())
    for each in (path, new):
        with Store(each, clock=ManualClock(store.clock())) as again:
            again.counter("c_total", n=1).inc(5)
    assert points(new) == points(path)


def test_repair_leaves_out_exactly_the_damaged_row(path, fill, tmp_path):
    """A row whose header was hit is absent; every other point of every tier is there."""
    fill(path)
    rows, spec = slab_rows(path, "gauges.0.slab")
    slot, bucket = rows[7]
    whole = points(path)
    flip(path / "gauges.0.slab", PAGE + slot * spec.row_bytes + 1)
    new, outcome = repaired(path, tmp_path)
    lost = {key for key in whole if key[0].startswith("g{") and key[1] == 0 and key[3] == bucket * 10**9}
    assert lost
    assert points(new) == {key: value for key, value in whole.items() if key not in lost}
    assert any("left out 1 rows" in line for line in outcome.left)


def test_repair_leaves_out_exactly_the_damaged_total(path, fill, tmp_path):
    """A counter's cell that falls out of line is absent; its neighbours in the row and in the column stay."""
    fill(path)
    rows, spec = slab_rows(path, "counters.0.slab")
    slot, bucket = sorted(rows, key=lambda row: row[1])[20]
    whole = points(path)
    write(path / "counters.0.slab", cell_at(spec, slot, "last", 1), struct.pack("<d", 1e12))
    new, outcome = repaired(path, tmp_path)
    lost = ('c_total{n="1"}', 0, "last", bucket * 10**9)
    assert lost in whole
    assert points(new) == {key: value for key, value in whole.items() if key != lost}
    assert any("counters.0.slab: left out 1 values" in line for line in outcome.left)


def test_a_writer_goes_on_from_the_last_sound_total(path, fill, tmp_path):
    """Where the newest row's totals are damaged, the counter does not start again from nothing."""
    store = fill(path)
    for schema, cell in (("counters", "last"), ("summaries", "count_base")):
        rows, spec = slab_rows(path, f"{schema}.0.slab")
        slot = max(rows, key=lambda row: row[1])[0]
        write(path / f"{schema}.0.slab", cell_at(spec, slot, cell, 1), struct.pack("<d", -5.0))
    new, _ = repaired(path, tmp_path)
    before = [value for key, value in sorted(points(path, tier=0).items()) if key[0] == 'c_total{n="1"}'][-2]
    with Store(new, clock=ManualClock(store.clock())) as again:
        assert again.counter("c_total", n=1).value == before


def test_repair_folds_a_damaged_window_again(path, fill, tmp_path):
    """A coarse row of which the finer tier still has everything comes back as it was."""
    fill(path)
    rows, spec = slab_rows(path, "summaries.1.slab")
    slot = sorted(rows, key=lambda row: row[1])[-4][0]
    whole = points(path)
    write(path / "summaries.1.slab", cell_at(spec, slot, "count", 0), struct.pack("<d", 0.5))
    flip(path / "gauges.1.slab", PAGE + slot * slab_rows(path, "gauges.1.slab")[1].row_bytes)
    new, outcome = repaired(path, tmp_path)
    assert points(new) == whole
    assert sum("again from the finer tier" in line for line in outcome.left) == 2


def test_repair_keeps_the_other_tiers_of_a_lost_slab(path, fill, tmp_path):
    """Missing, linked away or cut short: the points of the other tiers and series are all kept."""
    fill(path)
    whole = points(path)
    (path / "gauges.0.slab").unlink()
    new, outcome = repaired(path, tmp_path)
    assert points(new) == {key: value for key, value in whole.items() if not (key[0][0] == "g" and key[1] == 0)}
    assert any(line.startswith("gauges.0.slab") and "missing" in line for line in outcome.left)


def test_repair_keeps_the_rows_before_the_cut_of_a_slab(path, fill, tmp_path):
    """A truncated slab gives up the rows behind the cut, and only these."""
    fill(path)
    rows, spec = slab_rows(path, "counters.0.slab")
    whole = points(path)
    os.truncate(path / "counters.0.slab", PAGE + 30 * spec.row_bytes + 5)
    new, _ = repaired(path, tmp_path)
    lost = {bucket * 10**9 for slot, bucket in rows if slot >= 30}
    assert points(new) == {k: v for k, v in whole.items() if not (k[0][0] == "c" and k[1] == 0 and k[3] in lost)}


def test_repair_keeps_the_columns_of_series_after_a_lost_record(path, fill, tmp_path):
    """One record is lost: its column goes on under a name of rondo's own, with its points; no other series moves."""
    fill(path)
    with StoreReader(path) as reader:
        lost = list(reader.registry)[1]
    whole = points(path)
    flip(path / "series", record_offsets(path / "series")[1] + 20)
    new, outcome = repaired(path, tmp_path)
    name = f'rondo_repaired_lost{{column="{lost.column}",schema="{lost.schema}"}}'
    renamed = {(name if key[0] == str(lost) else key[0], *key[1:]): value for key, value in whole.items()}
    found = points(new, own=True)
    assert {key: found.get(key) for key in renamed} == renamed
    assert outcome.n_placeholders == 1


def test_repair_loses_no_series_whose_text_is_whole(path, fill, tmp_path):
    """A flip in a record's length or checksum costs nothing: the record after it proves the text."""
    fill(path)
    with StoreReader(path) as reader:
        series = list(reader.registry)
    offsets = record_offsets(path / "series")
    flip(path / "series", offsets[1], 2)
    flip(path / "series", offsets[4] + 5)
    new, outcome = repaired(path, tmp_path)
    assert outcome.n_placeholders == 0
    with StoreReader(new) as reader:
        assert list(reader.registry) == series


def test_repair_gives_columns_without_any_registry_placeholders(path, fill, tmp_path):
    """With the registry gone, every column that holds values is kept under a name of rondo's own."""
    fill(path)
    whole = points(path)
    (path / "series").unlink()
    new, outcome = repaired(path, tmp_path)
    found = points(new, own=True)
    kept = {value for key, value in found.items() if "gauges" in key[0] and key[2] == "max"}
    assert kept == {value for key, value in whole.items() if key[0].startswith("g{") and key[2] == "max"}
    assert outcome.n_placeholders == outcome.n_series > 0


def test_repair_rebuilds_the_schemas_from_the_slabs(path, fill, tmp_path):
    """Torn metadata: names, kinds, tiers and sizes come from the slabs' headers; the points are all there."""
    fill(path)
    whole = points(path)
    with StoreReader(path) as reader:
        schemas = reader.meta.schemas
    flip(path / "meta", 100)
    with pytest.raises(CorruptStoreError, match="rondo repair"):
        StoreReader(path)
    new, outcome = repaired(path, tmp_path)
    with StoreReader(new) as reader:
        kept = {schema._replace(match=schema.match if schema.name == "rondo" else "") for schema in schemas}
        assert set(reader.meta.schemas) == kept  # what they matched is lost
    assert points(new) == whole
    assert any("what its schemas matched" in line for line in outcome.left)


def test_repair_leaves_out_a_cursor_and_runs_that_do_not_read(path, fill, tmp_path):
    """They are named, and the store is saved without them."""
    fill(path)
    (path / "cursor_test.json").write_text("[")
    flip(path / "runs", 0)
    new, outcome = repaired(path, tmp_path)
    assert not (new / "cursor_test.json").exists()
    with StoreReader(new) as reader:
        assert reader.runs() == []
    assert any(line.startswith("runs: left out") for line in outcome.left)
    assert any(line.startswith("cursor_test.json: left out") for line in outcome.left)


def test_repair_refuses_a_live_store_and_a_target_that_is_there(path, fill, tmp_path):
    """Nothing is overwritten, and no half of what a writer does is taken for the whole."""
    store = fill(path, close=False)
    with pytest.raises(StoreLockedError):
        repair_store(path, tmp_path / "new")
    store.close()
    (tmp_path / "new").mkdir()
    with pytest.raises(StoreExistsError):
        repair_store(path, tmp_path / "new")


@pytest.mark.parametrize("bit", [0, 3, 17, 40, 60])
def test_a_damaged_row_header_is_absent_and_never_another_time(path, fill, bit):
    """A reader shows no point under the wrong time, nor a range that ends in the year 2100; a writer goes on."""
    store = fill(path)
    rows, spec = slab_rows(path, "counters.0.slab")
    slot, bucket = max(rows, key=lambda row: row[1])
    whole = points(path)
    flip(path / "counters.0.slab", PAGE + slot * spec.row_bytes + bit // 8, bit % 8)
    now = points(path)
    assert now == {k: v for k, v in whole.items() if k[1] or k[0][0] != "c" or k[3] != bucket * 10**9}
    with StoreReader(path) as reader:
        assert reader.end_ns() == (bucket + 1) * 10**9
    with Store(path, clock=ManualClock(store.clock())) as again:
        total = again.counter("c_total", n=0)
        before = total.value
        assert before == now['c_total{n="0"}', 0, "last", (bucket - 1) * 10**9]
        total.inc(1)
        again.tick()
        assert total.value == before + 1


def test_a_slab_cut_while_it_is_open_is_an_error_and_not_a_crash(path, fill):
    """A reader looks at the file's size before each read; the process lives on."""
    fill(path)
    with StoreReader(path) as reader:
        os.truncate(path / "gauges.0.slab", PAGE)
        with pytest.raises(CorruptStoreError, match="while it was open"):
            reader.query("g{n=1}", "all")
