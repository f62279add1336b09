"""Compile the hot path into the wheel where there is a C compiler; elsewhere the same file runs as Python."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "rondo_core/handles"


def compile_into(directory: Path, root: Path) -> Path | None:
    """Compile the hot path and give the extension module's path; None, and a word why, where that cannot be.

    Args: `directory`: for everything that compiling makes; `root`: the project's.
    """
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext
    except ImportError as error:
        return _left_out(error)
    package = directory / "rondo_core"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for suffix in (".py", ".pxd"):
        shutil.copy(root / f"{MODULE}{suffix}", package)
    # The types are those of handles.pxd; the annotations are for people.
    directives = dict.fromkeys(("annotation_typing", "boundscheck", "wraparound", "initializedcheck"), False)
    directives["language_level"] = 3
    try:
        with contextlib.chdir(directory), contextlib.redirect_stdout(sys.stderr):
            extension = Extension("rondo_core.handles", [f"{MODULE}.py"], extra_compile_args=["-O2"])
            modules = cythonize([extension], compiler_directives=directives, quiet=True)
            command = build_ext(Distribution({"ext_modules": modules}))
            command.inplace = True
            command.ensure_finalized()
            command.run()
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, the pure wheel is as good
        return _left_out(error)
    return next(package.glob("handles.*.so"), None)


def _left_out(error: Exception) -> None:
    sys.stderr.write(f"rondo: the hot path is not compiled ({type(error).__name__}: {error}); it runs as Python\n")


class HotPath(BuildHookInterface):
    """Adds the compiled hot path to a wheel; an editable install stays Python."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put the result beside its source."""
        if version == "editable" or self.target_name != "wheel":
            return
        self._work = Path(tempfile.mkdtemp())
        compiled = compile_into(self._work / "build", Path(self.root))
        if compiled is not None:
            build_data["force_include"][str(compiled)] = f"rondo_core/{compiled.name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Clear up."""
        if hasattr(self, "_work"):
            shutil.rmtree(self._work, ignore_errors=True)


if __name__ == "__main__":
    # Put the extension module beside its source, for tests of the compiled hot path in a checkout.
    HERE = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as work:
        built = compile_into(Path(work) / "build", HERE)
        if built is None:
            sys.exit(1)
        shutil.copy(built, HERE / "rondo_core")
