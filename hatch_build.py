"""Compile the hot path into the wheel where there is a C compiler; elsewhere the same file runs as Python.

RONDO_REQUIRE_COMPILED=1, for releases: fail where it cannot be compiled. RONDO_PURE=1: leave it as Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIRED, PURE = "RONDO_REQUIRE_COMPILED", "RONDO_PURE"
RECORD = ("handles", "gauges", "batches", "families", "timing")
MODULES = (*(f"rondo_core/record/{name}" for name in RECORD), "rondo_vmm/observe/exit_totals")
SYSTEM_TIME = "rondo_core/record/system_time.pxd"


def compile_into(directory: Path, root: Path) -> dict[str, Path]:
    """Compile the hot path: where each extension module is and where it belongs; none, and a word why, if it cannot be.

    Args: `directory`: for everything that compiling makes; `root`: the project's.
    """
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext
    except ImportError as error:
        return _left_out(error)
    for name in (*(f"{module}{suffix}" for module in MODULES for suffix in (".py", ".pxd")), SYSTEM_TIME):
        package = (directory / name).parent
        package.mkdir(parents=True, exist_ok=True)
        for level in (package, *package.parents[: name.count("/") - 1]):
            (level / "__init__.py").touch()
        shutil.copy(root / name, package)
    # Bounds are looked at, as they always are. A method that Python binds, and not the compiler, looks whose it is.
    # Nothing sets a handle's inner state from outside: the compiler makes no methods that would.
    directives = {"auto_pickle": False, "binding": False, "language_level": 3}
    try:
        with contextlib.chdir(directory), contextlib.redirect_stdout(sys.stderr):
            extensions = [
                Extension(module.replace("/", "."), [f"{module}.py"], extra_compile_args=["-O2"]) for module in MODULES
            ]
            modules = cythonize(extensions, compiler_directives=directives, quiet=True)
            command = build_ext(Distribution({"ext_modules": modules}))
            command.inplace = True
            command.ensure_finalized()
            command.run()
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, the pure wheel is as good
        return _left_out(error)
    return {str(built.relative_to(directory)): built for built in directory.glob("rondo_*/**/*.so")}


def _left_out(error: Exception) -> dict[str, Path]:
    if os.environ.get(REQUIRED):
        raise RuntimeError(f"the hot path does not compile, and {REQUIRED} is set: {error}") from error
    sys.stderr.write(f"rondo: the hot path is not compiled ({type(error).__name__}: {error}); it runs as Python\n")
    return {}


class HotPath(BuildHookInterface):
    """Adds the compiled hot path to a wheel; an editable install stays Python."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put the result beside its source."""
        if version == "editable" or self.target_name != "wheel" or os.environ.get(PURE):
            return
        self._work = Path(tempfile.mkdtemp())
        compiled = compile_into(self._work / "build", Path(self.root))
        if compiled:
            build_data["force_include"].update({str(built): place for place, built in compiled.items()})
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Clear up."""
        if hasattr(self, "_work"):
            shutil.rmtree(self._work, ignore_errors=True)


if __name__ == "__main__":
    # Put the extension modules beside their sources, for tests of the compiled hot path in a checkout.
    HERE = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as work:
        built = compile_into(Path(work) / "build", HERE)
        for place, module_file in built.items():
            shutil.copy(module_file, HERE / place)
        sys.exit(not built)
