"""The site builds without a warning, and what its pages show runs as shown."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_cli.main import COMMANDS, run

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


FENCED = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [text for found, text in FENCED.findall(page.read_text() + "\n") if found == language]


def test_getting_started_runs(tmp_path, monkeypatch, capsys):
    """Its programs one after the other, then its commands, in an empty directory."""
    page = ROOT / "docs" / "getting-started.md"
    said = ""
    for code in blocks(page, "python"):
        command = [sys.executable, "-W", "error", "-c", code]
        said += subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("100 jobs\n")
    monkeypatch.chdir(tmp_path)
    shown = [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("rondo ")]
    assert len(shown) >= 4
    for line in shown:
        if "--url" not in line and "workers/" not in line:  # no receiver here, and one process
            assert run(shlex.split(line, comments=True)[1:]) == 0, line
    assert "100" in capsys.readouterr().out


def test_the_test_of_getting_started_passes_and_can_fail(tmp_path):
    """As it stands, in a file of its own; with another number it fails, and the line says what is there."""
    (block,) = [code for code in blocks(ROOT / "docs" / "getting-started.md", "python") if "TemporaryStore" in code]
    for name, code in (("right", block), ("wrong", block.replace('_total", 1, route', '_total", 7, route'))):
        (tmp_path / f"test_{name}.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "1 failed, 1 passed" in said
    assert 'http_requests_total{route="/"}: 1, not 7' in said


def test_every_command_that_a_page_names_is_there():
    """`rondo COMMAND --help` works for each, so no page tells of what was renamed."""
    named = {
        name
        for page in PAGES
        if page.parent.name != "reference"  # made from the code
        for name in re.findall(r"\brondo ([a-z]+(?:-[a-z]+)*)\b(?=[ `\n])", "\n".join(code_of(page)))
    }
    assert len(named) >= 6
    assert named <= set(COMMANDS), named - set(COMMANDS)


def code_of(page):
    text = page.read_text() + "\n"
    return [*(block for _, block in FENCED.findall(text)), *re.findall(r"`(rondo [^`\n]+)`", text)]


def test_schemas_that_a_page_shows_are_schemas(tmp_path):
    """Every TOML block with a schema is read by rondo."""
    from rondo_core import read_schemas

    shown = [block for page in PAGES for block in blocks(page, "toml") if "[[schema]]" in block]
    assert shown
    for index, block in enumerate(shown):
        (tmp_path / f"{index}.toml").write_text(block)
        assert read_schemas(tmp_path / f"{index}.toml")


def test_every_page_is_in_the_navigation():
    """None can only be found by accident."""
    import yaml

    def pages(nav):
        for item in nav:
            for value in item.values() if isinstance(item, dict) else [item]:
                yield from pages(value) if isinstance(value, list) else [value]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages(nav)) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES)


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="the package mkdocs is not installed")
def test_the_site_builds_without_a_warning(tmp_path):
    """Links and anchors between its pages included."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "build" / "site" / "getting-started" / "index.html").exists()
