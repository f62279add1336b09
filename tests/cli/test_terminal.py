"""What a guest's console reads: a file, standard input, the terminal with every key; or nothing."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from rondo_cli.terminal import console_input
from rondo_core.errors import UsageError


def test_a_file_is_opened_and_closed(tmp_path):
    """Its bytes are what the descriptor gives; afterwards the descriptor is gone."""
    path = tmp_path / "typed"
    path.write_bytes(b"ls\n")
    with console_input(path, wanted=False) as (descriptor, raw):
        assert (os.read(descriptor, 10), raw) == (b"ls\n", False)
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    """The line names the option and the file."""
    with (
        pytest.raises(UsageError, match=r"--input .*none: No such file or directory"),
        console_input(tmp_path / "none", wanted=False),
    ):
        pass


CHILD = """
import os, sys, termios
from pathlib import Path
from rondo_cli.terminal import console_input
before = termios.tcgetattr(0)
with console_input(None, wanted=sys.argv[1] == "wanted") as (descriptor, raw):
    print(descriptor, raw, bool(termios.tcgetattr(0)[3] & termios.ISIG), bool(termios.tcgetattr(0)[1] & termios.OPOST))
print(termios.tcgetattr(0) == before)
"""


@pytest.mark.parametrize(("wanted", "said"), [("wanted", "0 True False True"), ("not", "None False True True")])
def test_the_terminal_gives_every_key_and_is_put_back(wanted, said):
    """Where a guest can read it, Ctrl-C makes no signal; what is printed looks as ever; the end restores all."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    child = subprocess.run(
        [sys.executable, "-c", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + CHILD, wanted],
        stdin=slave, capture_output=True, text=True, start_new_session=True, check=True,
    )  # fmt: skip
    assert child.stdout.splitlines() == [said, "True"]
    assert termios.tcgetattr(slave) == attributes
    os.close(master)
    os.close(slave)


def test_standard_input_that_is_no_terminal_is_read_only_when_asked():
    """A pipe stays whole for whoever else reads it, unless --input - hands it over."""
    code = (
        "from pathlib import Path\nfrom rondo_cli.terminal import console_input\n"
        "for path in (None, Path('-')):\n    with console_input(path, wanted=True) as given:\n        print(given)"
    )
    said = subprocess.run([sys.executable, "-c", code], input="x", capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["(None, False)", "(0, False)"]
