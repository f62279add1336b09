"""Compare the engine with a real Prometheus: `compared.py SEED COUNT` prints each expression that they answer otherwise.

Both have the same random series, Prometheus by remote-write; with `--stored` they are recorded in a store, which `rondo serve` shows
and Prometheus reads remotely. Where versions of Prometheus differ the comparison does
not look (VERSIONS). Examples are made in groups, each of data of its own and named by its number, so that one can be
run again: `compared.py SEED 1 --from NUMBER`.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count as count_up
from pathlib import Path
from unittest import mock

import numpy as np
import plain_source
from expressions import Expressions

import rondo_promql
from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_promql.evaluation import ranges
from rondo_promql.functions import rates
from rondo_web import Sidecar, listen

# What differs between Prometheus 2.42, which is compared with, and 3, whose semantics the engine has. Of the first three
# nothing is asked; a counter's way to zero is reckoned as 2 does here; differences of the others are counted as excused.
#  - A range holds its left edge in 2 and not in 3: no sample and no subquery's step lies on an edge here.
#  - A regular expression's dot matches no newline in 2: no label has one here.
#  - atan2 drops the metric's name in 3 and not in 2: it is asked of what has none here.
#  - 2 takes a counter back to zero before it shortens a long way to a window's start, 3 after it.
VERSIONS = (
    (r"\b(stddev|stdvar)\b", "values", "of NaN or infinities 2 gives 0; else it sums less exactly"),
    (r"\b(stddev|stdvar)_over_time\b", "values", "2 sums less exactly, and of infinities otherwise"),
    (r"\b(stddev|stdvar)\b.*[=<>]|[=<>].*\b(stddev|stdvar)\b", "any", "what such a difference leaves of a comparison"),
    (r"\btimestamp\b.*@.*offset", "any", "2 sees no sample but near the step's own instant"),
    (r"\b(predict_linear|quantile_over_time)\b.*@", "any", "2 loses steps of what does not change"),
)
# What gives a last digit of its own: functions of the machine's library, and sums, by their order.
INEXACT = (
    r"e|exp|a?(?:sin|cos|tan)h?|ln|log2|log10|deg|rad|rate|increase|delta|deriv|predict_linear|histogram_quantile"
    r"|(?:sum|avg|quantile|stddev|stdvar)(?:_over_time)?"
)
# What no version promises: which of equal values topk takes, and the last digits that a difference leaves of large numbers.
UNSURE = (
    (r"\b(topk|bottomk)\b", "any", "any of equal values may be chosen"),
    (r"\b(deriv|predict_linear)\b", "values", "the slope of large values"),
    (r"\b(rate|increase|delta)\((odd|\()", "values", "differences of numbers of all sizes, and what they equal"),
    (r"\b(rate|increase|delta)\(odd.*[=<>]|[=<>].*\b(rate|increase|delta)\(odd", "any", "what such differences equal"),
    (
        rf"%.*\^|\^.*%|%.*\b({INEXACT})\b|\b({INEXACT})\b.*%|\b(sin|cos|tan)\b",
        "values",
        "the last digit of what leaves a rest, or of a large number's",
    ),
    (
        r"(/|\^|\batan2\b).*\b(max|min)\b.*\bodd\b",
        "values",
        "the sign of a zero that is the greatest or the least of both",
    ),
    (r"\bcount_values\b", "any", "the last digits of a value that became a label"),
    (
        r"\b(minute|hour|month|year|day\w+)\b.*(\b(exp|cosh|sinh)\b|\^)",
        "values",
        "the seconds of what no float counts by seconds",
    ),
    (
        r"\b(floor|ceil|round)\b.*\bavg\b",
        "values",
        "the side of a whole number on which a mean lies, by the order of its sum",
    ),
)
SUBQUERY = re.compile(r":\w*\]")
TOGETHER = 500  # expressions to a set of series
START_MS, LENGTH_S = 1_699_999_990_000, 1800
TIMES = ((617, 1787, 10), (307, 1207, 30), (1207, 1207, 10), (7, 97, 10), (1777, 2397, 60))


class Prometheus:
    """A server on a free port of the loopback interface, with a directory that goes with it."""

    def __init__(self, config="global: {}\n"):
        self.config = config

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        config = self.directory / "prometheus.yml"
        config.write_text(self.config)
        self.log = (self.directory / "log").open("wb")
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={self.directory / 'data'}"]
        arguments += [f"--web.listen-address={self.url[7:]}", "--web.enable-remote-write-receiver"]
        self.process = subprocess.Popen([shutil.which("prometheus"), *arguments], stdout=self.log, stderr=self.log)
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(self.url + "/-/ready", timeout=5).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory)

    def ask(self, expression, start_s, end_s, step_s):
        """Give (kind, [(labels, [(s, value), ...])]), or the text of its error."""
        data = {"query": expression, "start": start_s, "end": end_s, "step": step_s}
        if start_s == end_s:
            data = {"query": expression, "time": start_s}
        path = "/api/v1/query" if start_s == end_s else "/api/v1/query_range"
        try:
            with urllib.request.urlopen(self.url + path, urllib.parse.urlencode(data).encode(), timeout=60) as answer:
                data = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return json.load(error)["error"]
        kind, found = data["resultType"], data["result"]
        if kind in {"scalar", "string"}:
            return kind, float(found[1]) if kind == "scalar" else found[1]
        if kind == "vector":
            return kind, [(each["metric"], [each["value"]]) for each in found]
        return kind, [(each["metric"], each["values"]) for each in found]


def answer(source, expression, start_s, end_s, step_s):
    """Give what the engine says in the shape of `ask`."""
    try:
        if start_s == end_s:
            result = rondo_promql.evaluate_instant(expression, source, start_s * 1000)
        else:
            result = rondo_promql.evaluate(expression, source, start_s * 1000, end_s * 1000, step_s * 1000)
    except rondo_promql.PromqlError as error:
        return str(error)
    plain = result.plain()
    if result.kind in {"scalar", "string"}:
        return result.kind, plain
    if result.kind == "vector":
        return result.kind, [(dict(labels), [(start_s, value)]) for labels, value in plain]
    return result.kind, [
        (dict(labels), [(stamp / 1000, value) for stamp, value in zip(stamps, values, strict=True)])
        for labels, stamps, values in plain
    ]


def equal(one, other, scale):
    """Tell whether values are the same but for the last digits, which depend on the order of a sum."""
    one, other = float(one), float(other)
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    if math.isinf(one) or math.isinf(other):
        return one == other
    return abs(one - other) <= 1e-9 * max(abs(one), abs(other), scale)


def key(labels):
    """Give labels in order; a value that count_values wrote without its last digits."""
    return tuple(sorted((name, f"{float(value):.9g}" if name == "v" else value) for name, value in labels.items()))


def difference(theirs, ours):
    """Say how two answers differ; None where they do not."""
    if isinstance(theirs, str) or isinstance(ours, str):
        if isinstance(theirs, str) and isinstance(ours, str):
            return None
        return f"theirs: {shown(theirs)}; ours: {shown(ours)}"
    if theirs[0] != ours[0]:
        return f"kind {theirs[0]}, not {ours[0]}"
    if theirs[0] in {"scalar", "string"}:
        return None if equal(theirs[1], ours[1], 0) else f"{theirs[1]}, not {ours[1]}"
    keyed = [{key(labels): points for labels, points in each[1]} for each in (theirs, ours)]
    if set(keyed[0]) != set(keyed[1]):
        return f"theirs only: {set(keyed[0]) - set(keyed[1])}; ours only: {set(keyed[1]) - set(keyed[0])}"
    for labels, points in keyed[0].items():
        mine = keyed[1][labels]
        if [float(at) for at, _ in points] != [float(at) for at, _ in mine]:
            apart = {float(at) for at, _ in points} ^ {float(at) for at, _ in mine}
            return f"{labels}: {len(points)} points, not {len(mine)}; in one only: {sorted(apart)[:5]}"
        finite = [abs(float(value)) for _, value in points if math.isfinite(float(value))]
        scale = max(finite, default=0.0) * 1e-3
        for (at, value), (_, own) in zip(points, mine, strict=True):
            if not equal(value, own, scale):
                return f"{labels} at {at}: {value}, not {own!r}"
    return None


def extrapolation_of_2(windows, first, last, counter, *, per_second):
    """Extrapolate as 2 does: a counter to zero first, and then by half an interval where that is still far."""
    starts, ends = windows.ends - windows.range_ms, windows.ends
    first_at, last_at = windows.timestamps[first], windows.timestamps[last]
    sampled = (last_at - first_at) / 1000.0
    interval = sampled / np.maximum(last - first, 1)
    to_start, to_end = (first_at - starts) / 1000.0, (ends - last_at) / 1000.0
    if counter is not None:
        to_start = rates._until_zero(sampled, to_start, *counter)
    to_start, to_end = (np.where(way >= interval * 1.1, interval / 2, way) for way in (to_start, to_end))
    factor = (sampled + to_start + to_end) / sampled
    return factor / (windows.range_ms / 1000.0) if per_second else factor


def excuse(expression, found):
    """Give why a difference is none of the engine's; None where it is."""
    kind = "values" if ", not " in found and "points" not in found else "labels"
    for pattern, of, why in (*VERSIONS, *UNSURE):
        if of in {"any", kind} and re.search(pattern, expression):
            return why
    return None


