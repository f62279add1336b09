"""A control group that holds a job and nothing else: of version 2 or 1, made here or by systemd; or none, and why."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from rondo_core.errors import UsageError
from rondo_core.units import format_size
from rondo_job.facts import Method
from rondo_job.groups.mounted import V2, Group, find_groups

PREFIX = "rondo-job-"
RECORDER = "rondo-recorder"
_NAME = re.compile(rf"{PREFIX}(\d+)-(\d+)")  # the recorder, and the relay, which reads it where that is killed
_WANTED_V1 = ("cpuacct", "memory")  # without both, a tree says more
_MORE_V1 = (V2,)  # for pressure; a group in cpu or blkio would have no more of these than one process
_CONTROLLERS = ("cpu", "io", "memory", "pids")
_SYSTEMD_S = 2.0
_SYSTEMD_STEP_S = 0.02


@attrs.frozen
class Leaf:
    """Where a job's processes are.

    Attributes:
        method: how the tree is measured by it; why: why no better one could be had.
        groups: by controller, "" for version 2; the job's own where `own` is true, else those that it shares.
        made: directories that were made here, and are removed with `remove`.
    """

    method: Method
    why: str
    groups: Mapping[str, Group]
    own: bool = False
    made: tuple[Path, ...] = ()

    def pids(self) -> list[int]:
        """Give the processes in it, and in groups that the job made below. Raises: OSError: it is gone."""
        return _processes(str(self._folder))

    def holds(self, pid: int) -> bool:
        """Say whether a process is in it, or in a group that the job made below; of one that is gone, that it is."""
        found = find_groups(pid)
        names = (V2,) if self.method == "cgroup2" else _WANTED_V1
        return all(name not in found or found[name].path.is_relative_to(self.groups[name].path) for name in names)

    @property
    def _folder(self) -> Path:
        return self.groups[V2 if self.method == "cgroup2" else "memory"].path

    def limit_memory(self, size_bytes: int) -> None:
        """Let it have so much memory, swap included where that can be said.

        Raises: UsageError: it is shared, or the kernel refuses.
        """
        if not self.own:
            what = f"no control group of the job's own could be made ({self.why})"
            raise UsageError(f"--memory-max {format_size(size_bytes)}: {what}; run it where one can be")
        names = ("memory.max", "memory.swap.max") if self.method == "cgroup2" else ("memory.limit_in_bytes",)
        folder = self.groups[V2 if self.method == "cgroup2" else "memory"].path
        try:
            (folder / names[0]).write_text(str(size_bytes))
        except OSError as error:
            raise UsageError(
                f"--memory-max {format_size(size_bytes)}: {folder}: {error.strerror}; give a larger one"
            ) from None
        with contextlib.suppress(OSError):
            if len(names) > 1:
                (folder / names[1]).write_text("0")
            else:
                (folder / "memory.memsw.limit_in_bytes").write_text(str(size_bytes))

    def remove(self) -> None:
        """Remove what was made; a group with a process in it stays, until a later run finds it empty."""
        for folder in reversed(self.made):
            _remove(folder)

    def kill(self) -> None:
        """Send SIGKILL to every process in it, those too that are born meanwhile."""
        with contextlib.suppress(OSError):
            if self.method == "cgroup2" and (self.groups[V2].path / "cgroup.kill").exists():
                (self.groups[V2].path / "cgroup.kill").write_text("1")
                return
            for _ in range(100):
                pids = self.pids()
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if not pids:
                    return


def make_leaf(pid: int, relay_pid: int, methods: tuple[Method, ...] = ("cgroup2", "cgroup1")) -> Leaf:
    """Put a process, which has not begun, into a group of its own; by tree where none can be made.

    Args: `methods`: those that are tried, in this order; `relay_pid`: as long as that process lives it is kept.
    """
    name = f"{PREFIX}{os.getpid()}-{relay_pid}"
    groups, why = find_groups(), list[str]()
    for method in methods:
        for make in _MAKERS.get(method, ()):
            try:
                return make(groups, pid, name)
            except OSError as error:
                reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
                why.append(f"{method}: {reason}")
    return Leaf("tree", "; ".join(dict.fromkeys(why)) or "asked for", groups)


def _make_v2(groups: Mapping[str, Group], pid: int, name: str) -> Leaf:
    """Make a leaf below this process's own group of version 2. Raises: OSError: it cannot be."""
    if V2 not in groups:
        raise OSError("no hierarchy of version 2 is mounted")
    group = groups[V2]
    available = _words(group.path / "cgroup.controllers")
    if "memory" not in available:
        raise OSError(f"{group.path}: it has no controller of memory")
    made = list[Path]()
    try:
        if "memory" not in _words(group.path / "cgroup.subtree_control"):
            _enable(group, available, pid, made)
        folder = _made(group.path, name, made)
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError:
        Leaf("cgroup2", "", {}, made=tuple(made)).remove()
        raise
    return Leaf("cgroup2", "", {**groups, V2: Group(group.mount, folder)}, own=True, made=(folder,))


