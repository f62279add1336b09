"""Write an initramfs with this Python, rondo and its tests of lives: to be unpacked after the guest's own.

    python3 guest/python_initramfs.py OUTPUT COMMAND

The guest then runs COMMAND in /rondo and powers off. The interpreter is the one that runs this, with the packages that
rondo and pytest require as they are installed for it, so that what is tested there is what is tested here. Compiled to
bytecode beforehand: a guest whose CPU is emulated would take longer for that than for all the rest.
"""

from __future__ import annotations

import importlib.metadata
import py_compile
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from initramfs import EXECUTABLE, FILE, FOLDER, entry

HERE = Path(__file__).parent
REPO = HERE.parent
HOME = Path("python")  # sys.prefix in the guest
SITE = HOME / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
WANTED = ("rondo-tsdb", "pytest", "pytest-timeout")
# Of the standard library: what no test of a life loads, and what is large.
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "__pycache__"}


def required(names: tuple[str, ...]) -> list[importlib.metadata.Distribution]:
    """Find the distributions of these names, and whatever they require without an extra."""
    found, left = dict[str, importlib.metadata.Distribution](), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        for line in found[name].requires or ():
            need, _, condition = line.partition(";")
            if not condition:
                left.append(re.split(r"[\s<>=!~\[(]", need.strip(), maxsplit=1)[0])
    return list(found.values())


def installed(distribution: importlib.metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    """Give what a distribution installed: where it lies here, and below site-packages."""
    for each in distribution.files or ():
        source = Path(str(distribution.locate_file(each)))
        if not {"..", "__pycache__", "tests"} & {*each.parts} and source.is_file():
            yield source, Path(*each.parts)


def below(folder: Path, *, left_out: set[str] = frozenset()) -> Iterator[tuple[Path, Path]]:  # type: ignore[assignment]
    """Give the files below a folder, and their places below it, folders of some names left out."""
    for path in sorted(folder.iterdir()):
        if path.name in left_out or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from ((source, Path(path.name) / place) for source, place in below(path, left_out=left_out))
        elif path.is_file():
            yield path, Path(path.name)


def libraries(binaries: list[Path]) -> dict[Path, Path]:
    """Find the shared libraries that programs and modules are linked with: place in the guest -> file here."""
    found = dict[Path, Path]()
    words = ["ldd", *map(str, binaries)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout  # noqa: S603 - of what is here
    for name, path in re.findall(r"^\s+(?:(\S+) => )?(/\S+) \(0x", said, re.MULTILINE):
        place = Path(path.lstrip("/")) if not name else Path("lib") / Path(name).name
        found[place] = Path(path)
    return found


def gathered() -> dict[Path, Path]:
    """Find all that goes in: place in the guest -> file here."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # noqa: SLF001 - a venv's is a link
    files = {HOME / "bin/python3": interpreter}
    files |= {SITE / place: source for source, place in below(stdlib, left_out=LEFT_OUT)}
    packages = SITE / "site-packages"
    for distribution in required(WANTED):
        files |= {packages / place: source for source, place in installed(distribution)}
    for folder in sorted(REPO.glob("rondo_*")):
        if (folder / "__init__.py").exists():
            places = below(folder, left_out={"__pycache__"})
            files |= {packages / folder.name / place: source for source, place in places}
    files |= {Path("rondo/tests/conftest.py"): REPO / "tests/conftest.py"}
    tests = below(REPO / "tests/job", left_out={"__pycache__"})
    files |= {Path("rondo/tests/job") / place: source for source, place in tests}
    binaries = [source for place, source in files.items() if ".so" in place.name] + [interpreter]
    return libraries(binaries) | files


def compiled(source: Path, place: Path, scratch: Path) -> bytes:
    """Give a module's bytecode, which is taken without a look at its source."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(scratch), dfile=f"/{place}", doraise=True, invalidation_mode=mode)
    return scratch.read_bytes()


def build(command: str, output: Path) -> None:
    """Write the archive."""
    files, scratch = gathered(), output.with_suffix(".pyc")
    entries = [(Path("init-python"), EXECUTABLE, (HERE / "init-python").read_bytes())]
    entries += [(Path("command"), FILE, f"{command}\n".encode())]
    for place, source in files.items():
        entries.append((place, EXECUTABLE if source.stat().st_mode & 0o100 else FILE, source.read_bytes()))
        if place.suffix == ".py" and SITE in place.parents:
            cache = place.parent / "__pycache__" / f"{place.stem}.{sys.implementation.cache_tag}.pyc"
            entries.append((cache, FILE, compiled(source, place, scratch)))
    folders = sorted({above for place, _, _ in entries for above in place.parents} - {Path()})
    with output.open("wb") as file:
        for number, folder in enumerate(folders, 1):
            file.write(entry(number, str(folder), FOLDER))
        for number, (place, mode, data) in enumerate(entries, len(folders) + 1):
            file.write(entry(number, str(place), mode, data))
        file.write(entry(0, "TRAILER!!!", 0))
        file.write(bytes(-file.tell() % 512))
    scratch.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python_initramfs.py OUTPUT COMMAND")
    build(sys.argv[2], Path(sys.argv[1]))