def refused_between(expression, source, times, theirs):
    """Say whether Prometheus refuses what a subquery's steps have that lie in no window: the engine leaves these out."""
    with mock.patch.object(ranges, "within_windows", lambda steps, *_: steps):
        return difference(theirs, answer(source, expression, *times)) is None


def shown(answer):
    return (
        answer if isinstance(answer, str) else f"{answer[0]} of {len(answer[1])}" if answer[0][-1] in "rx" else answer
    )


def pushed(chance):
    """Give a Prometheus that was sent random series, and a source of the same."""
    series = plain_source.random_series(chance, START_MS, LENGTH_S)
    server = Prometheus().__enter__()
    plain_source.push(server.url + "/api/v1/write", series)
    return server, plain_source.PlainSource(series)


@contextmanager
def stored():
    """Give what makes a Prometheus that reads a store of random series remotely, and the store as a source."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        numbers = count_up()

        def begin(chance):
            path = Path(directory) / str(next(numbers))
            record(chance, path)
            sidecar = stack.enter_context(Sidecar(path, listen("127.0.0.1", 0)))
            url = sidecar.url.removesuffix("/metrics") + "/api/v1/read"
            config = json.dumps({"remote_read": [{"url": url, "read_recent": True}]})
            return Prometheus(config).__enter__(), stack.enter_context(StoreReader(path)).source()

        yield begin


def record(chance, path):
    """Record counters, gauges, buckets and an info, with gaps, for as long as the series of `pushed`."""
    clock = ManualClock(START_MS * 10**6 // 10**9 * 10**9)
    schemas = [Schema(kind, kind, 64, (Tier("1s", "1h"),)) for kind in ("counter", "gauge")]
    with Store(path, schemas, clock=clock) as store:
        totals, levels, odd, buckets = [], [], set(), []
        for instance in "ab":
            for code in chance.sample(("200", "404", "500"), chance.randint(1, 3)):
                labels = {"instance": instance, "job": chance.choice("xy"), "code": code}
                totals += [store.counter(name, **labels) for name in ("c_total", "d_total")]
                levels += [store.gauge(name, **labels) for name in ("g", "h", "odd")]
                odd.add(levels[-1])
            levels.append(store.gauge("info", instance=instance, version="1"))
            buckets.append(
                [store.counter("lat_bucket", instance=instance, le=le) for le in ("0.1", "0.5", "1", "5", "+Inf")]
            )
        step_s, still = chance.choice((1, 5, 15)), set()
        for _ in range(0, LENGTH_S, step_s):
            for each in totals:
                each.inc(chance.choice((0, chance.randint(0, 9), chance.random())))
            for each in levels:
                if chance.random() < 0.02:
                    still ^= {each}
                if each not in still:
                    wild = each in odd and chance.random() < 0.5
                    each.set(chance.choice((0.0, -0.0, 1.0, -1.5, math.inf, 1e300)) if wild else chance.gauss(3, 10))
            for row in buckets:
                for place in range(chance.randint(0, 4), 5):
                    row[place].inc()
            store.tick()
            clock.advance(step_s)


def compare(seed, first, count, begin=pushed, shift_s=0):
    """Yield (number, expression, times, difference) of what differs, and count what was an error in both.

    Where samples lie on whole seconds all times are shifted, so that none lies on an edge, and there are no subqueries.
    """
    made, both, excused = None, [0, 0], Counter()
    rates.extrapolation = extrapolation_of_2
    server = None
    try:
        for number in range(first, first + count):
            if made != number // TOGETHER:
                made = number // TOGETHER
                if server is not None:
                    server.__exit__()
                server, source = begin(random.Random(f"{seed}/{made}"))
            chance = random.Random(f"{seed}//{number}")
            expression = Expressions(chance).any()
            first_s, last_s, step_s = chance.choice(TIMES)
            times = (START_MS // 1000 + first_s + shift_s, START_MS // 1000 + last_s + shift_s, step_s)
            if shift_s and SUBQUERY.search(expression):
                continue
            theirs = server.ask(expression, *times)
            try:
                ours = answer(source, expression, *times)
                found = difference(theirs, ours)
            except Exception as error:  # noqa: BLE001 - a fault of the engine is a difference
                found = f"raised {type(error).__name__}: {error}"
                ours = ""
            both[isinstance(theirs, str)] += 1
            why = excuse(expression, found) if found and "raised" not in found else None
            if found and isinstance(theirs, str) and refused_between(expression, source, times, theirs):
                why = "2 and 3 refuse for steps of a subquery that lie in no window"
            if why:
                excused[why] += 1
            elif found:
                yield number, expression, times, found
    finally:
        if server is not None:
            server.__exit__()
        print(f"compared: {both[0]} answers, {both[1]} refusals; excused: {dict(excused)}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed")
    parser.add_argument("count", type=int)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--stored", action="store_true", help="compare over a store that Prometheus reads remotely")
    asked = parser.parse_args()
    differ = 0
    with stored() if asked.stored else nullcontext(pushed) as begin:
        for number, expression, times, found in compare(
            asked.seed, asked.first, asked.count, begin, 0.5 * asked.stored
        ):
            differ += 1
            print(f"{number}: {expression}  {times}\n    {found}", flush=True)
    print(f"different: {differ} of {asked.count}")
    sys.exit(bool(differ))


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(__file__).parents[2] / '.tools/usr/bin'}:{os.environ['PATH']}"
    main()
