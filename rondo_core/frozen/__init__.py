"""What PyInstaller is told of rondo: where the hook lies that names modules found by their entry points alone."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Name the directory of the hook `hook-rondo_core.py`, as the entry point `pyinstaller40` asks for it."""
    return [str(Path(__file__).parent)]
