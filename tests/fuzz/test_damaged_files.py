"""Whatever a store's files hold: opening, reading, checking and repairing end in a typed error or an answer.

Never in another exception, a hang, a signal, or memory beyond the files' own size. `make soak-fuzz` looks further.
"""

import contextlib
import os
import random
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rondo_core import ManualClock, Store, StoreReader
from rondo_core.errors import CorruptStoreError, FormatVersionError, RondoError
from rondo_core.export.cursor import load_cursor
from rondo_core.maintain.check import check_store
from rondo_core.maintain.repair import repair_store
from rondo_core.model import layout
from rondo_core.storage.events import Event, encode_event, image

EXAMPLES = int(os.environ.get("RONDO_FUZZ_EXAMPLES", "60"))
PAGE = layout.PAGE_BYTES
SMALL = ("meta", "series", "runs", "events", "lock", "cursor_test.json")
SLABS = tuple(f"{schema}.{tier}.slab" for schema in ("counters", "gauges", "summaries") for tier in (0, 1, 2))
FNS = {"counter": ("last", "first", "rate"), "gauge": ("avg", "min", "max"), "summary": ("avg", "count", "total")}


@pytest.fixture(scope="module")
def sound(fill_once, tmp_path_factory):
    """One store that all tests copy, and the clock's last instant."""
    path = tmp_path_factory.mktemp("sound") / "s"
    now_ns = fill_once(path, 75).clock()
    noted = [
        encode_event(Event(now_ns - 75 * 10**9 + each, "note", "n" * each * 9, number=each)) for each in range(1, 9)
    ]
    (path / "events").write_bytes(image(noted, (path / "events").stat().st_size))
    return path, now_ns


@pytest.fixture
def tries(sound, tmp_path):
    """Copy the sound store, damage it, and put it to every use; give what each ended in."""
    path, now_ns = sound
    counter = iter(range(10**9))

    def tried(harm, uses=("read", "write", "check", "repair")):
        copy = tmp_path / f"{next(counter)}"
        shutil.copytree(path, copy)
        try:
            harm(copy)
            return {use: attempt(USES[use], copy, now_ns) for use in uses}
        finally:
            shutil.rmtree(copy)
            shutil.rmtree(f"{copy}.mended", ignore_errors=True)

    return tried


def attempt(use, copy, now_ns):
    """Give the answer, or the typed error; anything else fails the test that asked. A warning is no failure here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of infinities that meet
        try:
            return use(copy, now_ns)
        except RondoError as error:
            found = error
    assert "\n" not in str(found)
    return found


def read(copy, now_ns):
    load_cursor(copy, "test")
    with StoreReader(copy) as reader:
        reader.runs(), reader.newest_ns(), reader.end_ns(), reader.writer_pid()
        for series in reader.series():
            for tier in ("auto", *range(len(reader.slabs[series.schema]))):
                for fn in FNS[series.kind]:
                    reader.query([series], "all", tier=tier, fn=fn)
        assert {event.text for event in reader.events()} <= {"n" * each * 9 for each in range(1, 9)}
        return len(reader.registry)


def write(copy, now_ns):
    again = Path(f"{copy}.written")
    shutil.copytree(copy, again, symlinks=True, copy_function=copy_regular)
    try:
        clock = ManualClock(now_ns)
        with Store(again, clock=clock) as store:
            batch = store.batch([store.gauge("g", n=2)])
            for second in range(25):
                store.counter("c_total", n=1).inc(1)
                store.note(str(second))
                store.gauge("g", n=1).set(second)
                store.summary("s_seconds", n=1).observe(second)
                batch.set([second])
                if second == 3:
                    store.gauge("g", n=1).set(1.0, now_ns - 10 * 10**9)
                    store.counter("c_total", n=2).inc(1.0, now_ns - 10 * 10**9)
                    store.summary("s_seconds", n=2).observe(1.0, now_ns - 10 * 10**9)
                store.tick()
                clock.advance(1)
            return len(store.registry)
    finally:
        shutil.rmtree(again, ignore_errors=True)


def copy_regular(source, target):
    """Copy a file; a FIFO is made anew, for to copy it would be to wait for its writer."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copyfile(source, target)


