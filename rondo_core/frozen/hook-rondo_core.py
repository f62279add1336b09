"""PyInstaller's hook of rondo_core: the recorders, consolidators and exporters that nothing imports by their names."""

from pathlib import Path

import rondo_core

hiddenimports = [
    f"rondo_core.builtin.{path.stem}" for path in (Path(rondo_core.__file__).parent / "builtin").glob("*.py")
]
