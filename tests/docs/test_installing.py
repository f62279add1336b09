"""What is said about installing: from a checkout, as long as nothing of rondo is on an index."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("rondo_exporters/*/pyproject.toml"))]
NAMES = {tomllib.loads(path.read_text())["project"]["name"] for path in PROJECTS}
SPOKEN = ("*.md", "*.py", "*.txt", "*.toml", "*.yaml", "*.service", "Makefile")


def installs():
    """Give (file, what follows `pip install`) of everything that the project says or does."""
    listed = subprocess.run(["git", "ls-files", "-z", *SPOKEN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.returncode == 0 or not (ROOT / ".git").exists(), listed.stderr
    names = listed.stdout.split("\0")[:-1] or [str(path.relative_to(ROOT)) for path in ROOT.glob("**/*.md")]
    for name in names:
        if not name.startswith("tests/"):
            for said in re.findall(r"pip install ([^`\n#;|]*)", (ROOT / name).read_text()):
                yield name, said.split(" && ")[0].rstrip('").')


def words(said):
    """Split a command as a shell does; of a message, what is left of it."""
    try:
        return shlex.split(said)
    except ValueError:
        return said.split()


def asks_an_index(said):
    """Name what of rondo a command would have pip look for on an index."""
    bare = [re.split(r"[\[<>=~! ]", word)[0] for word in words(said)]
    return [name for name in bare if re.fullmatch(r"rondo[-_.].*|rondo", name) and "/" not in name]


def test_nothing_that_is_said_has_pip_ask_an_index_for_rondo():
    """The names are free there until something is published: whoever takes them would be installed."""
    said = list(installs())
    assert {name for name, _ in said} >= {"README.md", "docs/getting-started.md", "rondo_cli/plugin.py"}
    assert [(name, each) for name, each in said if asks_an_index(each)] == []


@pytest.mark.parametrize("said", ["rondo", "'rondo-tsdb[qemu]'", "-U rondo_exporter_otlp", "x rondo-tsdb>=0.1"])
def test_a_command_that_would_is_seen(said):
    """However it is written."""
    assert asks_an_index(said)


@pytest.mark.parametrize("said", ["./rondo", "'./rondo[qemu]'", "./rondo/rondo_exporters/otlp", "-e . pytest"])
def test_a_command_that_would_not_is_let_be(said):
    """A checkout, by a path, is what is to be installed from."""
    assert asks_an_index(said) == []


def test_what_a_plugin_is_begun_with_installs_rondo_from_its_checkout():
    """Before the plugin, which needs it: pip would ask an index otherwise."""
    for name in ("rondo_cli/plugin.py", "rondo_cli/templates/README.md.txt"):
        for said in re.findall(r"pip install (.*)", (ROOT / name).read_text()):
            assert said.split()[0] in {"PATH/TO/rondo", "@RONDO@", "{_checkout()}"}, said


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_classifiers_are_known_and_name_the_pythons_that_are_tested(path):
    """Those of the CI's matrix, and no project is said to have a home that it does not have."""
    from trove_classifiers import classifiers

    project = tomllib.loads(path.read_text())["project"]
    assert set(project["classifiers"]) <= classifiers
    pythons = {each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)}
    (matrix,) = re.findall(r"python: \[(.*)\]", (ROOT / ".github/workflows/test.yml").read_text())
    assert pythons == set(re.findall(r"3\.\d+", matrix))
    assert f">={min(pythons)}" == project["requires-python"]
    assert "urls" not in project


def test_the_readme_leads_to_all_pages_for_users_and_contributors():
    """Each page of docs/, or the page that leads on to it, deploy/ and the pages for contributors."""
    readme = (ROOT / "README.md").read_text()
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in target}
    assert [target for target in linked if not (ROOT / target).exists()] == []
    assert {"deploy/README.md", "CONTRIBUTING.md", "docs/contributing/architecture.md"} <= linked
    assert {each for each in linked if each.startswith("docs/")} >= {
        f"docs/{name}.md" for name in ("concepts", "storage-format", "hooks", "plugins", "vmm", "limits", "exporting")
    }
    for exporter in ROOT.glob("rondo_exporters/*/README.md"):
        assert str(exporter.relative_to(ROOT)) in linked
