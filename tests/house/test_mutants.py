"""What `make mutants` does to a module, and that its excuses are about what is there."""

import functools
import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXCUSES = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["equivalent"]
SOURCE = '''"""A module."""
from __future__ import annotations
LIMIT: int = 5
def f(a: int = 1) -> str:
    """A function."""
    if not a or a < LIMIT:
        raise ValueError("words")
    a += 2
    return f"{a}" if a in (True, None) else "x"
'''


@pytest.fixture(scope="module")
def mutators():
    """The script's own module."""
    spec = importlib.util.spec_from_file_location("mutators", ROOT / "scripts/mutators.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.mutants = functools.cache(module.mutants)
    return module


def test_each_place_is_changed_once(mutators):
    """Operators, numbers, texts, conditions, statements; no docstring, no annotation, no words of an error."""
    assert [(each.place, each.change) for each in mutators.mutants(SOURCE)] == [
        ("module", "LIMIT: int = 5 -> LIMIT: int = 6"),
        ("f", "1 -> 2"),
        ("f", "not a or a < LIMIT -> not a and a < LIMIT"),
        ("f", "not a -> a"),
        ("f", "a < LIMIT -> a <= LIMIT"),
        ("f", "raise ValueError('words') -> pass"),
        ("f", "a += 2 -> pass"),
        ("f", "a += 2 -> a -= 2"),
        ("f", "2 -> 3"),
        ("f", """return f'{a}' if a in (True, None) else 'x' -> return None"""),
        ("f", """f'{a}' if a in (True, None) else 'x' -> f'{a}' if not a in (True, None) else 'x'"""),
        ("f", "a in (True, None) -> a not in (True, None)"),
        ("f", "(True, None) -> (False, None)"),
        ("f", """f'{a}' if a in (True, None) else 'x' -> f'{a}' if a in (True, None) else 'x?'"""),
    ]


def test_a_change_leaves_all_else_as_it_is(mutators):
    """Each tree differs from the module in one place, and compiles."""
    import ast

    plain = ast.dump(ast.parse(SOURCE))
    trees = [mutators.mutated(SOURCE, number) for number in range(len(mutators.mutants(SOURCE)))]
    assert len({ast.dump(tree) for tree in trees} | {plain}) == len(trees) + 1
    for tree in trees:
        compile(tree, "x", "exec")
    with pytest.raises(IndexError):
        mutators.mutated(SOURCE, len(trees))


@pytest.mark.parametrize("excuse", EXCUSES, ids=lambda each: f"{Path(each['module']).stem}-{each['place']}")
def test_an_excuse_is_about_a_change_that_can_be_made(mutators, excuse):
    """So that it is looked at again when the code has changed; it has a reason."""
    there = {(each.place, each.change) for each in mutators.mutants((ROOT / excuse["module"]).read_text())}
    assert {(excuse["place"], change) for change in excuse["changes"]} <= there
    assert len(excuse["why"]) > 10
