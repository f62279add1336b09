"""docs/storage-format.md is enough to read a store: a reader of struct and zlib alone, written from that page."""

import math
import random
import struct
import zlib

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier

READINGS = {
    "counter": ("first", "last", "min", "max", "count"),
    "gauge": ("first", "last", "min", "max", "sum", "count", "avg"),
    "summary": ("min", "max", "sum", "count", "avg", "total"),
}


def unpack(data, at=0):
    """Read one msgpack value of the subset that the page names; give it and where it ends."""
    byte, sized = data[at], {0xD9: "B", 0xDA: "H", 0xDB: "I", 0xDC: "H", 0xDD: "I", 0xDE: "H"}
    numbers = {0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q"}
    at += 1
    if byte < 0x80:
        return byte, at
    if byte in numbers:
        return struct.unpack_from(">" + numbers[byte], data, at)[0], at + struct.calcsize(numbers[byte])
    if byte in sized:
        count = struct.unpack_from(">" + sized[byte], data, at)[0]
        at += struct.calcsize(sized[byte])
        what = "str" if byte <= 0xDB else "array" if byte <= 0xDD else "map"
    else:
        what, count = ("map", byte & 15) if byte < 0x90 else ("array", byte & 15) if byte < 0xA0 else ("str", byte & 31)
        assert byte < 0xC0, hex(byte)
    if what == "str":
        return data[at : at + count].decode(), at + count
    items = []
    for _ in range(count * (2 if what == "map" else 1)):
        item, at = unpack(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if what == "map" else items), at


def records(file):
    """Give the records of a journal."""
    data, at, crc = file.read_bytes(), 16, 0
    assert data[:8] == b"RONDOJRN"
    version, synced = struct.unpack_from("<II", data, 8)
    assert version == 1
    assert synced <= len(data)
    found = []
    while at + 8 <= len(data):
        length, expected = struct.unpack_from("<II", data, at)
        payload = data[at + 8 : at + 8 + length]
        if not length or zlib.crc32(payload, crc) != expected:
            break
        found.append(unpack(payload)[0])
        at, crc = at + 8 + length, expected
    return found


def rows(file):
    """Give the rows of a slab: bucket -> cell -> values, one per column; and the slab's header."""
    data = file.read_bytes()
    magic, version, page, tier, n_cells, interval, slots, row_bytes, room, kind = struct.unpack_from(
        "<8sIIIIqqqq16s", data
    )
    assert (magic, version, page) == (b"RONDOSLB", 1, 4096)
    cells = [struct.unpack_from("<16s8sq", data, 72 + 32 * index) for index in range(n_cells)]
    end = 72 + 32 * n_cells
    assert struct.unpack_from("<I", data, end)[0] == zlib.crc32(data[:end])
    found = {}
    for slot in range(slots):
        start = 4096 + slot * row_bytes
        bucket, _sequence, seal = struct.unpack_from("<qII", data, start)
        if bucket <= 0:
            continue
        assert bucket % slots == slot
        crc = zlib.crc32(data[start + 16 : start + row_bytes], bucket % 2**32)
        assert seal >> 1 == (crc >> 2 or 1)
        found[bucket] = {
            name.rstrip(b"\0").decode(): block(code.rstrip(b"\0").decode(), room, data, start + offset)
            for name, code, offset in cells
        }
    return {"tier": tier, "interval": interval, "kind": kind.rstrip(b"\0").decode()}, found


def block(code, room, data, at):
    """Give a block's values, one per column; a tuple each where the format has a number in front."""
    each = int(code[:-1] or 1)
    values = struct.unpack_from(f"<{room * each}{code[-1]}", data, at)
    return values if each == 1 else [values[first : first + each] for first in range(0, room * each, each)]


def quantile(at, share, tier):
    """Read a quantile from a sketch, where there is one."""
    if not tier:
        scale, first, cells = *placed(at["sketch_head"]), at[f"sketch{at['sketch_head'] % 2}"]
    elif len(at["sketch"]) == 163:  # the layout of sketches that came first
        scale, first, cells = at["sketch"][0] - 128, at["sketch"][1] - 2**31, at["sketch"][2:]
    else:
        head, zeroes = struct.unpack_from("<qq", bytes(at["sketch"]))
        low, high, bits, each = ("I", "H", 32, 6) if head % 2 else ("H", "B", 16, 3)
        count = (len(at["sketch"]) - 16) // each
        counts = struct.unpack_from(f"<{count}{low}{count}{high}", bytes(at["sketch"]), 16)
        scale, first = placed(head)
        cells = [a + (b << bits) for a, b in zip(counts[:count], counts[count:], strict=True)] + [zeroes]
    rank = max(1, math.ceil(share * sum(cells)))
    below, base = cells[-1], 2.0 ** (2.0**-scale)
    if rank <= below:
        return min(max(0.0, at["min"]), at["max"])
    for index, count in enumerate(cells[:-1], start=first):
        below += count
        if below >= rank:
            low = 2.0 ** (index * 2.0**-scale)
            return min(max(2 * low * base / (1 + base), at["min"]), at["max"])
    raise AssertionError(at)


def placed(head):
    """Give the scale of a sketch, and the index of its first cell."""
    return (head >> 1) % 2**15 - 128, (head >> 16) - 2**31


def statistics(kind, tier, cells, column):
    """Give one column's statistics of one row; None where it is absent."""
    at = {name: values[column] for name, values in cells.items()}
    if tier:
        if not at["coverage"]:
            return None
    elif kind != "summary":
        if math.isnan(at["last"]):
            return None
        at = dict.fromkeys(("first", "last", "min", "max", "sum"), at["last"]) | {"coverage": 1}
    else:
        if math.isnan(at["count"]):
            return None
        copy = "1" if at["count"] < 0 else "0"
        at |= {name: at[name + copy] for name in ("sum", "min", "max")} | {"count": abs(at["count"])}
    if kind == "counter":
        at |= {"min": at["first"], "max": at["last"]}
    return at


def reading(kind, fn, at):
    if kind == "summary":
        if fn == "total":
            return at["count_base"] + at["count"]
        if not at["count"] > 0:
            return math.nan
        if fn == "p75":
            return quantile(at, 0.75, "coverage" in at)
        return at["sum"] / at["count"] if fn == "avg" else at[fn]
    return {"count": at["coverage"], "avg": at.get("sum", 0.0) / at["coverage"]}.get(fn, at.get(fn))


def read_all(store):
    """Read a whole store: (name, labels, tier, fn) -> {time in ns: value}."""
    (meta,) = records(store / "meta")
    columns = records(store / "series")
    found = {}
    for schema in meta["schemas"]:
        for tier in range(len(schema["tiers"])):
            header, held = rows(store / f"{schema['name']}.{tier}.slab")
            assert (header["tier"], header["kind"]) == (tier, schema["kind"])
            assert header["interval"] == schema["tiers"][tier][0]
            for name, pairs, home, column, *_ in columns:
                if home != schema["name"]:
                    continue
                labels = tuple(map(tuple, pairs))
                points = {
                    bucket: at
                    for bucket, cells in sorted(held.items())
                    if (at := statistics(schema["kind"], tier, cells, column)) is not None
                }
                for fn in READINGS[schema["kind"]] + ("p75",) * schema["sketch"]:
                    read = {
                        bucket * header["interval"]: reading(schema["kind"], fn, at) for bucket, at in points.items()
                    }
                    key = name, labels, tier, fn
                    found[key] = {stamp: value for stamp, value in read.items() if not math.isnan(value)}
    return found


def read_runs(file):
    """Give the runs on record, oldest first."""
    data = file.read_bytes()
    assert data[:12] == b"RONDORUN" + struct.pack("<I", 1)
    found = []
    assert len(data) in {4096, 8192, 65536}  # seven runs, fifteen, or 127
    for start in range(512, len(data), 512):
        length, crc = struct.unpack_from("<II", data, start)
        payload = data[start + 8 : start + 8 + length]
        if length and zlib.crc32(payload) == crc:
            found.append(unpack(payload)[0])
    return sorted(found, key=lambda run: run["number"])


def read_events(file):
    """Give the marks and notes, oldest first: every place of eight bytes is looked at, as the page says."""
    data = file.read_bytes()
    assert data[:12] == b"RONDOEVT" + struct.pack("<I", 1)
    ring, found = data[512:], {}
    for offset in range(0, len(ring), 8):
        stored, length, crc = struct.unpack_from("<qII", ring + ring[:16], offset)
        payload = (ring + ring)[offset + 16 : offset + 16 + length]
        fits = stored > 0 and (stored - 8) % len(ring) == offset and 0 < length <= 4096
        if fits and zlib.crc32(payload, stored & 0xFFFFFFFF) == crc:
            found[stored] = unpack(payload)[0]
    return [found[stored] for stored in sorted(found)]


def compare(path):
    """Hold every series, tier and reading of the two readers against each other; give how many points there were."""
    found, points = read_all(path), 0
    with StoreReader(path) as reader:
        for series in reader.registry:
            schema = next(schema for schema in reader.meta.schemas if schema.name == series.schema)
            for tier in range(len(schema.tiers)):
                for fn in READINGS[series.kind] + ("p75",) * schema.sketch:
                    (data,) = reader.query([series], "all", tier=tier, fn=fn)
                    expected = dict(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True))
                    mine = found.pop((series.name, series.labels, tier, fn))
                    assert mine == (pytest.approx(expected) if fn == "p75" else expected), (series, tier, fn)
                    points += len(expected)
        (meta,) = records(path / "meta")
        assert (meta["store_id"], meta["created_ns"]) == (reader.meta.store_id, reader.meta.created_ns)
        runs = read_runs(path / "runs")
        assert [run["number"] for run in runs] == [run.number for run in reader.runs()]
        assert [run["ended"] for run in runs] == [run.ended for run in reader.runs()]
        if (path / "events").exists():
            events = [
                [each.number, each.run, each.time_ns, each.kind, each.text, list(map(list, each.facts.items()))]
                for each in reader.events()
            ]
            assert read_events(path / "events") == events
    assert not found
    return points