def checked(copy, now_ns):
    return check_store(copy, now_ns)


def repaired(copy, now_ns):
    """Repair; whatever was damaged, the outcome opens for reading and passes check."""
    new = Path(f"{copy}.mended")
    try:
        outcome = repair_store(copy, new, now_ns)
        assert [found for found in check_store(new, now_ns) if found.severity == "damage"] == []
        read(new, now_ns)
        return outcome
    finally:
        shutil.rmtree(new, ignore_errors=True)


USES = {"read": read, "write": write, "check": checked, "repair": repaired}


def put(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def flipped(file, offset, bit):
    put(file, offset, bytes([file.read_bytes()[offset] ^ (1 << bit)]))


def records_end(file):
    return len(file.read_bytes().rstrip(b"\0")) + 4


def journal(payloads):
    data, crc = layout.JOURNAL_HEADER.pack(layout.JOURNAL_MAGIC, 1, 0), 0
    for payload in payloads:
        crc = zlib.crc32(payload, crc)
        data += struct.pack("<II", len(payload), crc) + payload
    return data


def step(size):
    return 1 if EXAMPLES > 60 else max(1, size // 16)


def refused(results, *uses):
    for use in uses:
        assert isinstance(results[use], RondoError), (use, results[use])


# -- flips and cuts


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flips_and_strange_words_anywhere_end_in_an_answer_or_a_typed_error(tries, data):
    """One to six flips, words or runs of bytes, in any file of the store."""

    def harm(copy):
        for _ in range(data.draw(st.integers(1, 6))):
            file = copy / data.draw(st.sampled_from(SMALL + SLABS))
            size = max(1, records_end(file))
            offset = data.draw(st.integers(0, size - 1))
            kind = data.draw(st.sampled_from(["flip", "word", "bytes", "header", "row"]))
            if kind == "flip":
                flipped(file, min(offset, file.stat().st_size - 1), data.draw(st.integers(0, 7)))
            elif kind == "bytes":
                put(file, offset, data.draw(st.binary(min_size=1, max_size=64)))
            elif kind == "word" or not file.name.endswith(".slab"):
                put(file, offset & ~7, data.draw(words))
            elif kind == "header":
                put(file, data.draw(st.sampled_from([8, 24, 32, 40, 48, 2048, 2056, 2064])), data.draw(words))
            else:
                rows = 60 if file.name.endswith(".0.slab") else 12
                row_bytes = layout.SLAB_HEADER.unpack_from(file.read_bytes())[7] or 48
                place = PAGE + data.draw(st.integers(0, rows - 1)) * (row_bytes % 4096)
                put(file, place + data.draw(st.sampled_from([0, 8])), data.draw(words))

    tries(harm)


words = st.one_of(
    st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63), 1_700_000_000, ~1_700_000_001]),
    st.integers(-(2**63), 2**63 - 1),
).map(lambda word: struct.pack("<q", word)) | st.sampled_from(
    [float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, -0.0, 0.5]
).map(lambda value: struct.pack("<d", value))


@pytest.mark.parametrize("name", [name for name in SLABS if name.endswith(".0.slab")])
def test_a_row_may_claim_any_bucket_and_any_sequence(tries, name, sound):
    """The ends of what a word holds, in the first row and in the last."""
    row_bytes = layout.SLAB_HEADER.unpack_from((sound[0] / name).read_bytes())[7]
    for slot in (0, 59):
        for word in (2**63 - 1, 2**63 - 2, -(2**63), -1, 2**32 - 1, 2**32):
            for offset in (0, 8):
                place, data = PAGE + slot * row_bytes + offset, struct.pack("<q", word)
                tries(lambda copy: put(copy / name, place, data))  # noqa: B023


@pytest.mark.parametrize("name", SMALL)
def test_a_flip_of_any_byte_of_a_small_file(tries, name, sound):
    """A bit of many bytes (in a soak of every one): refused in words or read; never a lost series."""
    whole, chance = records_end(sound[0] / name), random.Random(name)
    with StoreReader(sound[0]) as reader:
        count = len(reader.registry)
    for offset in range(0, min(whole, (sound[0] / name).stat().st_size), step(whole)):
        harmed = tries(lambda copy: flipped(copy / name, offset, chance.randrange(8)), ("read", "check"))  # noqa: B023
        if name == "series" and isinstance(harmed["read"], int):
            assert harmed["read"] >= count - 1, offset  # the last record, behind which nothing proves anything


