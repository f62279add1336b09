"""What the pages for contributors name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "README.md")]
PAGES += sorted((ROOT / "docs" / "contributing").glob("*.md"))
PLACES = (
    "rondo_core/",
    "rondo_promql/",
    "rondo_vmm/",
    "rondo_web/",
    "rondo_job/",
    "rondo_bridges/",
    "rondo_cli/",
    "rondo_exporters/",
    "tests/",
    "docs/",
    "scripts/",
    "bench/",
    "deploy/",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    """Whoever follows a page to a file, a test or a make target finds it."""
    text = page.read_text()
    named = [name for name in re.findall(r"`([\w./-]+)`", text) if name.startswith(PLACES)]
    assert [name for name in named if not (ROOT / name).exists()] == []
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make ([a-z0-9-]+)", text)) | set(re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE))
    assert [
        target for target in targets if not re.search(rf"^[a-z0-9 -]*\b{target}\b[a-z0-9 -]*:", makefile, re.MULTILINE)
    ] == []


def test_the_architecture_page_names_every_floor():
    """Its tables are the tree's; of the command line a module is a command, and needs no row."""
    page = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    packages = {path.parent for path in ROOT.glob("rondo_*/__init__.py")} - {ROOT / "rondo_cli"}
    assert len(packages) > 5
    for package in packages:
        _, _, section = page.partition(f"## The floors of {package.name}\n")
        section = section.partition("\n## ")[0]
        for path in package.iterdir():
            if path.suffix == ".py" and path.stem != "__init__":
                assert f"`{path.stem}`" in section, path
            elif (path / "__init__.py").exists():
                assert f"`{path.name}/`" in section, path
