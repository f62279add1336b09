"""A receiver of remote-write 1.0 and 2.0 that objects to whatever the specifications forbid.

It is written from their text and shares no code with the exporter: it takes the bytes apart by itself.
"""

import random
import re
import struct

import snappy

from rondo_core.testing import HttpReceiver

STALE_BITS = 0x7FF0000000000002
VARINT, EIGHT, BYTES = 0, 1, 2
TYPES = {"counter": 1, "gauge": 2, "gaugehistogram": 4, "summary": 5}
HEADERS = {
    "1": {"Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"},
    "2": {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    },
}


# A request that was answered so often with 5xx or 429 may be sent in shares.
FAILURES = 3


class ViolationError(Exception):
    """The sender did what the specification forbids."""


def must(condition, what):
    if not condition:
        raise ViolationError(what)


# -- protobuf


def varint(data, at):
    number = shift = 0
    while True:
        must(at < len(data), "a varint beyond the end")
        must(shift < 70, "a varint of more than ten bytes")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number & (1 << 64) - 1, at


def message(data, known):
    """Take a message apart: field number -> values in their order; `known`: number -> wire type."""
    found, at = {number: [] for number in known}, 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        must(number in known, f"field {number} is none of {sorted(known)}")
        must(wire == known[number], f"field {number} has wire type {wire}")
        if wire == VARINT:
            value, at = varint(data, at)
        else:
            size, at = (8, at) if wire == EIGHT else varint(data, at)
            must(at + size <= len(data), f"field {number} ends beyond its message")
            value = data[at : at + size]
            at += size
        found[number].append(value)
    return found


def one(values, default=0):
    must(len(values) <= 1, "a field that is not repeated comes twice")
    return values[0] if values else default


def packed(values):
    numbers = []
    for data in values:
        at = 0
        while at < len(data):
            number, at = varint(data, at)
            numbers.append(number)
    return numbers


def signed(number):
    return number - (1 << 64) if number >> 63 else number


def unzigzag(number):
    return number >> 1 ^ -(number & 1)


def bits(data):
    return struct.unpack("<Q", data or bytes(8))[0]


def number_of(data):
    value = struct.unpack("<d", data or bytes(8))[0]
    if bits(data) == STALE_BITS:
        return "stale"
    must(value == value, "NaN that is no stale marker")
    return value


# -- messages: each gives [(labels, points, metadata)], points [(ms, value or histogram, start ms)]


