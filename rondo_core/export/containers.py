"""Directories inside of the containers of this host, as /proc shows them to who may look: /proc/PID/root.

A container is a mount namespace other than this process's; one of its processes leads into it. What lies there is its
own and goes with it: a store on a volume of the host outlives the container, and needs none of this.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from rondo_core.errors import printable

PROC = Path("/proc")
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What Docker, containerd, CRI-O and podman call a container, somewhere in the path of its control group.
_ID = re.compile(r"[0-9a-f]{64}")
_SHOWN = 12  # characters of an id, as these tools show it


class ContainerDirectory(NamedTuple):
    """A directory inside of a container: what tells the container from others, and the way there through /proc."""

    name: str
    path: Path


def in_containers(inside: Path, proc: Path = PROC) -> tuple[list[ContainerDirectory], list[str]]:
    """Find a directory in every container that has one.

    Args: `inside`: its path, absolute, as the container's processes name it. A link on the way is not followed: its
        target would be looked for outside of the container.
    Returns: those that are there, and what cannot be looked into, a line each.
    """
    found, refused, seen = list[ContainerDirectory](), 0, {_namespace(proc / "self")}
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):  # noqa: PTH208 - of many, quicker
        process = proc / str(pid)
        try:
            namespace = _namespace(process)
            if namespace in seen:
                continue
            seen.add(namespace)
            if _is_there(process / "root", inside):
                found.append(ContainerDirectory(_name(process, namespace), process / "root" / inside.relative_to("/")))
        except PermissionError:
            refused += 1
        except OSError:
            continue  # it has ended, or has no such directory
    what = "may not be looked into; run the agent as root, where it sees the host's processes"
    return found, [printable(f"agent.containers: {inside}: {refused} processes {what}")] if refused else []


def _namespace(process: Path) -> int:
    return (process / "ns" / "mnt").stat().st_ino


def _is_there(root: Path, inside: Path) -> bool:
    """Say whether the directory is there, and no link leads to it."""
    held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in inside.parts[1:]:
            deeper = os.open(name, _FOLDER, dir_fd=held)
            os.close(held)
            held = deeper
    finally:
        os.close(held)
    return True


def _name(process: Path, namespace: int) -> str:
    """Give the container's id, as its control group has it, or else what the kernel calls its namespace."""
    ids = _ID.findall((process / "cgroup").read_text(errors="replace"))
    return ids[-1][:_SHOWN] if ids else f"mnt-{namespace}"