def test_the_page_is_enough_to_read_the_golden_store(golden):
    """Every kind, tier and statistic, and the runs, by nothing but the page."""
    assert compare(golden) > 300


def test_the_page_is_enough_to_read_what_rondo_writes_today(path):
    """Random records, many series with long texts, eighteen schemas, late samples, steps of the clock, restarts."""
    tiers = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
    schemas = [Schema(kind, kind, 40, tiers) for kind in ("counter", "gauge", "summary")]
    schemas += [Schema(f"spare{n}", "gauge", 1, (Tier("1s", "2s"),)) for n in range(14)]
    clock, chance = ManualClock(1_700_000_000 * 10**9), random.Random(3)
    store = Store(path, schemas, clock=clock)
    for second in range(150):
        for n in range(second % 20):
            labels = {"n": n, "text": "ö" * n * 7}
            late = clock() - chance.choice((0, 0, 0, 1, 7)) * 10**9
            store.counter("c_total", labels, help="x" * n * 20).inc(chance.randint(0, 9), late)
            store.gauge("g", labels).set(chance.choice((chance.random(), math.inf, -1.0)), late)
            store.summary("s", labels).observe(chance.random(), late)
        store.tick()
        clock.advance(chance.choice((1, 1, 1, 3)))
        if second in {60, 120}:
            clock.advance(-5)
        if second % 50 == 30:
            store.close()
            store = Store(path, clock=clock)
    store.close()
    assert compare(path) > 10_000
    assert {file.suffix for file in path.iterdir()} == {"", ".slab"}