def _enable(group: Group, available: list[str], pid: int, made: list[Path]) -> None:
    """Have controllers below a group that holds this program's processes alone; they move into one beside the job's.

    A group with processes has no controllers below it. Source: cgroup-v2.rst, "No Internal Process Constraint".
    Raises: OSError: others are in it, or it is not this user's.
    """
    inside, ours = set(map(int, (group.path / "cgroup.procs").read_text().split())), _ours(pid)
    if inside - ours:
        raise OSError(errno.EBUSY, "others are in this group, so none can be made below it", str(group.path))
    folder = group.path / RECORDER
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        made.append(folder)
    for each in inside:
        (folder / "cgroup.procs").write_text(str(each))
    wanted = [f"+{name}" for name in _CONTROLLERS if name in available]
    (group.path / "cgroup.subtree_control").write_text(" ".join(wanted))


def _ours(pid: int) -> set[int]:
    """Give this process, the job, and this one's other children."""
    own = os.getpid()
    with contextlib.suppress(OSError):
        return {own, pid, *map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split())}
    return {own, pid}


def _make_by_systemd(groups: Mapping[str, Group], pid: int, name: str) -> Leaf:
    """Have systemd make a scope, as `systemd-run --scope` does. Raises: OSError: there is none, or it refuses.

    Source: org.freedesktop.systemd1(5), StartTransientUnit.
    """
    busctl = shutil.which("busctl")
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    if busctl is None or not (Path("/run/systemd/system").exists() or Path(runtime, "systemd").exists()):
        raise OSError("no systemd runs here")
    service = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
    unit = f"{name}.scope"
    facts = ["PIDs", "au", "1", str(pid), "CollectMode", "s", "inactive-or-failed"]
    facts += [word for name in ("CPU", "IO", "Memory", "Tasks") for word in (f"{name}Accounting", "b", "true")]
    call = [busctl, "--user" if os.getuid() else "--system", "call", *service, "StartTransientUnit", "ssa(sv)a(sa(sv))"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and nothing of it is a stranger's
            [*call, unit, "fail", "6", *facts, "0"], capture_output=True, timeout=_SYSTEMD_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError("systemd does not answer") from None
    if done.returncode:
        raise OSError(f"systemd: {done.stderr.decode(errors='replace').strip()[:200]}")
    until = _SYSTEMD_S / _SYSTEMD_STEP_S
    while until > 0:
        found = find_groups(pid)
        if V2 in found and found[V2].path.name == unit and (found[V2].path / "memory.current").exists():
            return Leaf("cgroup2", "", {**groups, V2: found[V2]}, own=True)
        signal.sigtimedwait([], _SYSTEMD_STEP_S)
        until -= 1
    raise OSError(f"systemd: {unit} has no memory of its own; ask for Delegate=yes, or for cgroup v2")


def _make_v1(groups: Mapping[str, Group], pid: int, leaf: str) -> Leaf:
    """Make a leaf in each hierarchy of version 1 that matters. Raises: OSError: not in those that must be."""
    for name in _WANTED_V1:
        if name not in groups:
            raise OSError(f"no hierarchy of version 1 is mounted with {name}")
    made, own = list[Path](), dict(groups)
    try:
        for name in (*_WANTED_V1, *_MORE_V1):
            if name not in groups:
                continue
            known = [each for each in made if each.parent == groups[name].path]
            try:
                folder = known[0] if known else _made(groups[name].path, leaf, made)
                with contextlib.suppress(OSError):  # cpu is often mounted with cpuacct: as many processes as CPUs
                    if (folder / "cpu.shares").exists():
                        (folder / "cpu.shares").write_text(str(1024 * len(os.sched_getaffinity(0))))
                (folder / "cgroup.procs").write_text(str(pid))
                own[name] = Group(groups[name].mount, folder)
            except OSError:
                if name in _WANTED_V1:
                    raise
    except OSError:
        for name in _WANTED_V1:
            with contextlib.suppress(OSError):
                (groups[name].path / "cgroup.procs").write_text(str(pid))
        Leaf("cgroup1", "", {}, made=tuple(made)).remove()
        raise
    return Leaf("cgroup1", "no controllers of version 2", own, own=True, made=tuple(made))


def _processes(folder: str) -> list[int]:
    """Give the processes of a group and of those below it. Raises: OSError: it is gone."""
    with open(f"{folder}/cgroup.procs", "rb", buffering=0) as file:  # noqa: PTH123 - quicker
        pids = [int(pid) for pid in file.readall().split()]
    if os.stat(folder).st_nlink > 2:  # noqa: PTH116 - quicker; each group below is a link more
        for each in os.scandir(folder):
            if each.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    pids += _processes(each.path)
    return pids


def _remove(folder: Path) -> None:
    """Remove a group and those that the job made below it, as far as they are empty."""
    with contextlib.suppress(OSError):
        for each in os.scandir(folder):
            if each.is_dir(follow_symlinks=False):
                _remove(Path(each.path))
        folder.rmdir()


def _made(parent: Path, leaf: str, made: list[Path]) -> Path:
    """Make the leaf of this recorder below a group, and remove empty ones of recorders that are gone."""
    for name in _leaves(parent):
        match = _NAME.fullmatch(name)
        if match and not any(Path("/proc", pid).exists() for pid in match.groups()):
            _remove(parent / name)
    folder = parent / leaf
    folder.mkdir(exist_ok=True)
    made.append(folder)
    return folder


def _leaves(parent: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from os.listdir(parent)  # noqa: PTH208 - names are all that is wanted


def _words(path: Path) -> list[str]:
    return path.read_text().split()


_MAKERS: Mapping[str, tuple[Callable[[Mapping[str, Group], int, str], Leaf], ...]] = {
    "cgroup2": (_make_v2, _make_by_systemd),
    "cgroup1": (_make_v1,),
}
