"""`rondo plugin new`: what it writes works at once."""

import os
import re
import subprocess
import sys
import tomllib

import pytest

from rondo_cli.main import run

FAMILIES = ("exporter", "recorder", "consolidator")


def test_each_family_begins_with_a_plugin_that_passes_its_suite(tmp_path, monkeypatch, capsys):
    """A package whose entry point names the module, and a test that is green as it stands."""
    monkeypatch.chdir(tmp_path)
    for family in FAMILIES:
        assert run(["plugin", "new", family, "my_own"]) == 0
        assert f"rondo-{family}-my-own/" in capsys.readouterr().out
        project = tomllib.loads((tmp_path / f"rondo-{family}-my-own" / "pyproject.toml").read_text())
        assert project["project"]["entry-points"][f"rondo.{family}s"] == {"my_own": f"rondo_{family}_my_own.plugin"}
    folders = [str(tmp_path / f"rondo-{family}-my-own") for family in FAMILIES]
    said = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-q",
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            *folders,
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ":".join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    assert re.search(r"\d\d passed", said.stdout), said.stdout


@pytest.mark.parametrize("name", ["Kafka", "9p", "a-b", "", "../x"])
def test_a_name_that_no_module_can_have_is_refused(name, tmp_path, monkeypatch, capsys):
    """One line that says what a name may hold, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert run(["plugin", "new", "exporter", name]) == 2
    assert "not a plugin's name" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path, capsys):
    """A directory with something in it is left alone."""
    (tmp_path / "kept").write_text("mine")
    assert run(["plugin", "new", "exporter", "x", "--directory", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
