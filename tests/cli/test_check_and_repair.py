"""`rondo check` and `rondo repair`, run as users run them."""

import json
import subprocess
import sys

import pytest

RONDO = [sys.executable, "-m", "rondo_cli"]


def rondo(*arguments):
    command = [*RONDO, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def damaged(path, fill):
    """A closed store in whose registry and in one slab a byte was hit."""
    fill(path, 75)
    for name, offset in (("series", 120), ("gauges.0.slab", 4096 + 1)):
        with (path / name).open("r+b") as file:
            file.seek(offset)
            file.write(b"\xa5")
    return path


def test_check_of_a_sound_store_says_so_and_exits_with_0(path, fill):
    """One line, or an empty list."""
    fill(path, 75)
    said = rondo("check", path)
    assert (said.returncode, said.stdout, said.stderr) == (0, f"{path}: sound\n", "")
    assert json.loads(rondo("check", path, "--format", "json").stdout) == []


def test_a_note_alone_exits_with_0(path, fill):
    """What is no damage does not fail a script."""
    fill(path, 75)
    (path / "mine.txt").write_text("")
    said = rondo("check", path)
    assert said.returncode == 0
    assert "note" in said.stdout
    assert "mine.txt" in said.stdout


def test_check_names_damage_and_the_mend_and_exits_with_1(damaged):
    """File, place and words in a table or as JSON; standard error says what to do."""
    said = rondo("check", damaged)
    assert said.returncode == 1
    assert "gauges.0.slab" in said.stdout
    assert f"rondo repair {damaged} NEW_STORE" in said.stderr
    found = json.loads(rondo("check", damaged, "--format", "json").stdout)
    assert {each["file"] for each in found} >= {"series", "gauges.0.slab"}
    assert all(set(each) == {"severity", "file", "where", "what"} for each in found)


def test_repair_says_what_it_left_and_makes_a_sound_store(damaged, tmp_path):
    """What was lost is listed, how much was saved is the last line, and the outcome passes check and opens."""
    new = tmp_path / "new.rondo"
    said = rondo("repair", damaged, new)
    assert said.returncode == 0
    assert "gauges.0.slab: left out 1 rows" in said.stdout
    assert "rows saved" in said.stdout.splitlines()[-1]
    assert rondo("check", new).returncode == 0
    assert 'g{n="1"}' in rondo("info", new).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere"], "no such store"),
        (["repair", "nowhere", "new"], "no such store"),
    ],
)
def test_a_wrong_path_is_one_line(arguments, words, tmp_path, monkeypatch):
    """No traceback: the input and what is wrong."""
    monkeypatch.chdir(tmp_path)
    said = rondo(*arguments)
    assert said.returncode == 1
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_repair_writes_over_nothing(damaged, tmp_path):
    """A target that is there stays as it is."""
    said = rondo("repair", damaged, tmp_path)
    assert said.returncode == 1
    assert "exists already" in said.stderr
