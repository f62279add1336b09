"""What the pages for contributors name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "README.md")]
PAGES += sorted((ROOT / "docs" / "contributing").glob("*.md"))
PLACES = (
    "rondo_core/",
    "rondo_vmm/",
    "rondo_web/",
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
    """Its table is the tree's."""
    page = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    for path in [*(ROOT / "rondo_core").iterdir(), *(ROOT / "rondo_web").iterdir()]:
        if path.suffix == ".py" and path.stem != "__init__":
            assert f"`{path.stem}`" in page, path.stem
        elif (path / "__init__.py").exists():
            assert f"`{path.name}/`" in page, path.name
