"""Run tests of lives in a Linux guest whose control groups are of version 2, under QEMU; its console is printed.

    python scripts/cgroup2.py [--whole] [-k WORDS] [WORD ...]

WORD: for pytest, by default tests/job/test_cgroup2.py; --whole: and one of every cause of the autopsy's table.

The guest is Debian's kernel and busybox, as `make guest-linux` makes it, and this Python with what is installed for it.
Exit status: pytest's; 0 where a tool is missing, which is then named.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[1]
GUEST = REPO / ".tools/guest"
QEMU = "qemu-system-x86_64"
BOUND_S = 2400  # of a guest whose CPU is emulated, on a host that has other work
MEMORY_MIB = 3072
# The guest's clock counts its instructions, two nanoseconds each, and an idle guest does not wait: no limit of time in
# it depends on how fast the host is, or on what else that does; of one CPU. Source: QEMU's documentation of -icount
CLOCK = ("-accel", "tcg", "-icount", "shift=1,sleep=off")
OPTIONS = "-q --import-mode=importlib -p no:cacheprovider -c /dev/null --rootdir=/rondo --color=no --timeout=600"
OPTIONS += " -W ignore::pytest.PytestUnknownMarkWarning"
APPEND = "console=ttyS0 quiet panic=-1 no_timer_check rdinit=/init-python"  # of an emulated timer on a busy host
CAUSES = "RONDO_AUTOPSY_ROUNDS=1 RONDO_AUTOPSY_CPU_S=12", "tests/job/test_autopsy_causes.py"


def missing() -> str:
    """Name what there is not, and how it is had; empty: all of it is there."""
    if platform.machine() != "x86_64":
        return f"this machine is a {platform.machine()}, and the guest an x86_64"
    if not shutil.which(QEMU):
        return "no QEMU; install the package qemu-system-x86"
    if not (GUEST / "initramfs.cpio").exists():
        return "no Linux guest; make guest-linux"
    return "" if shutil.which("ldd") else "no ldd, which finds what Python is linked with; install the package libc-bin"


def run(command: str) -> int:
    """Boot the guest, print what it says, and give the exit status of the command; 1: it gave none."""
    with tempfile.TemporaryDirectory() as scratch:
        python, whole = Path(scratch, "python.cpio"), Path(scratch, "initramfs.cpio")
        make = [sys.executable, REPO / "guest/python_initramfs.py", python, command]
        subprocess.run(make, check=True)  # noqa: S603 - our own
        with whole.open("wb") as file:  # the kernel unpacks one archive after the other
            for part in (GUEST / "initramfs.cpio", python):
                file.write(part.read_bytes())
        python.unlink()
        machine = [*CLOCK, "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults"]
        console = ["-no-reboot", "-display", "none", "-serial", "stdio"]
        boot = ["-kernel", GUEST / "vmlinuz", "-initrd", whole, "-append", APPEND]
        words = ["timeout", str(BOUND_S), QEMU, *machine, *console, *boot]
        end = b""
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as guest:  # noqa: S603 - our own
            while guest.stdout is not None and (data := os.read(guest.stdout.fileno(), 4096)):
                os.write(1, data.replace(b"\r\n", b"\n"))
                end = (end + data)[-4096:]
    found = re.search(rb"rondo-guest status (\d+)", end)
    return int(found[1]) if found else 1


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("-k", default="", help="as pytest has it, of all causes")
    parser.add_argument("words", nargs="*", default=["tests/job/test_cgroup2.py"])
    asked = parser.parse_args()
    lack = missing()
    if lack:
        print(f"cgroup2: skipped: {lack}")
        return
    setting, causes = CAUSES if asked.whole or asked.k else ("", "")
    chosen = f"-k '{asked.k}'" if asked.k else ""
    sys.exit(run(f"{setting} /python/bin/python3 -m pytest {OPTIONS} {chosen} {' '.join(asked.words)} {causes}"))


if __name__ == "__main__":
    main()
