"""Bytes on the disk: files, journals, slabs, the registry, the record of runs; no policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.storage.directory import Meta as Meta
    from rondo_core.storage.directory import is_abandoned as is_abandoned
    from rondo_core.storage.directory import read_meta as read_meta
    from rondo_core.storage.directory import size_bytes as size_bytes
    from rondo_core.storage.ended import Ended as Ended
    from rondo_core.storage.ended import read_ended as read_ended
    from rondo_core.storage.endings import how_ended as how_ended
    from rondo_core.storage.endings import outcome as outcome
    from rondo_core.storage.events import Event as Event
    from rondo_core.storage.fault_dump import in_short as in_short
    from rondo_core.storage.fault_dump import read_dump as read_dump
    from rondo_core.storage.files import UNFINISHED as UNFINISHED
    from rondo_core.storage.files import Folder as Folder
    from rondo_core.storage.files import replace_file as replace_file
    from rondo_core.storage.files import sync_directory as sync_directory
    from rondo_core.storage.lock import writer_pid as writer_pid
    from rondo_core.storage.newest_values import last_values as last_values
    from rondo_core.storage.own import create_own as create_own
    from rondo_core.storage.own import own_paths as own_paths
    from rondo_core.storage.recovery import Survival as Survival
    from rondo_core.storage.recovery import survival as survival
    from rondo_core.storage.registry import Registry as Registry
    from rondo_core.storage.runs import Run as Run
    from rondo_core.storage.runs import boot_id as boot_id
    from rondo_core.storage.runs import read_runs as read_runs
    from rondo_core.storage.write_check import check_directory as check_directory

_HOME = {
    "Ended": "ended",
    "Event": "events",
    "Folder": "files",
    "Meta": "directory",
    "Registry": "registry",
    "Run": "runs",
    "UNFINISHED": "files",
    "Survival": "recovery",
    "boot_id": "runs",
    "how_ended": "endings",
    "in_short": "fault_dump",
    "create_own": "own",
    "own_paths": "own",
    "check_directory": "write_check",
    "is_abandoned": "directory",
    "last_values": "newest_values",
    "outcome": "endings",
    "read_dump": "fault_dump",
    "read_ended": "ended",
    "read_meta": "directory",
    "read_runs": "runs",
    "replace_file": "files",
    "size_bytes": "directory",
    "survival": "recovery",
    "sync_directory": "files",
    "writer_pid": "lock",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
