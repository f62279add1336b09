"""The loader of compiled modules, which gives their source where a compiled one cannot be had.

A process may have several interpreters, as mod_wsgi gives each application its own: only the first that asks gets a
compiled module. Others are refused by a file system without executables. As Python the same module does the same.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import ModuleType
from typing import ClassVar

# The compiled modules of this package know how objects of this one lie in memory: as it is loaded all are.
_FIRST = f"{__package__}.handles"


class CompiledLoader(ExtensionFileLoader):
    """Loads a compiled module; once one was refused, the source of each of its package."""

    refused: ClassVar[set[str]] = set()

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # type: ignore[override]
        """Make the module; None where it is to be its source. Raises: ImportError: that is not there either."""
        if self._package == __package__ and spec.name != _FIRST:
            import_module(_FIRST)
        try:
            if self._package not in self.refused:
                return super().create_module(spec)
        except ImportError:
            if not self._source.is_file():
                raise
            self.refused.add(self._package)
        spec.origin = str(self._source)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        if self._package in self.refused:
            module.__file__ = str(self._source)
            SourceFileLoader(self.name, module.__file__).exec_module(module)
        else:
            super().exec_module(module)

    @property
    def _package(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def _source(self) -> Path:
        return Path(self.path).with_name(self.name.rpartition(".")[2] + SOURCE_SUFFIXES[0])


def prefer_compiled(directory: str) -> None:
    """Have a directory's modules loaded compiled where that can be; one that is no plain directory stays as it is."""
    PathFinder.find_spec(__name__, [directory])  # which gives the directory its finder, where nothing has asked yet
    if type(sys.path_importer_cache.get(directory)) is FileFinder:
        sys.path_importer_cache[directory] = FileFinder(
            directory,
            (CompiledLoader, EXTENSION_SUFFIXES),
            (SourceFileLoader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )
