"""The same questions to a real Prometheus that has the same data: as many answers are equal as there are questions."""

import json
import math
import random
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from itertools import product

import pytest
import snappy

from rondo_promql import PromqlError, evaluate, evaluate_instant

START_S = 1_700_000_000
EVERY_S = 5
N_SAMPLES = 900
# What a demonstration service has: counters that are reset, gauges, classic histograms, series that come and go.
HOSTS = [f"demo.example.org:{port}" for port in (10000, 10001, 10002)]
BOUNDS = ["0.0001", "0.00015", "0.001", "0.01", "0.1", "1", "10", "+Inf"]
SIMPLE = ("sum", "avg", "max", "min", "count", "stddev", "stdvar", "group")
# Not atan2, which keeps the name until Prometheus 3.
ARITHMETIC = ("+", "-", "*", "/", "%", "^")
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
RANGES = ("6s", "1m", "7m", "15m")
QUANTILES = ("-0.5", "0", "0.1", "0.5", "0.75", "0.95", "1", "1.5", "NaN")
OVER_TIME = ("sum", "avg", "max", "min", "count", "stddev", "stdvar", "last", "present", "absent")
MATHEMATICS = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sgn",
    "round",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "deg",
    "rad",
]
DATES = ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"]
# Each is asked once for each combination of what stands in its braces.
QUESTIONS = (
    "42", "1.234", ".123", "1.23e-3", "0x3d", "Inf", "-Inf", "NaN",
    "bytes", '{{__name__="bytes"}}', 'bytes{{type="free"}}', 'bytes{{type!="free"}}', 'bytes{{host=~"demo.*:.*"}}',
    'bytes{{host=~"host"}}', 'bytes{{host!~".*:10000"}}', '{{type="free",host!="demo.example.org:10000"}}', "nothing",
    "bytes offset {offset}", "bytes offset -{offset}", "intermittent", "ended", "strange", "-strange", "strange == strange",
    "bytes @ 1700002000.5", "bytes @ start()", "bytes @ end() offset {offset}", "rate(cpu_total[1m] @ end())",
    "{simple}({vector})", "{simple} by() (bytes)", "{simple} by(host) (bytes)", "{simple} by(host,type) (bytes)",
    "{simple} by(none) (bytes)", "{simple} without() (bytes)", "{simple} without(host) (bytes)",
    "{simple} without(host,type) (bytes)", "{simple} without(none) (bytes)", "{simple} by(host) (rate(cpu_total[1m]))",
    "{extreme}(3, bytes)", "{extreme} by(host) (2, bytes)", "{extreme} without(host) (2, bytes)",
    "{extreme} without() (2, bytes)", "{extreme}(0, bytes)", "{extreme}(scalar(cpus_one), bytes)",
    "quantile({quantile}, bytes)", "quantile by(host) ({quantile}, bytes)", "quantile({quantile}, strange)",
    'count_values("value", buckets_bucket)', 'count_values by(host) ("value", strange)', "avg(max by(type) (bytes))",
    "1 * 2 + 4 / 6 - 10 % 2 ^ 2", "cpus + (1 {comparison} bool 2)", "bytes {binary} 1.2345", "strange {binary} 3",
    "bytes {comparison} bool 1.2345", "1.2345 {comparison} bool bytes", "0.12345 {binary} bytes",
    "(1 * 2 + 4 / 6 - (10%7)^2) {binary} bytes", "timestamp(bytes * 1)", "timestamp(-bytes)", "timestamp(bytes)",
    "bytes {binary} on(host, job, type) bytes", "bytes {comparison} bool on(host, job, type) bytes",
    "sum by(host, type) (bytes) {binary} on(host, type) group_left(job) bytes",
    "bytes {binary} on(host) group_left() cpus", "cpus {binary} on(host) group_right(type) bytes",
    "bytes / on(host, job, type, __name__) bytes", "sum without(job) (bytes) / on(host, type) bytes",
    "bytes / on(host, job) group_left cpus", "bytes / on(host, type, job, none) bytes", "bytes {sets} bytes",
    'bytes {sets} on(type) bytes{{host="demo.example.org:10000"}}', "bytes {sets} ignoring(type) cpus",
    'bytes{{type="free"}} {sets} intermittent', "intermittent {sets} bytes", "bytes + on(host) cpus", "cpus + on(host) bytes",
    "bytes + on(job) group_left cpus", "cpus * Inf", "cpus * -Inf", "cpus * NaN", "bytes + -(1)", "-bytes", "-1 ^ 2",
    "1 {arithmetic} time()", "time() {arithmetic} 1", "time() {comparison} bool 1", "time() {binary} bytes",
    "bytes {binary} time()", "{over}_over_time(bytes[{range}])", "{over}_over_time(strange[{range}])",
    "{over}_over_time(intermittent[{range}])", "{over}_over_time(ended[{range}])",
    "quantile_over_time({quantile}, bytes[{range}])", "quantile_over_time({quantile}, strange[{range}])",
    "timestamp(timestamp(cpus))", "{mathematics}(bytes)", "{mathematics}(-bytes)", "{mathematics}(unit)",
    "{rate}(nothing[5m])", "{rate}(cpu_total[{range}])", "{rate}(intermittent[{range}])", "{rate}(ended[{range}])",
    "delta(strange[{range}])", "{rate}(cpu_total[1m] offset {offset})",
    "deriv(bytes[{range}])", "deriv(intermittent[{range}])", "predict_linear(bytes[{range}], 600)", "time()",
    "predict_linear(ended[{range}], 600)", "deriv(cpus[{range}])",
    'label_replace(cpus, "job", "to-$1", "host", "demo.example.org:(.*)")', 'label_replace(cpus, "job", "x", "host", "demo")',
    'label_replace(cpus, "job", "$1-$2", "host", "demo(.*):(.*)")', 'label_replace(cpus, "job", "v-$1", "none", "s-(.*)")',
    'label_replace(cpus, "job", "value-$1", "none", "(.*)")', 'label_replace(cpus, "job", "", "dst", ".*")',
    'label_replace(cpus, "new", "${{a}}x$$y", "host", "(?P<a>[a-z]+).*")', 'label_replace(cpus, "job", "$1", "src", "(.*")',
    'label_replace(cpus, "\\xff", "", "src", "(.*)")', 'label_replace(cpus, "host", "", "", "")',
    'label_join(cpus, "new", "-", "host", "job")', 'label_join(cpus, "job", "-", "host", "job")',
    'label_join(cpus, "job", "-", "host")', 'label_join(cpus, "\\xff", "-", "host")', 'label_join(cpus, "host", "-")',
    "{date}()", "{date}(batch_seconds offset {offset})", "{clamp}(bytes, 2e8)", "{clamp}(strange, 2)",
    "clamp(bytes, 0, 1)", "clamp(bytes, 1e8, 1e9)", "clamp(bytes, 1e12, 0)", "round(bytes, 5)", "round(unit, 0.1)",
    "resets(cpu_total[{range}])", "resets(strange[{range}])", "changes(batch_seconds[{range}])", "changes(strange[{range}])",
    "vector(1.23)", "vector(time())", "scalar(cpus)", "scalar(cpus_one)", "scalar(nothing)", "sort(bytes)", "sort_desc(bytes)",
    "histogram_quantile({quantile}, rate(buckets_bucket[1m]))", "histogram_quantile({quantile}, buckets_bucket)",
    "histogram_quantile({quantile}, sum by(le) (rate(buckets_bucket[7m])))", "histogram_quantile(0.9, nothing)",
    "histogram_quantile(0.9, bytes)", 'histogram_quantile(0.9, {{__name__=~"buckets_.+"}})',
    'histogram_quantile({quantile}, buckets_bucket{{le!="0.1"}})', 'histogram_quantile(0.9, buckets_bucket{{le!="+Inf"}})',
    "absent(bytes)", "absent(nothing)", 'absent(nothing{{a="b",c=~"d",e!="f"}})', "absent(intermittent)",
    'absent_over_time(nothing{{a="b"}}[5m])', "absent(sum(nothing))", "pi()", "group(nothing)", "sum(nothing) or vector(0)",
    "max_over_time((time() - max(batch_seconds) < 1000)[5m:10s] offset 5m)", "avg_over_time(rate(cpu_total[1m])[2m:10s])",
    "{over}_over_time(bytes[5m:])", "{over}_over_time(rate(cpu_total[1m])[3m:7s])", "rate(cpu_total[5m:13s])",
    "max_over_time(sum by(host) (bytes)[1m:5s] @ end())", "sum_over_time(max_over_time(bytes[61s:9s])[2m:30s])",
    'rate({{__name__=~"bytes|cpus"}}[1m])', 'abs({{__name__=~"bytes|intermittent"}})', "foo(bytes)", "rate(bytes)",
    '{{__name__=~".*"}}', "1 > 2", "bytes and 1", "sum(bytes) by (", 'bytes{{type="x"',
)  # fmt: skip
CHOICES = {
    "arithmetic": ARITHMETIC,
    "binary": ARITHMETIC + COMPARISONS,
    "clamp": ("clamp_min", "clamp_max"),
    "comparison": COMPARISONS,
    "date": DATES,
    "extreme": ("topk", "bottomk"),
    "mathematics": MATHEMATICS,
    "offset": ("1m", "5m", "10m"),
    "over": OVER_TIME,
    "quantile": QUANTILES,
    "range": RANGES,
    "rate": ("rate", "increase", "delta", "irate", "idelta"),
    "sets": ("and", "or", "unless"),
    "simple": SIMPLE,
    "vector": ("bytes", "nothing", "intermittent", "strange", "unit"),
}


def questions():
    """Give every question for every combination."""
    found = []
    for template in QUESTIONS:
        names = [name for name in CHOICES if f"{{{name}}}" in template]
        each = product(*(CHOICES[name] for name in names))
        found += [template.format(**dict(zip(names, chosen, strict=True))) for chosen in each]
    return found


def demonstration(stale):
    """Give the series, the same on every run; samples lie half a second off the steps, so that none lies on an edge."""
    chance = random.Random(7)
    stamps = [(START_S + EVERY_S * place) * 1000 + 500 for place in range(N_SAMPLES)]
    found = []

    def add(name, values, **labels):
        kept = [(at, value) for at, value in zip(stamps, values, strict=True) if value is not None]
        found.append(
            ({"__name__": name, "job": "demo", **labels}, [at for at, _ in kept], [value for _, value in kept])
        )

    def walk(start, step, *, resets=0.0):
        value, values = start, []
        for _ in range(N_SAMPLES):
            value = 0.25 if chance.random() < resets else value + step()
            values.append(value)
        return values

    for host in HOSTS:
        for kind in ("free", "used", "cached", "buffers"):
            add("bytes", walk(chance.uniform(1e8, 1e9), lambda: chance.gauss(0, 1e6)), host=host, type=kind)
        add("cpus", [4.0] * N_SAMPLES, host=host)
        add("unit", [chance.uniform(-1, 1) for _ in stamps], host=host)
        for mode in ("user", "system", "idle"):
            add("cpu_total", walk(5e4, lambda: chance.uniform(0, 5), resets=0.004), host=host, mode=mode)
        add("batch_seconds", [START_S + 60 * (place // 12) + 0.5 for place in range(N_SAMPLES)], host=host)
        for path in ("/a", "/b"):
            counts, columns = [1000.0 * place for place in range(len(BOUNDS))], []
            for _ in stamps:
                seen = [chance.randrange(4) for _ in BOUNDS]
                counts = [count + sum(seen[: place + 1]) for place, count in enumerate(counts)]
                columns.append(list(counts))
            for place, bound in enumerate(BOUNDS):
                add("buckets_bucket", [row[place] for row in columns], host=host, path=path, le=bound)
            add("buckets_count", [row[-1] for row in columns], host=host, path=path)
        gaps = [value if place // 70 % 2 else None for place, value in enumerate(walk(1e3, chance.random))]
        add("intermittent", gaps, host=host)
        ends = [stale if place % 90 == 60 else None if place % 90 > 60 else float(place) for place in range(N_SAMPLES)]
        add("ended", ends, host=host)
        odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e100, 1e-100, -7.5, 3.0, 3.0, 1e16, 1.0]
        add("strange", [chance.choice(odd) if chance.random() < 0.2 else 2.0 for _ in stamps], host=host)
    add("cpus_one", [2.0] * N_SAMPLES)
    return found


def write_request(series):
    """Encode a remote-write request: samples of series, by the message's own numbers of fields."""

    def varint(number):
        out = bytearray()
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        return bytes([*out, number])

    def field(number, payload):
        return varint(number << 3 | 2) + varint(len(payload)) + payload

    message = b""
    for labels, stamps, values in series:
        body = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
        for at, value in zip(stamps, values, strict=True):
            body += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at))
        message += field(1, body)
    return snappy.compress(message)


class Server:
    """A Prometheus on the loopback interface that takes remote-write."""

    def __init__(self, directory):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        config = directory / "prometheus.yml"
        config.write_text("global: {}\n")
        self._log = (directory / "log").open("wb")
        command = [
            shutil.which("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--web.enable-remote-write-receiver",
        ]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        until = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < until:
            try:
                self.ask("/-/ready")
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError((directory / "log").read_text()[-2000:])

    def ask(self, path, data=None, headers=None):
        """Give the answer's text; one of 400 or 422 is an answer too."""
        request = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            if error.code not in {400, 422}:
                raise
            return error.read()

    def query(self, path, **arguments):
        """Give what the API answers."""
        return json.loads(self.ask(f"/api/v1/{path}", urllib.parse.urlencode(arguments).encode()))

    def write(self, series):
        """Send all samples, a few minutes' of all series at a time."""
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        for start in range(START_S * 1000, (START_S + EVERY_S * N_SAMPLES) * 1000, 300_000):
            part = []
            for labels, stamps, values in series:
                now = [place for place, at in enumerate(stamps) if start <= at < start + 300_000]
                if now:
                    part.append((labels, [stamps[place] for place in now], [values[place] for place in now]))
            self.ask("/api/v1/write", write_request(part), headers)

    def stop(self):
        self._process.kill()  # its data goes with it
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def series_of_demonstration():
    return demonstration(struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory, series_of_demonstration):
    running = Server(tmp_path_factory.mktemp("prometheus"))
    try:
        running.write(series_of_demonstration)
        yield running
    finally:
        running.stop()


def theirs(answer):
    """Give Prometheus's answer as {labels: [(ms, value)]}, None if it refused."""
    if answer["status"] != "success":
        return None
    data = answer["data"]
    if data["resultType"] in {"scalar", "string"}:
        at_s, value = data["result"]
        return {frozenset(): [(round(at_s * 1000), float(value))]}
    return {
        frozenset(each["metric"].items()): [
            (round(at_s * 1000), float(value)) for at_s, value in each.get("values", [each.get("value")])
        ]
        for each in data["result"]
    }


def ours(ask):
    """Give our answer in the same form, None if the query was refused."""
    try:
        result = ask()
    except PromqlError:
        return None
    if result.kind == "scalar":
        return {frozenset(): [(None, result.value)]}
    return {
        frozenset(labels.items()): list(zip(stamps.tolist(), values.tolist(), strict=True))
        for labels, stamps, values in result.series
    }


def alike(left, right):
    """Say whether two values are one but for rounding; Prometheus fits lines by sums that cancel, to eight digits or so."""
    return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-9)


def difference(ours, theirs):
    """Say in what two answers differ, "" if in nothing."""
    if ours is None or theirs is None:
        return "" if ours is theirs else f"refused by {'us' if ours is None else 'them'} alone"
    if ours.keys() != theirs.keys():
        return (
            f"ours alone {list(ours.keys() - theirs.keys())[:2]}, theirs alone {list(theirs.keys() - ours.keys())[:2]}"
        )
    for labels, points in ours.items():
        if len(points) != len(theirs[labels]):
            return f"{dict(labels)}: {len(points)} points, not {len(theirs[labels])}"
        for (at, value), (other_at, other) in zip(points, theirs[labels], strict=True):
            if at not in {None, other_at} or not alike(value, other):
                return f"{dict(labels)} at {at}: {value!r}, not {other!r}"
    return ""


@pytest.mark.prometheus
def test_every_question_is_answered_as_prometheus_does(server, series_of_demonstration, lists):
    """Ranges of steps and single times; what Prometheus refuses is refused."""
    source = lists(*series_of_demonstration)
    # A quarter of a second off, so that no step of a subquery lies on an edge, which Prometheus 3 counts otherwise than 2.
    start, end, step = START_S + 3000.25, START_S + 3900.25, 47
    wrong = []
    for query in questions():
        answer = server.query("query_range", query=query, start=start, end=end, step=step)
        found = ours(lambda query=query: evaluate(query, source, int(start * 1000), int(end * 1000), step * 1000))
        if said := difference(found, theirs(answer)):
            wrong.append(f"{query}: {said}")
    for query in questions()[::7]:
        answer = server.query("query", query=query, time=end)
        found = ours(lambda query=query: evaluate_instant(query, source, int(end * 1000)))
        if said := difference(found, theirs(answer)):
            wrong.append(f"{query} at once: {said}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(questions())}", *wrong])
