"""The facts of a job before it begins: its host, its limits, what a CI system says of it, its commit."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rondo_core.storage import boot_id
from rondo_job.facts import Host

# Variables that say which run, job and commit this is. None of them is a secret.
KNOWN = (
    *("CI", "GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_WORKFLOW", "GITHUB_JOB", "GITHUB_ACTION", "GITHUB_RUN_ID"),
    *("GITHUB_RUN_NUMBER", "GITHUB_RUN_ATTEMPT", "GITHUB_SHA", "GITHUB_REF_NAME", "RUNNER_NAME", "RUNNER_OS"),
    *("GITLAB_CI", "CI_PROJECT_PATH", "CI_PIPELINE_ID", "CI_JOB_ID", "CI_JOB_NAME", "CI_COMMIT_SHA"),
    *("CI_COMMIT_REF_NAME", "CI_RUNNER_DESCRIPTION", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_NUMBER"),
    *("BUILDKITE_STEP_KEY", "BUILDKITE_COMMIT", "BUILDKITE_BRANCH", "CIRCLE_PROJECT_REPONAME", "CIRCLE_BUILD_NUM"),
    *("CIRCLE_JOB", "CIRCLE_SHA1", "CIRCLE_BRANCH", "JOB_NAME", "BUILD_NUMBER", "GIT_COMMIT", "GIT_BRANCH"),
    *("BUILD_DEFINITIONNAME", "BUILD_BUILDID", "BUILD_SOURCEVERSION", "BUILD_SOURCEBRANCHNAME", "SLURM_JOB_ID"),
    *("SLURM_JOB_NAME", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "SLURM_ARRAY_TASK_ID", "INVOCATION_ID"),
    *("PYTEST_XDIST_WORKER",),
)
COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "CIRCLE_SHA1", "GIT_COMMIT", "BUILD_SOURCEVERSION")
COMMIT, BRANCH = "commit", "branch"  # as the working directory's repository says, where no variable does
_MAX_VALUE = 200
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RLIMITS = ("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")
MAX_ARGUMENTS_BYTES = 32 << 10


def describe_host() -> Host:
    """Give the facts of the machine."""
    sizes = dict.fromkeys(("MemTotal", "SwapTotal"), 0)
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in sizes:
                sizes[key] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    n_cpus = len(os.sched_getaffinity(0))
    return Host(platform.node(), platform.release(), boot_id(), n_cpus, sizes["MemTotal"], sizes["SwapTotal"])


def describe_rlimits(pid: int) -> dict[str, tuple[int, int]]:
    """Give a process's limits of resources: name -> (soft, hard); -1: none."""
    return {name: resource.prlimit(pid, getattr(resource, f"RLIMIT_{name}")) for name in _RLIMITS}


def installed_version() -> str:
    """Give rondo's version by the name of what was installed; importlib.metadata would take as long as all the rest."""
    for entry in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(entry or "."):  # noqa: PTH208 - quicker
                if name.startswith("rondo_tsdb-") and name.endswith(".dist-info"):
                    return name.removeprefix("rondo_tsdb-").removesuffix(".dist-info")
    return ""


def describe_environment(environment: Mapping[str, str], cwd: str) -> dict[str, str]:
    """Give the known variables, and the commit and branch of the working directory where none of them says it."""
    found = {name: environment[name][:_MAX_VALUE] for name in KNOWN if environment.get(name)}
    if not any(name in found for name in COMMITS):
        found |= read_commit(Path(cwd))
    return found


def read_commit(directory: Path) -> dict[str, str]:
    """Give the commit and branch of the git repository that a directory lies in, from its files; nothing: none."""
    try:
        for above in (directory, *directory.parents):
            git = above / ".git"
            if git.is_file():  # a worktree's, or a submodule's
                git = above / git.read_text().removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head_of(git)
    except (OSError, UnicodeDecodeError):
        pass
    return {}


def _head_of(git: Path) -> dict[str, str]:
    head = (git / "HEAD").read_text().strip()
    name = head.removeprefix("ref: ")
    if name == head:
        return {COMMIT: head} if _COMMIT.fullmatch(head) else {}
    common = git / "commondir"
    shared = git / common.read_text().strip() if common.exists() else git
    found = {BRANCH: name.removeprefix("refs/heads/")[:_MAX_VALUE]}
    for folder in (git, shared):
        if (folder / name).is_file():
            return {**found, COMMIT: (folder / name).read_text().strip()[:64]}
    if (shared / "packed-refs").is_file():
        for line in (shared / "packed-refs").read_text().splitlines():
            commit, _, reference = line.partition(" ")
            if reference == name:
                return {**found, COMMIT: commit}
    return found


def cut_command(command: Sequence[str]) -> tuple[str, ...]:
    """Give a command's arguments, as many as there is room for; the last then says how many are left out."""
    kept, room = list[str](), MAX_ARGUMENTS_BYTES
    for argument in command:
        room -= len(argument.encode(errors="surrogateescape")) + 8
        if room < 0:
            return (*kept, f"... {len(command) - len(kept)} more")
        kept.append(argument.encode(errors="surrogateescape").decode(errors="replace"))
    return tuple(kept)


def name_of(command: Sequence[str]) -> str:
    """Name a life by its command: "make", "pytest" of `python -m pytest`, "train" of `python train.py`."""
    words = [Path(word).name for word in command]
    name = words[0]
    if re.fullmatch(r"python[0-9.]*|bash|sh|dash|node|ruby|perl|env", name) and len(command) > 1:
        if command[1] == "-m" and len(command) > 2:
            name = command[2]
        elif not command[1].startswith("-") and "=" not in command[1]:
            name = Path(words[1]).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:40]
    return name or "job"
