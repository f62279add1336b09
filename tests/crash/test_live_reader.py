"""A reader of a store that another process writes at full speed sees whole rows, each of its own bucket."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rondo_core import StoreReader

WRITER = Path(__file__).with_name("live_writer.py")
FOR_S = float(os.environ.get("RONDO_READER_S", "3"))
START_S = 1_700_000_000
WIDTH = 64


@pytest.fixture
def live(path):
    """A path that another process writes as fast as it can."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(WRITER), str(path)], **pipes)
    try:
        assert process.stdout.readline() == b"ready\n"
        yield path
        assert process.poll() is None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def aligned(group):
    """Give [series, points] of series that were read together; they come from the same rows."""
    stamps = group[0].timestamps_ns
    assert all(np.array_equal(each.timestamps_ns, stamps) for each in group)
    return stamps, np.stack([each.values for each in group])


class Poller:
    """Reads again and again, checks what must hold in every row, and counts what it saw."""

    def __init__(self, path):
        self.reader = StoreReader(path)
        self.polls, self.seen, self.points, self.newest = 0, set(), 0, 0.0
        self.checks = [self.batch, self.summary, self.counters, self.stitched]

    def query(self, selector, tier, fn):
        return self.reader.query(selector, "all", tier=tier, fn=fn)

    def poll(self):
        tier = (0, 1, 2, "auto")[self.polls % 4]
        self.checks[self.polls // 4 % 4](tier)
        self.polls += 1

    def note(self, tier, stamps):
        assert (np.diff(stamps) > 0).all()
        assert (stamps > (START_S - 6) * 10**9).all()
        self.seen |= {(tier, stamp) for stamp in stamps.tolist()}
        self.points += len(stamps)

    def batch(self, tier):
        """A batch is seen whole or not at all: gauge n is gauge 0 plus n, in every statistic that keeps that."""
        for fn in ("last", "first", "min", "max", "avg"):
            stamps, values = aligned(self.query("g", tier, fn))
            assert values.shape[0] == WIDTH
            assert (values - values[0] == np.arange(WIDTH)[:, None]).all(), (tier, fn)
            self.note(tier, stamps)

    def summary(self, tier):
        """Every observation of a second has the same value, named after the second: no other bucket's shows."""
        (total,) = self.query("s", tier, "sum")
        (count,), (low,), (high,) = (self.query("s", tier, fn) for fn in ("count", "min", "max"))
        (average,) = self.query("s", tier, "avg")
        for data in (low, high, average):
            seconds, length = data.timestamps_ns // 10**9, data.interval_ns // 10**9
            first = seconds % 1000 + 1
            # The values of a bucket are those of its seconds; within it they count up, and begin again at 1,000.
            whole = (seconds % 1000) + length <= 1000
            assert (data.values >= first)[whole].all(), (tier, data.fn)
            assert (data.values <= first + length - 1)[whole].all(), (tier, data.fn)
            if tier == 0:
                assert (data.values == first).all()
            self.note(tier, data.timestamps_ns)
        assert (count.values > 0).all()
        assert (total.values >= 1.0).all()

    def counters(self, tier):
        """The first counter is incremented before the second; neither ever steps back, within a poll or between."""
        stamps, values = aligned(self.query('{__name__=~".*_total",__name__!~"rondo.*"}', tier, "last"))
        assert values.shape[0] == 2
        ahead = values[0] - values[1]
        # Closed buckets hold both increments of every round; the newest one may be between the two.
        assert np.isin(ahead, (0.0, 1.0)).all(), tier
        assert (ahead[:-1] == 0).all(), tier
        assert (np.diff(values, axis=1) >= 0).all(), tier
        if tier == 0 and len(stamps):
            assert values[0, -1] >= self.newest
            self.newest = values[0, -1]
        self.note(tier, stamps)

    def stitched(self, tier):
        """One read of every series at once, of every tier, keeps all of it."""
        group = self.query('{__name__!~"rondo.*"}', tier, None)
        for data in group:
            self.note(tier, data.timestamps_ns)
            if data.series.kind == "counter":
                assert (np.diff(data.values) >= 0).all()
        gauges = [data for data in group if data.series.name == "g"]
        _, values = aligned(gauges)
        assert (values - values[0] == np.arange(WIDTH)[:, None]).all(), tier


def test_a_live_store_is_never_seen_torn(live):
    """Polled without pause while rings wrap several times a second: whole batches, whole summaries, no ghost."""
    poller = Poller(live)

    def has_seen_enough():
        least = ((0, 30), (1, 20), (2, 10), ("auto", 20))
        return all(sum(where == tier for where, _ in poller.seen) >= times for tier, times in least)

    end = time.monotonic() + FOR_S
    # A busy machine may not let the writer run; where it writes nothing, the test's own timeout is the end.
    while time.monotonic() < end or poller.polls < 32 or not has_seen_enough():
        poller.poll()
    poller.reader.close()
