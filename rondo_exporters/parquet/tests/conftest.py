"""What several tests of the Parquet exporter share: a program that is killed between any two of its steps."""

import signal
import subprocess
import sys

import pytest

DYING = """
import os, signal, sys

fatal, count = int(sys.argv.pop(1)), 0

def dying(call):
    def inner(*args, **options):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return inner
"""


@pytest.fixture
def killed_at():
    """Give what runs a program's text up to so many calls of what it has made `dying`, which has to kill it."""

    def run(fatal, program, *arguments):
        command = [sys.executable, "-c", DYING + program, str(fatal), *map(str, arguments)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    return run
