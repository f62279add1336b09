"""Every command that a page shows is one that there is, with options that there are; those of the README run."""

import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pytest

from rondo_cli.main import cli, run

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "deploy/README.md"]
PAGES += sorted((ROOT / "rondo_exporters").glob("*/README.md"))
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
README = (ROOT / "README.md").read_text()
URL = "http://127.0.0.1:9090/api/v1/write"


def commands(text):
    """Every line of a fenced block that begins with `rondo `."""
    lines = (line.strip() for _, block in FENCED.findall(text) for line in block.splitlines())
    return [line for line in lines if line.startswith("rondo ")]


def words(line):
    """The arguments of a command, without its comment and where its output goes."""
    found = shlex.split(line, comments=True)[1:]
    return found[: found.index(">")] if ">" in found else found


SHOWN = [(path.name, line) for path in PAGES for line in commands(path.read_text())]


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_of_a_page_can_be_given(page, line):
    """click takes it: the command and its options are there, and every value is of its option's type."""
    context, arguments = click.Context(cli), words(line)
    found = cli
    while isinstance(found, click.Group) and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        found = found.get_command(context, name)
        assert found is not None, line
    found.make_context(name, arguments).close()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_page_is_of_its_language(page):
    """TOML and JSON read as such, Python compiles; what else the blocks do is tested page by page."""
    readers = {"toml": tomllib.loads, "json": json.loads, "python": lambda text: compile(text, page.name, "exec")}
    for language, block in FENCED.findall(page.read_text()):
        assert language in {"", "sql", *readers}, language
        if language in readers:
            readers[language](textwrap.dedent(block))


def test_every_make_target_of_a_page_is_there():
    """So that no page sends its reader to one that was renamed."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*(?: [a-z0-9-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {name for line in targets for name in line.split()}
    named = {
        name for path in PAGES for name in re.findall(r"(?:`|^)make ([a-z][a-z0-9-]+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 10
    assert named <= targets, named - targets


def test_every_claim_of_the_readme_carries_the_command_that_shows_it():
    """Each point of the list at its top names a make target or a command of rondo."""
    claims = re.findall(r"^- \*\*.*?(?=^- |^$)", README, re.DOTALL | re.MULTILINE)
    assert len(claims) >= 5
    for claim in claims:
        assert re.search(r"`(?:make|rondo) [a-z]", claim), claim


@pytest.fixture
def receiver():
    """A receiver that acknowledges, in a process of its own; gives its URL."""
    command = [sys.executable, ROOT / "bench" / "acknowledge.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/1"


@pytest.mark.emulator
def test_the_commands_of_the_readme_run(tmp_path, monkeypatch, capsys, receiver):
    """In order, in an empty directory: all that need no Linux, do not run for ever and are not tested elsewhere, the VM's 45 s cut to 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schemas.toml").write_text(SCHEMAS)
    section = README.partition("## On the command line")[2].partition("\n## ")[0]
    shown = [line for line in commands(section) if not re.search(r"--kernel|^rondo (agent|bench)", line)]
    assert len(shown) >= 10
    for line in shown:
        assert run(words(line.replace("--duration 45", "--duration 2").replace(URL, receiver))) == 0, line
    assert "vcpu_exits_total" in capsys.readouterr().out


SCHEMAS = """
[[schema]]
name = "milestones"
kind = "gauge"
max_series = 9
match = "vmm_milestone_seconds"
tiers = [["5m", "12h"], ["3h", "7d"]]

[[schema]]
name = "counters"
kind = "counter"
max_series = 32

[[schema]]
name = "summaries"
kind = "summary"
max_series = 8

[[schema]]
name = "gauges"
kind = "gauge"
max_series = 16
"""


def test_the_export_of_getting_started_runs(tmp_path, monkeypatch, receiver):
    """Its first program, then its last command, against a receiver."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/getting-started.md").read_text()
    program = next(block for language, block in FENCED.findall(text) if language == "python")
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=True)
    (line,) = [line for line in commands(text) if "--url" in line]
    assert run(words(line.replace(URL, receiver))) == 0


def test_every_program_of_getting_started_runs(tmp_path, monkeypatch):
    """One after the other, in one directory, with warnings as errors; what they make is where the page says."""
    text = (ROOT / "docs/getting-started.md").read_text()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RONDO_DIR", raising=False)
    programs = [block for language, block in FENCED.findall(text) if language == "python"]
    assert len(programs) >= 5
    for program in programs:
        subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], cwd=tmp_path, check=True)
    assert len(list((tmp_path / "state" / "rondo" / "web").iterdir())) == 1
    assert (tmp_path / "nightly.rondo" / "meta").is_file()
