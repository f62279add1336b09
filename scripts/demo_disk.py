"""Boot a VM with a disk, record its whole life, and show what the disk did second by second."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rondo_cli import render
from rondo_cli.main import run
from rondo_core import StoreReader

GUEST = Path(__file__).parents[1] / ".tools" / "guest"


def main() -> int:
    """Run a Linux guest in QEMU, whose I/O phases read and write the disk, then read its store as anyone would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-disk.rondo"))
    parser.add_argument("--seconds", type=int, default=15)
    asked = parser.parse_args()
    if (asked.store / "meta").exists():
        shutil.rmtree(asked.store)
    disk = asked.store.with_suffix(".img")
    arguments = ["--machine", "qemu", "--kernel", str(GUEST / "vmlinuz"), "--initrd", str(GUEST / "initramfs.cpio")]
    arguments += ["--disk", str(disk), "--store", str(asked.store), "--duration", str(asked.seconds)]
    print(f"$ rondo vmm {' '.join(arguments)}", flush=True)
    status = run(["vmm", *arguments])
    if status:
        return status
    with StoreReader(asked.store) as reader:
        rows = [
            [str(data.series), str(len(data)), render.number(float(data.values[-1]))]
            for data in reader.query('{__name__=~"blk_.*"}', tier=0, fn=None)
            if data.values[-1]
        ]
        print(f"\nWhat the disk did, counted over {asked.store}/:\n")
        print(render.table(["series", "points", "newest"], rows, [False, True, True]))
        print("\nRequests per second, over the guest's four phases (CPU burst, idle, I/O, mixed):\n")
        print(render.as_plot(reader.query('blk_requests_total{op=~"read|write"}', fn="rate"), height=12))
    print(f"\nThe disk is {disk}. Look further:  .venv/bin/rondo query {asked.store} 'blk_bytes_total' --range all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
