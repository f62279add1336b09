"""How late a record can be while another process writes and syncs large files: p99.99 and the latest of 200,000.

Each run makes a store on the file system at hand, ticks it from a thread of its own, and records into it in bursts,
for about 20 s; each call is timed by the wall clock. Meanwhile a child writes files of 500 MB beside it and syncs them.
The same into plain memory says how much of that is the machine's: what the store adds is what lies above it. So do
the bursts of 20 in which the thread gave the CPU up by itself: it waited for the disk, or for the interpreter's lock.
All but the child has real-time priority where that may be had, so that no other process's turn is taken for a wait.

With `touched` a thread asks the kernel once a second to make the page of the rows of the next seconds writable
(MADV_POPULATE_WRITE, which changes no byte of them), so that no record waits for a journal in a page fault. A
record's page may still be written back, and be protected, in between; then the next record waits as before.
"""

import ctypes
import mmap
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import Report, finish, machine, options, temporary_folder

from rondo_core import Store

MADV_POPULATE_WRITE = 23  # Source: madvise(2), Linux 5.14
BURST, PAUSE_S = 20, 0.002
LIMIT_TMPFS_US = 1000.0
BLOCK = 1 << 20


def disturb(folder, size_mb):
    """Write and sync files, each in place of the one before, until killed; print a line when the first is begun."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    block, told = os.urandom(BLOCK), False
    while True:
        with Path(folder, "large").open("wb", buffering=0) as file:
            for _ in range(size_mb):
                file.write(block)
                if not told:
                    print("writing", flush=True)
                told = True
            os.fsync(file.fileno())


@contextmanager
def disturbing(folder, size_mb):
    """Disturb by a process of its own, from when it has begun."""
    with subprocess.Popen(
        [sys.executable, __file__, "--disturb", folder, str(size_mb)], stdout=subprocess.PIPE
    ) as child:
        try:
            child.stdout.readline()
            yield
        finally:
            child.kill()


class Touching(threading.Thread):
    """Makes the pages of the next two rows of each slab writable once a second, without the interpreter's lock."""

    def __init__(self, store):
        """Find the slabs of the finest tiers."""
        super().__init__()
        self.over = threading.Event()
        libc = ctypes.CDLL(None, use_errno=True)
        self._madvise = libc.madvise
        self._madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._slabs = [slabs[0] for slabs in store.slabs.values()]

    def run(self):
        """Touch them until told to stop."""
        while not self.over.wait(1.0):
            for slab in self._slabs:
                self._touch(slab)

    def _touch(self, slab):
        spec, now_ns = slab.spec, time.time_ns()
        base = ctypes.addressof(ctypes.c_char.from_buffer(slab._map))
        for ahead in (1, 2):
            slot = (now_ns // spec.interval_ns + ahead) % spec.slot_count
            begin = mmap.PAGESIZE + slot * spec.row_bytes
            first = begin // mmap.PAGESIZE * mmap.PAGESIZE
            end = -(-(begin + spec.row_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
            if self._madvise(base + first, end - first, MADV_POPULATE_WRITE):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def late_us(record, number):
    """Time each of so many records, in bursts; give p99.99 and the latest, us, and in how many bursts one waited."""
    times, waited = array("q", bytes(8 * number)), 0
    clock = time.perf_counter_ns
    for at in range(0, number, BURST):
        switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for index in range(at, min(at + BURST, number)):
            began = clock()
            record(1.0)
            times[index] = clock() - began
        waited += resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw > switches
        time.sleep(PAUSE_S)
    ordered = sorted(times)
    return ordered[int(number * 0.9999)] / 1e3, ordered[-1] / 1e3, waited


def one_run(place, kind, number, size_mb, disk):
    """Record while a child disturbs; give what `late_us` does."""
    with (
        temporary_folder(disk) as folder,
        temporary_folder(place) as home,
        disturbing(folder, size_mb),
    ):
        if kind == "memory":
            cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")

            def record(amount):
                cells[0] += amount

            return late_us(record, number)
        with Store(home / "s", tick_interval_s=1.0) as store:
            record = store.counter("records_total").inc
            touching = Touching(store) if kind == "touched" else None
            if touching:
                touching.start()
            try:
                found = late_us(record, number)
            finally:
                if touching:
                    touching.over.set()
                    touching.join()
            if record.__self__.value != number:
                raise RuntimeError(f"{place}: {record.__self__.value} of {number} records are there")
            return found


def main():
    """Measure each kind on each file system in turn; the latest on tmpfs has a limit."""
    asked = options(
        __doc__ or "",
        records={"type": int, "default": 200_000, "help": "how many of each run"},
        size_mb={"type": int, "default": 500, "help": "how large the files are that the child writes"},
        disk={"default": tempfile.gettempdir(), "help": "a folder on a disk: where the child writes, and stores lie"},
        tmpfs={"default": "/dev/shm", "help": "a folder in memory, where stores lie"},
    )
    if shutil.disk_usage(asked.disk).free < 4 * asked.size_mb * BLOCK:
        print(f"stalls: {asked.disk}: too little room for files of {asked.size_mb} MB; give --disk", file=sys.stderr)
        return 1
    heading = machine("rondo-tsdb")
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        heading = heading.replace(", hot path", ", real-time priority, hot path")
    report = Report("stalls", asked, heading, __doc__ or "")
    cases = [
        ("plain memory", asked.tmpfs, "memory"),
        *(
            (f"store on {name}{', touched' if kind == 'touched' else ''}", place, kind)
            for name, place in (("disk", asked.disk), ("tmpfs", asked.tmpfs))
            for kind in ("store", "touched")
        ),
    ]
    found = {name: [] for name, _, _ in cases}
    for _ in range(asked.repeat):
        for name, place, kind in cases:
            found[name].append(one_run(place, kind, asked.records, asked.size_mb, asked.disk))
    for name, runs in found.items():
        report.case(f"{name}: p99.99", [run[0] for run in runs], "us")
        report.case(f"{name}: latest", [run[1] for run in runs], "us")
        report.case(f"{name}: bursts that waited", [run[2] for run in runs], "")
    report.save()
    worst = max(run[1] for run in found["store on tmpfs"]) - max(run[1] for run in found["plain memory"])
    if worst > LIMIT_TMPFS_US:
        print(f"stalls: the latest on tmpfs is {worst:.0f} us above that of plain memory", file=sys.stderr)
    return int(worst > LIMIT_TMPFS_US)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--disturb"]:
        disturb(sys.argv[2], int(sys.argv[3]))
    else:
        finish(main)