@pytest.mark.parametrize("name", SMALL)
def test_a_cut_at_any_byte_of_a_small_file(tries, name, sound):
    """Shorter than it was made: refused, or for the lock and the cursor done without."""
    size = min((sound[0] / name).stat().st_size, records_end(sound[0] / name) + 8)
    for index, length in enumerate(range(0, size, step(size))):
        uses = ("read", "check") if index % 6 else ("read", "write", "check", "repair")
        results = tries(lambda copy: os.truncate(copy / name, length), uses)  # noqa: B023
        if name in {"series", "meta"} and length < size - 12:
            assert isinstance(results["read"], RondoError), length


@pytest.mark.parametrize("name", ["counters.1.slab", "summaries.0.slab"])
def test_a_cut_of_a_slab_is_refused_and_repaired(tries, name, sound):
    """At many lengths, and longer than it was made: no open maps it, and repair saves what is before the cut."""
    size, chance = (sound[0] / name).stat().st_size, random.Random(name)
    for length in [71, PAGE, size - 1, size + 1, *chance.choices(range(size), k=EXAMPLES // 30)]:
        refused(tries(lambda copy: os.truncate(copy / name, length)), "read", "write")  # noqa: B023


# -- other things in the place of a file


def to_link(file):
    target = file.parent.parent / f"outside-{file.parent.name}-{file.name}"
    shutil.move(file, target)
    file.symlink_to(target)


def to_dangling(file):
    file.unlink()
    file.symlink_to("/nowhere/at/all")


def to_directory(file):
    file.unlink()
    file.mkdir()


def to_fifo(file):
    file.unlink()
    os.mkfifo(file)


def to_device(file):
    file.unlink()
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize("replace", [to_link, to_dangling, to_directory, to_fifo, to_device, Path.unlink])
def test_links_directories_and_fifos_are_refused_and_never_waited_for(tries, replace):
    """In the place of any file: no open follows a link out of the store, and none hangs."""
    for name in (*SMALL, "gauges.0.slab", "counters.1.slab"):
        results = tries(lambda copy: replace(copy / name))  # noqa: B023
        if name in {"meta", "series"} or name.endswith(".slab"):
            refused(results, "read", "write")
        elif name == "lock" and replace is not Path.unlink:
            refused(results, "write")
        if replace is not Path.unlink and not isinstance(results["check"], RondoError):
            assert any(found.file == name and found.severity == "damage" for found in results["check"]), name


def test_empty_files_are_refused(tries):
    """A file of no bytes is none of the store's."""
    for name in SMALL + SLABS:
        results = tries(lambda copy: os.truncate(copy / name, 0))  # noqa: B023
        if name not in {"lock", "cursor_test.json"}:
            refused(results, "read" if name != "runs" else "write")


# -- versions and byte orders


@pytest.mark.parametrize("name", ["meta", "series", "runs", "gauges.0.slab"])
def test_another_version_and_another_byte_order_are_named(tries, name):
    """A newer version is FormatVersionError; a big-endian one is damage or a newer version, never read."""
    newer = tries(lambda copy: put(copy / name, 8, struct.pack("<I", 2)), ("write",))
    assert isinstance(newer["write"], FormatVersionError)
    swapped = tries(lambda copy: put(copy / name, 8, struct.pack(">I", 1)), ("write",))
    assert isinstance(swapped["write"], FormatVersionError)
    backwards = tries(lambda copy: put(copy / name, 0, (copy / name).read_bytes()[:8][::-1]), ("write",))
    assert isinstance(backwards["write"], CorruptStoreError)


# -- claims far beyond the file, in a process that may not grow


HOSTILE = {
    "a record of 4 GiB": ("series", journal([]) + struct.pack("<II", 0xFFFFFFFF, 0)),
    "an array of 4 Gi series": ("series", journal([b"\xdd\xff\xff\xff\xff"])),
    "a text of 4 GiB": ("series", journal([b"\x81\xdb\xff\xff\xff\xffx"])),
    "arrays in arrays": ("series", journal([b"\xdc\x0f\xff" * 9000])),
    "a number beyond float": (
        "series",
        journal([msgpack.packb({"schema": "gauges", "column": float("inf"), "labels": []})]),
    ),
    "a map of 4 Gi schemas": ("meta", journal([b"\xdf\xff\xff\xff\xff\xa1x"])),
    "a million series in many schemas": (
        "meta",
        journal(
            [
                msgpack.packb(
                    {
                        "format": 1,
                        "store_id": "x",
                        "created_ns": 1,
                        "schemas": [
                            {
                                "name": f"s{n}",
                                "kind": "gauge",
                                "max_series": 10**6,
                                "match": "",
                                "tiers": [[10**9, 10**18, []]],
                            }
                            for n in range(1000)
                        ],
                    }
                )
            ]
        ),
    ),
    "a retention beyond int64": (
        "meta",
        journal(
            [
                msgpack.packb(
                    {
                        "format": 1,
                        "store_id": "x",
                        "created_ns": 2**63,
                        "schemas": [
                            {
                                "name": "s",
                                "kind": "gauge",
                                "max_series": 10**6,
                                "match": [],
                                "tiers": [[10**6, 10**19 - 4 * 10**6, []]],
                            }
                        ],
                    }
                )
            ]
        ),
    ),
    "a cursor nested a million deep": ("cursor_test.json", b"[" * 1_000_000),
    "a cursor of a number with a million digits": ("cursor_test.json", b"9" * 1_000_000),
}

LIMITED = """
import resource, sys
from pathlib import Path
import numpy, msgpack
from rondo_core import Store, StoreReader, store
from rondo_core.plugins import manager
from rondo_core.read import query
from rondo_core.maintain.check import check_store
from rondo_core.errors import RondoError
from rondo_core.export.cursor import load_cursor
from rondo_core.maintain.repair import repair_store
import rondo_core.builtin.consolidators
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (96 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in map(Path, sys.argv[1:]):
    load_cursor(path, "test")
    for use in (StoreReader, check_store, lambda p: repair_store(p, f"{p}.new"), Store):
        try:
            use(path)
        except RondoError as error:
            pass
print("all typed")
"""


def test_claims_beyond_the_file_allocate_nothing(sound, tmp_path):
    """Huge lengths, counts, sparse files: every use ends in a typed error or an answer within 96 MiB of memory."""
    copies = []
    for index, (name, data) in enumerate(HOSTILE.values()):
        copies.append(tmp_path / str(index))
        shutil.copytree(sound[0], copies[-1])
        size = (copies[-1] / name).stat().st_size
        (copies[-1] / name).write_bytes(data.ljust(size, b"\0"))
    for name, size in (("meta", 1 << 40), ("series", 1 << 40), ("runs", 1 << 40), ("gauges.0.slab", 1 << 40)):
        copies.append(tmp_path / f"sparse-{name}")
        shutil.copytree(sound[0], copies[-1])
        with contextlib.suppress(OSError):
            os.truncate(copies[-1] / name, size)
    for field, word in ((20, 0xFFFFFFFF), (32, 2**62), (40, 2**62), (48, 2**62)):
        copies.append(tmp_path / f"header-{field}")
        shutil.copytree(sound[0], copies[-1])
        (copies[-1] / "meta").unlink()  # so that the header is what a repair goes by
        resealed(copies[-1] / "gauges.0.slab", field, word)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, copies)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "all typed\n", done.stderr[-2000:]


def resealed(file, field, word):
    """Change a field of a slab's header and make its checksum fit."""
    page = bytearray(file.read_bytes()[:PAGE])
    page[field : field + (4 if field < 24 else 8)] = struct.pack("<I" if field < 24 else "<q", word)
    cells = page[20] if field != 20 else 1
    end = 72 + 32 * cells
    page[end : end + 4] = struct.pack("<I", zlib.crc32(bytes(page[:end])))
    put(file, 0, bytes(page))
