"""The control groups that a process is in, version 2 and each controller of version 1, as directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

V2 = ""  # the name of version 2's hierarchy, as /proc/PID/cgroup has it


@attrs.frozen
class Group:
    """A control group in one hierarchy.

    Attributes: `mount`: of the hierarchy; `path`: of the group, the mount or below it.
    """

    mount: Path
    path: Path

    def levels(self) -> Iterator[Path]:
        """Give the group, and each one above it up to the mount, which is the root that can be seen."""
        yield self.path
        for above in self.path.parents if self.path != self.mount else ():
            yield above
            if above == self.mount:
                return

    def name(self, level: Path) -> str:
        """Name a level by its path below the mount: "/" is the root that can be seen."""
        return "/" + str(level.relative_to(self.mount)).removeprefix(".")


def find_groups(pid: int | str = "self", root: Path = Path("/")) -> dict[str, Group]:
    """Find a process's group in each hierarchy that is mounted: "" for version 2, else by controller.

    In a container the group may be named by a path outside of what is mounted there; then the mount itself is it.
    Source: cgroups(7), proc_pid_mountinfo(5).
    """
    found = dict[str, Group]()
    try:
        said = _lines(root / f"proc/{pid}/cgroup")
        mounts = _lines(root / "proc/self/mountinfo")
    except OSError:
        return found
    groups = {name: line.split(":", 2)[2] for line in said for name in line.split(":", 2)[1].split(",")}
    for line in mounts:
        front, _, back = line.partition(" - ")
        kind, _, options = back.split(" ", 2)
        top, place = front.split(" ", 5)[3:5]
        names = [V2] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            if name in groups and name not in found:
                mount = root / place.lstrip("/")
                inside = Path(groups[name]).is_relative_to(top)
                below = mount / Path(groups[name]).relative_to(top) if inside else mount
                found[name] = Group(mount, below if os.path.isdir(below) else mount)  # noqa: PTH112 - raises nothing
    return found


def _lines(path: Path) -> list[str]:
    """Read the lines of a file that names paths, which may be any bytes. Raises: OSError."""
    return os.fsdecode(path.read_bytes()).removesuffix("\n").split("\n")


def read_number(path: Path) -> int | None:
    """Read one number; None: "max", or what cannot be read, or no number."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


def read_keys(path: Path) -> dict[str, int] | None:
    """Read lines of a key and a number; None: the file cannot be read."""
    try:
        parts = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return {part[0]: int(part[1]) for part in parts if len(part) == 2 and part[1].isdigit()}
