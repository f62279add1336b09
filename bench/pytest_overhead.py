"""What `pytest --rondo` costs a test: sessions of empty tests, with it and without, by turns: us of CPU a test."""

from __future__ import annotations

import os
import subprocess
import sys

from harness import Report, finish, machine, options, temporary_folder

N_TESTS = 5_000
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cpu_s(directory: str, *more: str) -> float:
    """Run the session, and give the CPU time that it took."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:logging",
        *more,
        "test_empty.py",
    ]
    nowhere = subprocess.DEVNULL
    child = subprocess.Popen(command, cwd=directory, env=ENVIRONMENT, stdout=nowhere, stderr=nowhere)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with {status}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the pairs and print what a test costs more."""
    more = {"type": int, "default": N_TESTS, "help": "empty tests of a session"}
    asked = options(__doc__ or "", tests=more)
    report = Report("pytest_overhead", asked, machine(), __doc__ or "")
    with temporary_folder() as directory:
        text = f"import pytest\n\n@pytest.mark.parametrize('n', range({asked.tests}))\ndef test_empty(n):\n    pass\n"
        (directory / "test_empty.py").write_text(text)
        plain, recorded = [], []
        for turn in range(asked.repeat):
            pair = [(plain, ()), (recorded, ("--rondo",))]
            for taken, words in pair if turn % 2 else reversed(pair):
                taken.append(cpu_s(directory, *words) / asked.tests * 1e6)
    report.case("a test without it", plain, "us")
    report.case("more with it", [one - other for one, other in zip(recorded, plain, strict=True)], "us")
    report.save()


if __name__ == "__main__":
    finish(main)
