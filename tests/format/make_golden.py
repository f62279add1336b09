"""Make the golden store of this format: run once per change of a byte; the archive it writes is checked in.

`python tests/format/make_golden.py place` writes tests/format/golden/v1-place.tar.gz, named after what has changed
within the version, and never over one that is there: a store of an old format is read for ever, and is made by the
rondo of its day. `aside` is the same store after its clock stepped back: its newest rows are set aside. `peaks` is a
store of gauges alone that keep their peaks.
`ended` is what two stores were folded into.
"""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.model.layout import FORMAT_VERSION
from rondo_core.retention import Bound, prune

START_NS = 1_700_000_001 * 10**9  # the first second of a window of 3 s
TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
SCHEMAS = (
    Schema("c", "counter", 3, TIERS),
    Schema("g", "gauge", 3, TIERS),
    Schema("q", "summary", 1, TIERS, match="duration_seconds", sketch=True),
    Schema("s", "summary", 3, TIERS),
)
SECONDS = 20
PEAKS = "peaks"
ENDED = "ended"
ASIDE = "aside"  # the change of which the golden store has rows that are set aside


def record(path, back_s=0):
    """Twenty seconds of everything, one of them empty, late samples, notes, a restart, an open end, a clock that steps."""
    clock = ManualClock(START_NS)
    store = Store(path, SCHEMAS, clock=clock, writer="golden")
    for second in range(SECONDS):
        counter = store.counter("requests_total", {"path": "/ä"}, help="Requests.", unit="requests")
        gauge, other = store.gauge("level", {"n": 1}), store.gauge("level", {"n": 2})
        summary, sketched = store.summary("latency_seconds"), store.summary("duration_seconds")
        if second != 9:
            counter.inc(second + 0.5)
            store.batch([gauge, other]).set([second * 1.0, second * -2.5])
            for n in range(second % 3):
                summary.observe(second + n / 4)
            for value in (0.0, 0.001, float(second + 1), 1000.0 + second):
                sketched.observe(value)
        store.note(f"second {second} " + "é" * 2 * second)
        if second == 5:
            store.mark("deploy", version="1.4.2")
        store.tick()
        if second == 12:
            store.close()
            store = Store(path, clock=clock, writer="golden")
            store.counter("late_total")
        if second == 17:
            store.gauge("level", {"n": 1}).set(100.0, clock() - 3 * 10**9)
            store.counter("late_total").inc(2.0, clock() - 2 * 10**9)
        clock.advance(1)
    save_cursor(path, Cursor("golden", {"c.0": 1_700_000_010}, 1, 42))
    if back_s:
        clock.advance(-back_s)
        store.tick()
    store.close()


def record_peaks(path):
    """Twenty seconds of a gauge with peaks, one of them absent, one late value, and one that is changed and goes on."""
    clock = ManualClock(START_NS)
    with Store(path, [Schema("p", "gauge", 3, TIERS, peaks=True)], clock=clock, writer="golden") as store:
        queue, jobs = store.gauge("queue"), store.gauge("jobs")
        for second in range(SECONDS):
            if second != 9:
                for value in (second, second + 100.0, -second, second + 0.5):
                    queue.set(value)
            if second % 4 == 0:
                jobs.inc(3), jobs.dec()
            store.tick()
            if second == 17:
                queue.set(500.0, clock() - 3 * 10**9)
            clock.advance(1)


def pack(path, archive):
    """Put the files into an archive that is the same whenever it is made."""
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(path.iterdir()):
            data = b"" if file.name == "lock" else file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_golden.py CHANGE")
    golden = Path(__file__).parent / "golden" / f"v{FORMAT_VERSION}-{sys.argv[1]}.tar.gz"
    if golden.exists():
        sys.exit(f"{golden}: is there already; it is the format's memory, and is not made again")
    with tempfile.TemporaryDirectory() as directory:
        if sys.argv[1] == PEAKS:
            record_peaks(Path(directory) / "store")
        else:
            record(Path(directory) / "store", back_s=6 if sys.argv[1] == ASIDE else 0)
        pack(Path(directory) / "store", golden)
        store = Path(directory) / "store"
        record(store, back_s=6 if sys.argv[1] == ASIDE else 0)
        if sys.argv[1] == ENDED:
            with Store(store.with_name("other"), SCHEMAS, clock=ManualClock(START_NS + 10**9)) as other:
                other.counter("requests_total", {"path": "/ä"}).inc(1000)
                other.counter("others_total").inc(7)
            prune(directory, Bound(keep_last=0, exporters=()))
            store = store.with_name("ended.rondo")
        pack(store, golden)
