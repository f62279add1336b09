"""One name stands for one thing: who reads a class's name knows which class it is."""

import ast
import collections
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Each exporter has its own, and none imports another's.
EXPORTERS_OWN = {"Encoder", "Settings"}
# What stood here before the field's terms did: none of it comes back as the name of a module, a class or a function.
PICTURES = re.compile(
    r"take_up|taken_up|let_go|leave_unread|stand_aside|^_?stand$|point_nowhere|[Ll]anes?$|^_?(lift|settled?|unsettled|derived"
    r"|tentative|firm|wholly|skim|skimming|beside|doubt|relay|swap|staging|stage|tell|told|installed|uncompiled|fit|come_back"
    r"|give_way|accompany|asleep|nowhere)$|^take_back|salvage|[Cc]ompanion|Fittings|give_birth|give_children|bring_up_to_date"
)
PUBLIC = {"nowhere"}  # `Store.nowhere`: what users write stays as it is


def files():
    packages = [path for path in ROOT.glob("rondo_*/__init__.py") if path.parent.name != "rondo_exporters"]
    yield from (path for package in packages for path in package.parent.rglob("*.py"))
    yield from (ROOT / "rondo_exporters").glob("*/rondo_exporter_*/**/*.py")


def test_a_class_name_stands_for_one_class():
    """Over every package and exporter, private and inner classes too; exporters have two of their own."""
    known = collections.defaultdict(set)
    for path in files():
        place = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                known[node.name].add((place, node.lineno))
    assert len(known) > 300
    several = {name: sorted(places) for name, places in known.items() if len(places) > 1}
    assert set(several) <= EXPORTERS_OWN, several
    for places in several.values():
        assert all(place.startswith("rondo_exporters/") for place, _ in places), places


def test_names_are_the_fields_terms():
    """What a module, class or function is called is a term that another engineer knows, and no picture of one of ours."""
    found = []
    for path in files():
        named = [path.stem]
        named += [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in named if name not in PUBLIC and PICTURES.search(name)]
    assert not found
