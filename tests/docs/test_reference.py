"""The pages of docs/reference are what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


@pytest.mark.parametrize("page", sorted(reference.PAGES))
def test_a_reference_page_is_what_the_code_says(page):
    """Every command, key, self-metric and public name, with its text; `make reference` writes the pages anew."""
    assert (ROOT / "docs" / "reference" / page).read_text().split() == reference.PAGES[page]().split()


def test_every_command_and_name_has_its_entry():
    """Nothing is left out by the way that the pages are made."""
    import rondo_core
    from rondo_cli.main import COMMANDS

    commands = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert all(f"## `rondo {name}`" in commands for name in COMMANDS)
    python = (ROOT / "docs" / "reference" / "python.md").read_text()
    assert all(f"### `{name}" in python for name in rondo_core.__all__)
