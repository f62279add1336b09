"""What is written of a job: its store and the files beside it, from before its first instruction to its end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Store
from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError, UsageError, one_line
from rondo_core.model import check_schemas, store_name
from rondo_core.plugins import open_recorders
from rondo_core.storage import create_own, own_paths
from rondo_job import hookspecs
from rondo_job.describe import (
    cut_command,
    describe_environment,
    describe_host,
    describe_rlimits,
    installed_version,
    name_of,
)
from rondo_job.ending import encode_leaf, keep_file_tails, usage_of, with_counters, with_those_who_left
from rondo_job.facts import LifeEnd, LifeStart, encode
from rondo_job.files import names
from rondo_job.files.children import ChildrenWriter
from rondo_job.files.inbox import Entry, Inbox, parse_entry
from rondo_job.groups.evidence import read_evidence, read_limits
from rondo_job.groups.leaf import make_leaf
from rondo_job.hookspecs import Job
from rondo_job.processes.tree import Tree
from rondo_job.schemas import job_schemas

if TYPE_CHECKING:
    from rondo_core import Gauge
    from rondo_job.request import RunRequest
    from rondo_job.start.output import Output

RECORDERS = ("job_group", "job_processes", "job_commands", "job_network")
OF_A_PROGRAM = {"asyncio", "process", "python", "threads"}  # recorders that tell of the process that they run in
KEEP_LAST = 100  # lives in a directory, where nothing else is said
_MOST_SET = 256  # gauges of `rondo set` that stay until they are set anew
_AT_ONCE = 4  # stores that are folded at the end of a run


class JobRecording:
    """A job's life as it is written. One thread.

    Attributes: `path`: of the store; `environment`: what the job is told; `leaf`, `tree`; `failure`: why recording
    ended early, empty: it did not.
    """

    def __init__(self, request: RunRequest, pid: int, relay_pid: int, output: Output) -> None:
        """Make everything ready.

        Raises: UsageError: what was asked for cannot be; StoreError, OSError: there can be no store.
        """
        self._request, self._output, self.failure = request, output, ""
        self._every_ns, self._measured, self._before_bytes = request.every_ns, True, 0
        self.leaf = make_leaf(pid, relay_pid, request.methods)
        self._store: Store | None = None
        try:
            if request.memory_max is not None:
                self.leaf.limit_memory(request.memory_max)
            self._open(request, pid, relay_pid)
        except BaseException:
            self.leaf.remove()
            raise

    @property
    def method(self) -> str:
        """How the tree is measured."""
        return self.leaf.method

    def _open(self, request: RunRequest, pid: int, relay_pid: int) -> None:
        name = request.name or name_of(request.command)
        tables = {name: table for name, table in request.config.recorders.items() if name not in OF_A_PROGRAM}
        plugins = open_recorders(tables, hookspecs, defaults=RECORDERS)
        schemas = check_schemas(job_schemas(request.every_ns, len(request.config.exporters)))
        paths = own_paths(request.directory.absolute(), f"{name}-{self.method}")
        path = create_own(paths, schemas, (), wall_ns(), ())  # not synced: a job is not to wait for a disk
        self._store = store = Store(path, writer=f"run {name}")
        self.path = store.path.absolute()
        self.environment = {names.VARIABLE: str(self.path)}
        try:
            self._inbox = Inbox(self.path / names.INBOX)
            table = ChildrenWriter(self.path / names.CHILDREN)
            self.tree = Tree(pid, self.leaf.pids if self.leaf.own else None, table, relay_pid, self.leaf.holds)
            start = self._describe(name, pid)
            names.write_whole(self.path / names.START, encode(start))
            names.keep_room(self.path)
            self.tree.look(wall_ns())  # so that the job is in the table whatever comes
            job = Job(pid, self.leaf.method, self.leaf.groups, self.leaf.own, self.tree)
            self._ticks: list[Callable[[int], None]] = plugins.bind_guarded("rondo_job_bind", declare=store, job=job)
            store.bind_recorders(plugins)
        except BaseException:
            self.discard()
            raise
        self._gauges: dict[Entry, tuple[Gauge, float]] = {}
        self._ticked_ns = 0

    def _describe(self, name: str, pid: int) -> LifeStart:
        request, leaf = self._request, self.leaf
        memory, cpus, tasks = read_limits(leaf.groups)
        cwd = os.getcwd()  # noqa: PTH109 - a text is what is kept
        return LifeStart(
            name=name,
            command=cut_command(request.command),
            cwd=cwd,
            pid=pid,
            recorder_pid=os.getpid(),
            user=os.getuid(),
            started_ns=wall_ns(),
            method=leaf.method,
            why=leaf.why,
            every_ns=request.every_ns,
            version=installed_version(),
            host=describe_host(),
            before=read_evidence(leaf.groups, wall_ns(), own=leaf.own),
            memory_limit_bytes=memory,
            cpu_limit=cpus,
            pids_limit=tasks,
            rlimits=describe_rlimits(pid),
            environment=describe_environment(os.environ, cwd),
            output=self._output.kinds,
            timeout_s=request.timeout_s,
        )

    def for_relay(self) -> dict[str, Any]:
        """Give what the relay is told."""
        leaf, pid = encode_leaf(self.leaf), self.tree.root
        return {"life": str(self.path), "pid": pid, "leaf": leaf, "files": dict(self._output.files)}

    def begin(self, before_bytes: int, *, measured: bool) -> None:
        """Have exporters beside it, now that the job has begun; threads were in the way before.

        Args: `before_bytes`: see `usage_of`; not `measured`: its command could not be begun, and what its process was
            until then is no job's.
        """
        self._before_bytes, self._measured = before_bytes, measured
        self.tree.forget_peaks()
        if self._request.config.exporters and self._store is not None:
            from rondo_core.export import Exporters

            tables = self._request.config.exporters
            try:
                self._store.attach(lambda store: Exporters(store, tables, {"instance": store_name(store.path)}))
            except RondoError as error:
                self._stop(error)

    # -- measuring

    def tick(self, now_ns: int, *, last: bool = False) -> None:
        """Measure; and each second, or as often as was asked for, take what was posted and fold."""
        if self._store is None or not self._measured:
            return
        try:
            self.tree.look(now_ns)
            for each in self._ticks:
                each(now_ns)
            if now_ns // self._every_ns != self._ticked_ns // self._every_ns and not last:
                self._ticked_ns = now_ns
                self._read_inbox(now_ns)
                self._store.tick(now_ns)
        except Exception as error:  # noqa: BLE001 - whatever befalls the recording, the job goes on
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        """Record no more."""
        self.failure = one_line(error)
        store, self._store = self._store, None
        with contextlib.suppress(Exception):
            if store is not None:
                store.close(f"raised {one_line(error)}")

    def _read_inbox(self, now_ns: int) -> None:
        """Take what processes of the job have posted: marks and gauges."""
        lines = self._inbox.read_new()
        for line in lines:
            try:
                self._take(parse_entry(line), now_ns)
            except UsageError as error:
                if self._store is not None:
                    self._store.note(f"not taken: {one_line(error)}")
        for gauge, value in self._gauges.values():
            gauge.set(value, now_ns)  # what was set stays until it is set anew
        if lines:
            self._inbox.acknowledge()

    def _take(self, entry: Entry, now_ns: int) -> None:
        if self._store is None:
            return
        if entry.kind == "mark":
            self._store.mark(entry.name, now_ns=entry.time_ns or now_ns, **dict(entry.facts))
            return
        key = Entry("set", entry.name, 0.0, entry.facts)
        known = self._gauges.get(key)
        gauge = known[0] if known else self._store.gauge(entry.name, dict(entry.facts), help="Set by rondo set.")
        gauge.set(entry.value, now_ns)  # one that is set several times in a second has its peaks too
        if known or len(self._gauges) < _MOST_SET:  # of more labels than a store has room for
            self._gauges[key] = gauge, entry.value

    def look_at(self, pid: int) -> None:
        """Look once more at a process that has ended and is about to be reaped."""
        process = self.tree.processes.get(pid)
        if process is not None:
            with contextlib.suppress(OSError):
                process.read()

    def note_reaped(self, pid: int, status: int, usage: Any) -> None:
        """Take what a process took that was just reaped."""
        self.tree.note_reaped(pid, status, usage, wall_ns())

    # -- the end

    def finish(self, end: LifeEnd, usage: Any) -> LifeEnd:
        """Put the end on record, close the store, let exporters send, keep the directory within its bound."""
        if self._measured:
            end = self._with_use(end, usage)
        keep_file_tails(self.path, self._output.files)
        with contextlib.suppress(OSError):
            names.write_end(self.path, encode(end))
        self.tree.close()
        self.leaf.remove()
        try:
            if self._store is not None:
                self._read_inbox(wall_ns())
                self._store.close(end.ended)
            self._prune()
        except Exception as error:  # noqa: BLE001 - the job has ended, and its status is what counts
            self.failure = self.failure or one_line(error)
        return end

    def _with_use(self, end: LifeEnd, usage: Any) -> LifeEnd:
        """Add what the job took, who of it lived on, and the counters."""
        remaining = tuple(self.tree.pids())
        totals = self.tree.totals
        took = usage_of(usage, self._before_bytes, self.tree.largest_bytes)
        end = attrs.evolve(end, usage=took, remaining=remaining[:64], cpu_s=totals.user_s + totals.system_s)
        end = with_counters(end, self.leaf)
        ended = self.tree.look(wall_ns())  # at who ended with it
        if self.leaf.method == "tree":
            return attrs.evolve(end, cpu_s=ended.user_s + ended.system_s)
        return with_those_who_left(end, self.tree) if self.leaf.own else end

    def _prune(self) -> None:
        """Keep the directory within its bound; what needs a look at every store is done only where one is asked for."""
        keep = dict(self._request.keep) or {"keep_last": KEEP_LAST}
        if list(keep) == ["keep_last"] and len(os.listdir(self._request.directory)) <= keep["keep_last"]:  # noqa: PTH208
            return
        from rondo_core.retention import Bound, prune

        bound = Bound.read(keep, tuple(self._request.config.exporters))
        prune(self._request.directory, bound, at_most=_AT_ONCE)

    def discard(self) -> None:
        """Remove the life of a job that could not be begun."""
        store, self._store = self._store, None
        if store is not None:
            store.close()
            shutil.rmtree(store.path, ignore_errors=True)
        self.leaf.remove()
