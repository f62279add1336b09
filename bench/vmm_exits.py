"""What recording costs a virtual CPU: ns an exit, exits lost beside `--no-metrics`, and beside a busy HTTP API."""

from __future__ import annotations

import argparse
import http.client
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import Report, in_turn, machine, outputs, per_call_ns

from rondo_cli.serve import Sidecar, listen
from rondo_core import Store, handles
from rondo_core.clock import wall_ns
from rondo_vmm import VMM_SCHEMAS, VmConfig
from rondo_vmm.kvm.vm import usable
from rondo_vmm.machine import IO
from rondo_vmm.monitor import Monitor
from rondo_vmm.recording import Recording

BASE = 0x100000
CODE = bytes.fromhex("66ba1007eeebfd")  # mov dx, 0x710; out dx, al; jmp to the out: an exit after each instruction
EXIT_NS = {True: 350, False: 150}
MOST_LOST, MOST_LOST_BESIDE_API = 1 / 0.97, 1 / 0.95
REQUESTS_PER_S = 100


def kernel(path: Path) -> Path:
    """Write a bare kernel that does nothing but exit to the monitor."""
    ident = b"\x7fELF\x01\x01\x01"
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, 3, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    table = struct.pack("<IIIIIIII", 1, 84, BASE, BASE, len(CODE), len(CODE), 7, 4096)
    path.write_bytes(header + table + CODE)
    return path


def logging_ns(directory: Path, number: int) -> float:
    """Give the ns that an exit takes to be recorded, logged and handed over as the loop does, less a loop without."""
    with Store(directory, VMM_SCHEMAS) as store:
        log = Recording(store, monitor_plugins()).exits(0)
        return loop_ns(log, number) - loop_ns(ExitLog(()), number)


def loop_ns(log: ExitLog, number: int) -> float:
    """Go through the part of an exit loop that has to do with recording; give the ns of one turn."""
    recorded, add, flush, due, now = log.wanted, log.add, log.flush, 0, monotonic_ns
    began, before = now_ns(), now()
    for _ in range(number):
        left = now()
        after = now()
        if recorded:
            add((IO, left - before, after - left, after))
            if after >= due:
                due = flush()
        before = after
    return (now_ns() - began) / number


def counting_ns(number: int) -> float:
    """Give the ns of prometheus_client's Counter.inc, by which this machine can be compared with another."""
    inc = Counter("exits", "Exits.", registry=None).inc
    return per_call_ns(inc, number) - per_call_ns(lambda: None, number)


def exit_ns(kernel_path: Path, choice: str, seconds: float, store: Path | None, *, served: bool = False) -> float:
    """Run a machine that only exits, and give the monitor's CPU time for one exit, its ticks included, ns."""
    with ExitStack() as stack:
        opened = stack.enter_context(Store(store, VMM_SCHEMAS, writer="vmm")) if store else None
        monitor = Monitor(VmConfig(choice, kernel_path, timeout_s=seconds), opened)
        if served and store:
            stack.enter_context(requests(store))
        began = time.process_time_ns()
        result = monitor.run()
        return (time.process_time_ns() - began) / sum(result.exits.values())


@contextmanager
def requests(store: Path) -> Iterator[None]:
    """Serve a store, and ask it 100 times a second from a process of its own."""
    with Sidecar(store, listen("127.0.0.1", 0)) as sidecar:
        import subprocess

        address = sidecar.url.split("/")[2]
        with subprocess.Popen([sys.executable, __file__, "--ask", address], stdout=subprocess.PIPE) as asking:
            assert asking.stdout
            asking.stdout.readline()
            try:
                yield
            finally:
                asking.terminate()


def ask(address: str) -> None:
    """Ask for health and for a query in turn, at a steady pace, until killed."""
    connection = http.client.HTTPConnection(address, timeout=10)
    pause, began = threading.Event(), time.monotonic()
    paths = ("/metrics/health", "/metrics/query?series=vcpu_exits_total&fn=rate&range=15s")
    count = 0
    while True:
        connection.request("GET", paths[count % 2])
        connection.getresponse().read()
        if not count:
            print("asking", flush=True)
        count += 1
        pause.wait(max(0.0, began + count / REQUESTS_PER_S - time.monotonic()))


def main() -> int:
    """Measure all of it in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    outputs(parser)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--machine", default="soft" if usable() else "kvm", choices=["kvm", "soft"])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each machine runs")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ask:
        ask(asked.ask)
    report = Report("vmm_exits", asked, machine("rondo"), __doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bare = kernel(work / "kernel")
        stores = (work / f"{number}.rondo" for number in range(1 << 30))
        pure = handles.__file__.endswith(".py")
        found = in_turn(
            {
                "observers": lambda: observing_ns(next(stores), 100_000),
                "unrecorded": lambda: exit_ns(bare, asked.machine, asked.seconds, None),
                "recorded": lambda: exit_ns(bare, asked.machine, asked.seconds, next(stores)),
                "served": lambda: exit_ns(bare, asked.machine, asked.seconds, next(stores), served=True),
            },
            asked.repeat,
        )
    allowed = [float(EXIT_NS[pure])] * asked.repeat
    report.case("recording of an exit", found["observers"], "ns", "what it may take", allowed, 1.0)
    report.case(
        f"exit on {asked.machine}, recorded", found["recorded"], "ns", "--no-metrics", found["unrecorded"], MOST_LOST
    )
    name = f"the same, {REQUESTS_PER_S} requests/s"
    report.case(name, found["served"], "ns", "no API", found["recorded"], MOST_LOST_BESIDE_API)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
