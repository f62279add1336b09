"""What PyInstaller is told: a frozen program has the plugins that rondo_core brings."""

import runpy
import tomllib
from pathlib import Path

from rondo_core import frozen

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_the_hook_names_every_plugin_that_rondo_core_brings():
    """The entry point leads to the hook's directory, and the hook to the modules that entry points alone name."""
    assert PROJECT["entry-points"]["pyinstaller40"] == {"hook-dirs": "rondo_core.frozen:hook_directories"}
    (directory,) = frozen.hook_directories()
    told = runpy.run_path(str(Path(directory) / "hook-rondo_core.py"))["hiddenimports"]
    families = ("rondo.recorders", "rondo.consolidators", "rondo.exporters")
    named = {module for family in families for module in PROJECT["entry-points"][family].values()}
    assert {module for module in named if module.startswith("rondo_core.")} <= set(told)
