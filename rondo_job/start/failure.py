"""Why a command could not be begun: the exit status that shells have for that, and a line with the mend."""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from rondo_core.errors import printable

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # Source: POSIX, Shell Command Language, 2.8.2
# Words of a shell that are no programs. Source: POSIX, Shell Command Language, 2.4 and 2.14; bash(1)
_OF_A_SHELL = {
    "!",
    ".",
    ":",
    "{",
    "[[",
    "alias",
    "case",
    "eval",
    "exec",
    "export",
    "for",
    "if",
    "set",
    "source",
    "trap",
    "unset",
}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_MOST_NAMES, _MOST_SHOWN, _HEAD_BYTES = 20_000, 80, 4096
# e_machine as uname(1) names it. Source: elf.h
_MACHINES = {3: "i686", 21: "ppc64", 22: "s390x", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_PT_INTERP = 3


def explain(error: OSError, name: str, directories: Sequence[str]) -> tuple[int, str]:
    """Give the exit status, and a line that says what hindered a command from being begun.

    Args: `error`: what execve(2) gave; `name`: of the command, as it was asked for; `directories`: of PATH.
    """
    shown = f"{name[:_MOST_SHOWN]}..." if len(name) > _MOST_SHOWN else name or "''"
    found = find(name, directories)
    if found is None:
        return NOT_FOUND, printable(f"{shown}: command not found; {_mend_of_name(name, directories)}")
    status = NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
    where = shown if "/" in name else f"{shown}: {found}"
    try:
        return status, printable(f"{where}: {_of_file(found, error)}")
    except OSError:  # what may not be looked at, or has no name that could be
        return status, printable(f"{where}: {error.strerror}")


def find(name: str, directories: Sequence[str]) -> Path | None:
    """Give the file that a command's name stands for: of those in PATH the first that may be run, else the first.

    Source: execvp(3). None: there is none.
    """
    if "/" in name:
        return Path(name)
    found = [path for each in directories if name and os.path.isfile(path := Path(each or ".", name))]  # noqa: PTH113 - raises nothing
    return next((path for path in found if os.access(path, os.X_OK)), found[0] if found else None)


def is_text(path: Path) -> bool:
    """Say whether a file that the kernel knows no interpreter of is text: shells and execvp(3) give it to /bin/sh."""
    return b"\0" not in _head(path)


def _mend_of_name(name: str, directories: Sequence[str]) -> str:
    if not name:
        return "its name is empty: is a variable not set?"
    if _ASSIGNMENT.match(name):
        return f"to set a variable write env {name.split(maxsplit=1)[0]} COMMAND"
    if " " in name.strip():
        return "the line is one word here: leave out the quotes around it, or write sh -c before it"
    if name in _OF_A_SHELL:
        return f"it is a word of a shell: write sh -c '{name} ...'"
    if os.path.isfile(name):  # noqa: PTH113 - raises nothing
        return f"it is not in PATH, but here: write ./{name}"
    near = _nearest(name, _names(directories))
    return f"nearest: {near}" if near else f"nothing like it is in PATH, {os.pathsep.join(directories)[:200]}"


def _mend_of_path(path: Path) -> str:
    missing = [each for each in path.parents if not each.exists()]
    if missing:
        return f"there is no directory {missing[-1]} in {missing[-1].parent.absolute()}"
    near = _nearest(path.name, _names([str(path.parent)]))
    if not near:
        return f"nothing like it is in {path.parent.absolute()}"
    return f"nearest: {'' if path.parent.name else './'}{path.parent / near}"


def _names(directories: Iterable[str]) -> Iterator[str]:
    for each in dict.fromkeys(directories):
        with suppress(OSError), os.scandir(each or ".") as entries:
            yield from (entry.name for entry in islice(entries, _MOST_NAMES))


def _nearest(name: str, names: Iterable[str]) -> str:
    """Give the name that is most like one; of those that are so equally, one with its letters, then with its first."""
    import difflib

    plausible = sorted({each for each in names if abs(len(each) - len(name)) <= max(2, len(name) // 3)})
    near = difflib.get_close_matches(name[:_MOST_SHOWN], plausible[:_MOST_NAMES], 9, 0.66)
    return max(near, key=lambda each: (sorted(each) == sorted(name), each[0] == name[0]), default="")


def _of_file(path: Path, error: OSError) -> str:
    """Say what is wrong with a file. Raises: OSError: it may not be looked at."""
    closed = next((each for each in reversed(path.parents) if each.is_dir() and not os.access(each, os.X_OK)), None)
    if closed is not None:
        return f"user {os.getuid()} may not search {closed}; run it as another user, or open that directory"
    if not os.path.lexists(path):
        return f"no such file; {_mend_of_path(path)}"
    if not path.exists():
        return f"a link to {path.readlink()}, which is not there; mend the link"
    if path.is_dir():
        return "a directory; name a program in it"
    return _of_mode(path) if not os.access(path, os.X_OK) else _of_content(_head(path), error)


def _of_mode(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o111:
        return f"not executable, its mode is {mode:04o}; chmod +x {path}"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return "its file system is mounted noexec; have its interpreter read it, or move it"
    return f"not executable for user {os.getuid()}, its mode is {mode:04o}; chmod a+rx {path}"


def _of_content(head: bytes, error: OSError) -> str:
    if error.errno == errno.E2BIG:
        return f"{error.strerror}; hand it a file of them, or use xargs"
    if head.startswith(b"#!"):
        return _of_script(head, error)
    if head.startswith(b"\x7fELF") and len(head) >= 64:
        return _of_elf(head, error)
    return f"{error.strerror}"


def _of_script(head: bytes, error: OSError) -> str:
    """Say what is wrong with a script that names its interpreter."""
    line = head[2:].split(b"\n")[0].decode(errors="replace")
    interpreter = Path(next(iter(line.split()), ""))
    if not line.strip():
        return "its line 1 names no interpreter after #!; write #!/bin/sh"
    if line.endswith("\r"):
        return f"its line 1, #!{line.strip()}, ends in a carriage return; dos2unix mends that"
    if not interpreter.exists():
        return f"its interpreter {interpreter} is not there; mend its line 1, or install it"
    if not os.access(interpreter, os.X_OK):
        return f"its interpreter {interpreter} is not executable; mend its line 1"
    return f"{error.strerror}; its interpreter is {interpreter}"


def _of_elf(head: bytes, error: OSError) -> str:
    """Say what is wrong with a program: of another processor, or its loader is not there. Source: elf(5)."""
    order = "<" if head[5] == 1 else ">"
    (number,) = struct.unpack_from(f"{order}H", head, 18)
    machine = _MACHINES.get(number, f"e_machine {number}")
    if error.errno != errno.ENOENT:
        what = f"{error.strerror}; it is a program for {machine}"
        return what if machine == platform.machine() else f"{what}, and this machine is {platform.machine()}"
    loader = _loader(head, order) if head[4] == 2 else ""  # of 64 bits
    missing = f"its loader {loader} is not there" if loader else "its loader is not there"
    return f"{missing}; it was made for {machine} and another C library: take the one for this system"


def _loader(head: bytes, order: str) -> str:
    """Give what a program asks to be loaded by, of its first bytes; empty: they do not say."""
    (table,), (size, count) = struct.unpack_from(f"{order}Q", head, 32), struct.unpack_from(f"{order}HH", head, 54)
    for at in range(table, table + size * count, size or 1):
        if at + 40 > len(head):
            break
        if struct.unpack_from(f"{order}I", head, at)[0] == _PT_INTERP:
            (offset,), (length,) = (struct.unpack_from(f"{order}Q", head, at + place) for place in (8, 32))
            return head[offset : offset + length].rstrip(b"\0").decode(errors="replace")
    return ""


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
