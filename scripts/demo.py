"""Boot a VM, record its whole life, and show what was captured."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rondo_cli import render
from rondo_cli.main import run
from rondo_core import StoreReader
from rondo_core.storage.directory import size_bytes
from rondo_core.units import format_size


def main() -> int:
    """Run the VM, then read its store as anyone would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo.rondo"))
    parser.add_argument("--seconds", type=int, default=15)
    asked = parser.parse_args()
    if (asked.store / "meta").exists():
        shutil.rmtree(asked.store)
    print(f"$ rondo vmm --store {asked.store} --duration {asked.seconds}", flush=True)
    status = run(["vmm", "--store", str(asked.store), "--duration", str(asked.seconds)])
    if status:
        return status
    with StoreReader(asked.store) as reader:
        size = format_size(size_bytes(reader.meta.schemas))
        print(f"\nThe store is {asked.store}/ ({size}, and it never grows). It holds:\n")
        rows = []
        for data in reader.query(list(reader.series('{__name__!~"rondo_.*"}')), tier=0, fn=None):
            seconds = int((data.timestamps_ns[-1] - data.timestamps_ns[0]) // 10**9) + 1 if len(data) else 0
            last = render.number(float(data.values[-1])) if len(data) else ""
            rows.append([str(data.series), str(len(data)), str(seconds), f"{data.fn} {last}"])
        print(render.table(["series", "points", "seconds", "newest"], rows, [False, True, True, True]))
        print("\nExits of the virtual CPU per second, over the guest's four phases (CPU burst, idle, I/O, mixed):\n")
        print(render.as_plot(reader.query('vcpu_exits_total{reason=~"io|mmio|hlt"}', fn="rate"), height=16))
    print(f"\nLook further:  .venv/bin/rondo info {asked.store}")
    print(f"               .venv/bin/rondo query {asked.store} 'vcpu_exits_total{{reason=io}}' --range all")
    print(f"In a browser:  .venv/bin/rondo serve {asked.store} --open")
    return 0


if __name__ == "__main__":
    sys.exit(main())
