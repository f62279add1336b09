"""What tests of lives share: a run of the real command, in an environment and a directory of lives of its own."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rondo_job import Life

RONDO = (sys.executable, "-m", "rondo_cli")
# Whether the kernel tells how a process ended that another has reaped. Source: PIDFD_INFO_EXIT, Linux 6.15
TOLD = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 15)


class Lives:
    """A directory of lives, and `rondo run` into it."""

    def __init__(self, directory: Path, cwd: Path):
        self.directory, self.cwd = directory, cwd
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "RONDO_DIR": str(directory.parent)}
        self.environment.pop("RONDO_LIFE", None)

    def command(self, *words):
        """The command line of a run, its options and then `--` and the job's."""
        return [*RONDO, "run", *map(str, words)]

    def run(self, *words, **options):
        """Run it to its end, its output captured by pipes."""
        options = {"capture_output": True, "env": self.environment, "cwd": self.cwd, "timeout": 120, **options}
        return subprocess.run(self.command(*words), check=False, **options)

    def start(self, *words, **options):
        """Start it; its standard output is a pipe."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": self.environment, **options}
        return subprocess.Popen(self.command(*words), cwd=self.cwd, **options)

    def life(self):
        """The only life that there is."""
        (life,) = Life.all(self.directory)
        return life


@pytest.fixture
def lives(tmp_path):
    """An empty directory of lives."""
    (tmp_path / "work").mkdir()
    return Lives(tmp_path / "state" / "lives", tmp_path / "work")


def last(life, selector, **options):
    """The newest value of a series of a life."""
    with life.open() as reader:
        return float(reader.query(selector, **options)[0].values[-1])


def wait_gone(pid):
    """Wait until a process that is no child has ended."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 60)[0], f"process {pid} goes on"
    finally:
        os.close(descriptor)


def wait_until(holds):
    """Wait for what another process is to have put on record."""
    limit_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit_s
        threading.Event().wait(0.05)