def check_labels(pairs):
    names = [name for name, _ in pairs]
    must(pairs, "a series without labels")
    must(names == sorted(names), f"labels are not sorted: {names}")
    must(len(set(names)) == len(names), f"a label comes twice: {names}")
    must(all(name and value for name, value in pairs), f"an empty label: {pairs}")
    must(all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in names), f"label names: {names}")
    must(all(name == "__name__" or name[:2] != "__" for name in names), f"a reserved label: {names}")
    must(re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", dict(pairs).get("__name__", "")), f"no valid name: {pairs}")
    return tuple(pairs)


def read_1(data):
    found = []
    for series in message(data, {1: BYTES})[1]:
        parts = message(series, {1: BYTES, 2: BYTES})
        pairs = [message(each, {1: BYTES, 2: BYTES}) for each in parts[1]]
        labels = check_labels([(one(each[1], b"").decode(), one(each[2], b"").decode()) for each in pairs])
        samples = [message(each, {1: EIGHT, 2: VARINT}) for each in parts[2]]
        found.append((labels, [(signed(one(s[2])), number_of(one(s[1], b"")), 0) for s in samples], None))
    return found


def read_2(data):
    request = message(data, {4: BYTES, 5: BYTES})
    symbols = [each.decode() for each in request[4]]
    must(symbols and not symbols[0], "the first symbol is not empty")
    must(len(set(symbols)) == len(symbols), "a symbol comes twice")

    def symbol(ref):
        must(ref < len(symbols), f"symbol {ref} of {len(symbols)}")
        return symbols[ref]

    found = []
    for series in request[5]:
        parts = message(series, {1: BYTES, 2: BYTES, 3: BYTES, 5: BYTES})
        refs = packed(parts[1])
        must(len(refs) % 2 == 0, "a label without a value")
        labels = check_labels([(symbol(a), symbol(b)) for a, b in zip(refs[::2], refs[1::2], strict=True)])
        must(not (parts[2] and parts[3]), f"{labels}: samples and histograms in one series")
        about = message(one(parts[5], b""), {1: VARINT, 3: VARINT, 4: VARINT})
        metadata = (one(about[1]), symbol(one(about[3])), symbol(one(about[4])))
        must(metadata[0] in TYPES.values(), f"{labels}: type {metadata[0]}")
        must(bool(parts[3]) == (metadata[0] == TYPES["gaugehistogram"]), f"{labels}: type {metadata[0]}")
        samples = [message(each, {1: EIGHT, 2: VARINT, 3: VARINT}) for each in parts[2]]
        points = [(signed(one(s[2])), number_of(one(s[1], b"")), signed(one(s[3]))) for s in samples]
        points += [histogram(each) for each in parts[3]]
        for ms, _, start in points:
            must(start == 0 or start < ms, f"{labels}: starts at {start}, and has a sample at {ms}")
        found.append((labels, points, metadata))
    return found


def histogram(data):
    read = message(
        data, {1: VARINT, 3: EIGHT, 4: VARINT, 5: EIGHT, 6: VARINT, 11: BYTES, 12: BYTES, 14: VARINT, 15: VARINT}
    )
    must(len(read[1]) == 1 and len(read[6]) == 1, "a histogram without its count or its zero count")
    schema, zeroes, total = unzigzag(one(read[4])), read[6][0], read[1][0]
    must(-4 <= schema <= 8, f"schema {schema}")
    must(one(read[14]) == 3, "no gauge histogram")
    deltas = [unzigzag(each) for each in packed(read[12])]
    counts = [sum(deltas[: end + 1]) for end in range(len(deltas))]
    must(all(count > 0 for count in counts), f"bucket counts {counts}")
    buckets, index = {}, None
    for span in read[11]:
        parts = message(span, {1: VARINT, 2: VARINT})
        offset, length = unzigzag(one(parts[1])), one(parts[2])
        must(index is None or offset > 0, "spans that touch or overlap")
        must(length, "an empty span")
        index = offset + (index or 0)
        for _ in range(length):
            must(len(buckets) < len(counts), "more buckets in spans than deltas")
            buckets[index] = counts[len(buckets)]
            index += 1
    must(len(buckets) == len(counts), "more deltas than buckets in spans")
    must(total == zeroes + sum(counts), f"count {total}, buckets {zeroes} + {sum(counts)}")
    value = number_of(one(read[3], b""))
    return signed(one(read[15])), value if value == "stale" else (schema, zeroes, value, tuple(buckets.items())), 0


# -- the receiver


class StrictReceiver(HttpReceiver):
    """Speaks `versions`: "1", "12"; "old" takes everything for 1.0; "deaf" answers 400 to 2.0. Fails as it is told to.

    Attributes:
        taken: labels -> [(ms, value)], of all that was acknowledged; samples and histograms apart.
        metadata: labels -> (type, help, unit).
        violations: what the sender should not have done, in words.
        poison: (labels, ms) that are refused for good.
        trouble: the share of requests that fail for now.
    """

    def __init__(self, versions="12", *, seed=0):
        self.versions, self.random = versions, random.Random(seed)
        self.native, self.trouble, self.poison = True, 0.0, set()
        self.n_requests, self.statuses = 0, {}
        self.forget()
        super().__init__("/api/v1/write")
        self.violations = self.objections

    def forget(self):
        """Begin with a new sender: an empty database."""
        self.taken, self.metadata, self.starts = {}, {}, {}
        self._refused, self._again = set(), None
        self._failures, self._looked_into = 0, set()

    def take(self, path, headers, body):
        self.n_requests += 1
        try:
            status, answer = self._take(headers, body)
        except (ViolationError, UnicodeDecodeError, snappy.UncompressError) as error:
            self.violations.append(f"request {self.n_requests}: {type(error).__name__}: {error}")
            status, answer = 400, {}
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status, answer, b"said"

    def _take(self, headers, body):
        version = "2" if "proto=" in headers["Content-Type"] else "1"
        for name, value in {**HEADERS[version], "Content-Encoding": "snappy"}.items():
            must(headers.get_all(name) == [value], f"{name}: {headers.get_all(name)}")
        must(re.fullmatch(r"[\w.-]+/[\w.+-]+", headers["User-Agent"] or ""), f"User-Agent: {headers['User-Agent']}")
        must(body not in self._refused, "a request that was refused with 4xx comes again")
        if self.versions == "old" and version == "2":
            return 204, {}  # an unknown message whose fields it does not know: nothing to store
        if version == "2" and "2" not in self.versions:
            return 400 if self.versions == "deaf" else 415, {}
        series = (read_1 if version == "1" else read_2)(snappy.decompress(body))
        must(series, "an empty request")
        must(len({(labels, self._is_native(m)) for labels, _, m in series}) == len(series), "a series comes twice")
        self._check_again(body, {labels for labels, _, _ in series})
        for labels, points, metadata in series:
            self._check_order(labels, points, metadata)
        cannot = not self.native and any(self._is_native(m) for _, _, m in series)
        if self.random.random() < self.trouble:
            if not cannot:  # who gives histograms up need not send them again
                self._failures, self._again = self._failures + 1, body
            status = self.random.choice((500, 502, 503, 429))
            return status, self.random.choice(
                ({}, {"Retry-After": "0"}, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})
            )
        if cannot:
            return 500, {"X-Prometheus-Remote-Write-Samples-Written": "0"}
        return self._store(version, body, series)

    def _check_again(self, body, names):
        """What failed comes again as it was; after the third time in shares, which tell whether it is one of its series.

        A series that it is waits on its own, while others are sent.
        """
        if not self._again:
            self._failures = 0
        elif self._failures >= FAILURES:
            self._looked_into |= self._sent
        if not names <= self._looked_into:
            must(self._again in (None, body) or self._sent <= self._looked_into, "not the request that failed")
        self._again, self._sent = None, names

    @staticmethod
    def _is_native(metadata):
        return metadata is not None and metadata[0] == TYPES["gaugehistogram"]

    def _check_order(self, labels, points, metadata):
        must(points, f"{labels}: no sample")
        stamps = [ms for ms, _, _ in points]
        must(stamps == sorted(set(stamps)), f"{labels}: samples are not in the order of time")
        must(all(value != "stale" for _, value, _ in points[:-1]), f"{labels}: goes on after its end")
        before = self.taken.get((labels, self._is_native(metadata)))
        if before:
            must(before[-1][1] != "stale", f"{labels}: goes on after its end")
            again = [(ms, value) for ms, value, _ in points if ms <= before[-1][0]]
            # Shares that were taken come again, as they were, where another of them was answered by not now.
            must(not again or labels in self._looked_into, f"{labels}: {stamps[0]} after {before[-1][0]}")
            must(all(each in before for each in again), f"{labels}: {again} again, and another than before")
        starts = {start for _, _, start in points if start} | (
            {self.starts[labels]} if labels in self.starts else set()
        )
        must(len(starts) <= 1, f"{labels}: starts at {starts}")
        if starts:
            must(metadata[0] in (TYPES["counter"], TYPES["summary"]), f"{labels}: a start, of type {metadata[0]}")
            [self.starts[labels]] = starts

    def _store(self, version, body, series):
        bad = {(labels, ms) for labels, points, _ in series for ms, _, _ in points} & self.poison
        if bad and version == "1":
            self._refused.add(body)
            return 400, {}
        written = [0, 0]
        for labels, points, metadata in series:
            native = self._is_native(metadata)
            good = [(ms, value) for ms, value, _ in points if native or (labels, ms) not in self.poison]
            held = self.taken.setdefault((labels, native), [])
            held.extend(each for each in good if not held or each[0] > held[-1][0])
            written[native] += len(good)
            must(metadata is None or self.metadata.setdefault((labels, native), metadata) == metadata, "other metadata")
        if version == "1":
            return 204, {}
        if bad:
            self._refused.add(body)
        counts = zip(("Samples", "Histograms", "Exemplars"), (*written, 0), strict=True)
        return 400 if bad else 204, {f"X-Prometheus-Remote-Write-{name}-Written": str(n) for name, n in counts}
