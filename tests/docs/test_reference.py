"""The pages of docs/reference are what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

import rondo_core
from rondo_cli.main import COMMANDS
from rondo_core.record import handles

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not handles.__file__.endswith(".py"), reason="compiled, what is public has no signatures to compare"
)
def test_the_reference_is_what_the_code_says():
    """Every command, key, self-metric and public name, with its text; `make reference` writes the pages anew."""
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_and_name_has_its_entry():
    """Nothing is left out by the way that the pages are made."""
    commands = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert all(f"## `rondo {name}`" in commands for name in COMMANDS)
    python = (ROOT / "docs" / "reference" / "python.md").read_text()
    assert all(f"### `{name}" in python for name in rondo_core.__all__)
