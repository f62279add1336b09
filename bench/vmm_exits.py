"""What recording costs a virtual CPU (ns an exit, exits lost beside `--no-metrics` and a busy HTTP API), and the start.

Exits are counted per second of the monitor's CPU time, its ticks included, which other work on the machine does not
shorten. The start is the wall time from a process's begin to the first byte of the guest on its serial port.
"""

from __future__ import annotations

import argparse
import http.client
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import Report, finish, in_turn, machine, now_ns, outputs, per_call_ns, temporary_folder, unless_interrupted
from prometheus_client import Counter

from rondo_core import Store
from rondo_core.clock import monotonic_ns
from rondo_core.record import handles
from rondo_vmm import VMM_SCHEMAS, VmConfig
from rondo_vmm.hookspecs import EXIT_REASONS, IO
from rondo_vmm.kvm.vm import usable
from rondo_vmm.monitor import Monitor
from rondo_vmm.observe.exit_totals import ExitTotals
from rondo_vmm.observe.recording import Recording, monitor_plugins
from rondo_web import Sidecar, listen

BASE = 0x100000
CODE = bytes.fromhex("66ba1007eeebfd")  # mov dx, 0x710; out dx, al; jmp to the out: an exit after each instruction
# As Python and compiled: ns on a machine on which prometheus_client's Counter.inc takes 210 ns, and hence the ratio.
EXIT_NS = {True: 350, False: 150}
COUNTER_NS = 210
MOST_START = {"kvm": 2.5, "soft": 4.0}
MOST_LOST, MOST_LOST_BESIDE_API = 1 / 0.97, 1 / 0.95
REQUESTS_PER_S = 100


def kernel(path: Path) -> Path:
    """Write a bare kernel that does nothing but exit to the monitor."""
    ident = b"\x7fELF\x01\x01\x01"
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, 3, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    table = struct.pack("<IIIIIIII", 1, 84, BASE, BASE, len(CODE), len(CODE), 7, 4096)
    path.write_bytes(header + table + CODE)
    return path


def recording_ns(directory: Path, number: int) -> float:
    """Give the ns that an exit takes to be recorded, added up and handed over as a CPU does, less a loop without."""
    with Store(directory, VMM_SCHEMAS) as store:
        exits = [0] * len(EXIT_REASONS)
        totals = Recording(store, monitor_plugins()).exits(0, exits)
        return loop_ns(totals, number) - loop_ns(ExitTotals(exits), number)


def loop_ns(totals: ExitTotals, number: int) -> float:
    """Go through what an exit loop does besides to run the guest and its devices; give the ns of one turn."""
    add, now, index = totals.add, monotonic_ns, IO
    began, before = now_ns(), now()
    for _ in range(number):
        before = add(index, before, now())
    return (now_ns() - began) / number


def counting_ns(number: int) -> float:
    """Give the ns of prometheus_client's Counter.inc, by which this machine can be compared with another."""
    inc = Counter("exits", "Exits.", registry=None).inc
    return per_call_ns(inc, number) - per_call_ns(lambda: None, number)


def exit_ns(kernel_path: Path, choice: str, seconds: float, store: Path | None, *, served: bool = False) -> float:
    """Run a machine that only exits, and give the monitor's CPU time for one exit, its ticks included, ns."""
    with ExitStack() as stack:
        opened = stack.enter_context(Store(store, VMM_SCHEMAS, writer="vmm")) if store else None
        plugins = monitor_plugins() if store else None  # they are found and loaded once in a machine's life
        monitor = Monitor(VmConfig(choice, kernel_path, timeout_s=seconds), opened, plugins=plugins)
        if served and store:
            stack.enter_context(requests(store))
        began = time.process_time_ns()
        result = monitor.run()
        unless_interrupted(result.ended)
        return (time.process_time_ns() - began) / sum(result.exits.values())


def start_s(command: list[str], bytecode: Path) -> float:
    """Start a Python process, its modules compiled before as an installer does; give the s to its first byte or end."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(bytecode)
    began = time.monotonic()
    command = [sys.executable, *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
        assert process.stdout
        process.stdout.read(1)
        took = time.monotonic() - began
        process.terminate()
    return took


def starts(work: Path, machines: list[str], stores: Iterator[Path], repeat: int) -> dict[str, list[float]]:
    """Start the monitor with its bundled guest on each machine, and a process that only imports click, in turn."""

    def monitor(choice: str) -> Callable[[], float]:
        line = ["-m", "rondo_cli", "vmm", "--machine", choice, "--duration", "1", "--store"]
        return lambda: start_s([*line, str(next(stores))], work / "bytecode")

    cases = {"click": lambda: start_s(["-c", "import click"], work / "bytecode")}
    return in_turn(cases | {choice: monitor(choice) for choice in machines}, repeat)


@contextmanager
def requests(store: Path) -> Iterator[None]:
    """Serve a store, and ask it 100 times a second from a process of its own."""
    with Sidecar(store, listen("127.0.0.1", 0)) as sidecar:
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
    parser.add_argument("--repeat", type=int, default=15, help="runs of which the median counts")
    parser.add_argument("--machine", action="append", choices=MOST_START, help="default: all that can be had")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each machine runs")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ask:
        ask(asked.ask)
    report = Report("vmm_exits", asked, machine("rondo-tsdb", "prometheus_client", "click"), __doc__ or "")
    machines = asked.machine or [choice for choice in MOST_START if choice == "soft" or not usable()]
    pure = handles.__file__.endswith(".py")
    with temporary_folder() as work:
        stores = (work / f"{number}.rondo" for number in range(1 << 30))
        found = in_turn(
            {"exit": lambda: recording_ns(next(stores), 200_000), "counter": lambda: counting_ns(200_000)}, asked.repeat
        )
        allowed = [float(EXIT_NS[pure])] * asked.repeat
        report.case("recording of an exit", found["exit"], "ns", "what it may take", allowed, 1.0)
        most = EXIT_NS[pure] / COUNTER_NS
        report.case(
            "recording of an exit", found["exit"], "ns", "prometheus_client Counter.inc", found["counter"], most
        )
        bare = kernel(work / "kernel")
        for choice in machines:
            runs = {
                "unrecorded": lambda choice=choice: exit_ns(bare, choice, asked.seconds, None),
                "recorded": lambda choice=choice: exit_ns(bare, choice, asked.seconds, next(stores)),
                "served": lambda choice=choice: exit_ns(bare, choice, asked.seconds, next(stores), served=True),
            }
            took = in_turn(runs, asked.repeat)
            recorded, unrecorded = took["recorded"], took["unrecorded"]
            report.case(f"exit on {choice}, recorded", recorded, "ns", "--no-metrics", unrecorded, MOST_LOST)
            name = f"exit on {choice}, {REQUESTS_PER_S} requests/s"
            report.case(name, took["served"], "ns", "no API", recorded, MOST_LOST_BESIDE_API)
        began = starts(work, machines, stores, asked.repeat)
        for choice in machines:
            wall_ms = [1e3 * each for each in began[choice]]
            click_ms = [1e3 * each for each in began["click"]]
            report.case(f"start to first byte, {choice}", wall_ms, "ms", "import click", click_ms, MOST_START[choice])
    report.save()
    return 0


if __name__ == "__main__":
    finish(main)
