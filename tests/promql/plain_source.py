"""Series in plain lists: what the engine reads, and what a Prometheus is sent by remote-write."""

import math
import random
import struct
import urllib.request

import cramjam
import numpy as np

STALE = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]


class PlainSource:
    """Answer `select` from `[(labels, timestamps_ms, values), ...]`."""

    def __init__(self, series):
        self.series = [(labels, np.array(stamps, np.int64), values_of(values)) for labels, stamps, values in series]

    def select(self, matchers, start_ms, end_ms, hint):
        found = []
        for labels, stamps, values in self.series:
            if all(each.matches(labels.get(each.name, "")) for each in matchers):
                first, last = np.searchsorted(stamps, (start_ms, end_ms + 1))
                if first < last:
                    found.append((labels, stamps[first:last], values[first:last]))
        return found


def values_of(values):
    """Make float64 of values, the stale marker's bits as they are."""
    return np.frombuffer(b"".join(bits(each) for each in values), np.float64)


def bits(value):
    """Give a float's eight bytes; the stale marker is told apart by identity, as arithmetic may quieten it."""
    return (0x7FF0000000000002).to_bytes(8, "little") if value is STALE else struct.pack("<d", value)


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def push(url, series):
    """Send series to `url` by remote-write 1.0."""
    body = b""
    for labels, stamps, values in series:
        inner = b"".join(
            field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in sorted(labels.items())
        )
        for stamp, value in zip(stamps, values, strict=True):
            inner += field(2, b"\x09" + bits(value) + b"\x10" + varint(stamp))
        body += field(1, inner)
    request = urllib.request.Request(
        url,
        bytes(cramjam.snappy.compress_raw(body)),
        {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "rondo"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def random_series(chance: random.Random, start_ms, length_s):
    """Make series of every kind of trouble: gaps, resets, stale ends, NaN, infinities, other spacings, histograms.

    No sample lies on a whole second, as whether an edge belongs to a window depends on the version of Prometheus.
    """
    made = []
    for name in ("c_total", "d_total", "g", "h", "odd"):
        for instance in "ab":
            for code in chance.sample(["200", "404", "500", ""], chance.randint(1, 4)):
                labels = {"__name__": name, "instance": instance, "job": chance.choice(("x", "y"))}
                if code:
                    labels["code"] = code
                if all(each[0] != labels for each in made):
                    made.append((labels, *random_samples(chance, name, start_ms, length_s)))
    for instance in "ab":
        made += random_buckets(chance, instance, start_ms, length_s)
    made.append(({"__name__": "info", "instance": "a", "version": "1"}, *spaced(chance, start_ms, length_s, 1.0)))
    made.append(({"__name__": "info", "instance": "b", "version": "2"}, *spaced(chance, start_ms, length_s, 1.0)))
    return made


def spaced(chance, start_ms, length_s, value):
    stamps = list(range(start_ms + 500, start_ms + length_s * 1000, 15_000))
    return stamps, [value] * len(stamps)


def random_stamps(chance, start_ms, length_s):
    step_ms = chance.choice((5_000, 10_000, 15_000, 30_000))
    offset = chance.randint(200, 700)
    stamps, absent, at = [], False, start_ms
    while at < start_ms + length_s * 1000:
        if chance.random() < (0.1 if absent else 0.02):
            absent = not absent
        if not absent:
            stamps.append(at + offset + chance.choice((0, 0, chance.randint(-100, 100))))
        at += step_ms if not absent else chance.choice((step_ms, 60_000))
    return stamps


def random_samples(chance, name, start_ms, length_s):
    stamps = random_stamps(chance, start_ms, length_s)
    values, total = [], float(chance.choice((0, 0, 5, 1000)))
    whole = chance.random() < 0.5
    for _ in stamps:
        if name.endswith("_total"):
            total = 0.0 if chance.random() < 0.03 else total + (chance.randint(0, 9) if whole else chance.random() * 9)
            values.append(total)
        elif name == "odd":
            values.append(chance.choice((0.0, -0.0, 1.0, -1.5, math.nan, math.inf, -math.inf, 1e300, 1e-300, 3.0)))
        else:
            values.append(float(chance.randint(-5, 20)) if whole else chance.gauss(3, 10))
        if chance.random() < 0.02:
            values[-1] = STALE
    return stamps, values


def random_buckets(chance, instance, start_ms, length_s):
    """Make a classic histogram's series, which stand at the same instants."""
    stamps = random_stamps(chance, start_ms, length_s)
    edges = ("0.1", "0.5", "1", "5", "+Inf")
    counts, rows = [0] * 5, []
    for _ in stamps:
        counts = [0] * 5 if chance.random() < 0.02 else counts
        for _ in range(chance.randint(0, 6)):
            place = chance.randrange(5)
            counts = [each + (index >= place) for index, each in enumerate(counts)]
        rows.append(counts)
    return [
        (
            {"__name__": "lat_bucket", "instance": instance, "le": edge},
            stamps,
            [float(row[index]) for row in rows],
        )
        for index, edge in enumerate(edges)
    ]
