"""Every machine that appears below a directory, recorded on one event loop: a life each, a store each."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.errors import RondoError, one_line
from rondo_core.signals import stopped_by_signals
from rondo_vmm.discovery.probe import metrics_of, probe
from rondo_vmm.discovery.sockets import Attempt, FoundSocket, SocketDirectory
from rondo_vmm.errors import ConfigError
from rondo_vmm.firecracker.recorder import firecracker_schemas
from rondo_vmm.firecracker.watch import FirecrackerWatcher
from rondo_vmm.observe.vm_info import VmIdentity
from rondo_vmm.qemu.watch import QemuWatcher
from rondo_vmm.rlimits import allow_open_files

if TYPE_CHECKING:
    from rondo_core import Schema, Store
    from rondo_core.clock import Clock
    from rondo_core.retention import Bound
    from rondo_vmm.firecracker.api import FirecrackerApi
    from rondo_vmm.observe.result import VmResult

LOOK_S = 0.25
LOOK_SHARE = 20  # a look at the directory takes at most a twentieth of a processor
PRUNE_S = 60.0
MAX_NAME = 40
MAX_LIVES = 10_000  # that are known, in order to name the one before
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@attrs.define
class WatchedLife:
    """A machine that is or was watched: who it is, its process, and the name of its store."""

    identity: VmIdentity
    pid: int
    store: str


class MachineDiscovery:
    """Watches a directory. Attributes: `n_lives`: how many machines were recorded."""

    def __init__(self, directory: Path, stores: Path, bound: Bound, say: Callable[[str], object]) -> None:
        """Watch nothing yet. `stores`: where each life gets a store, kept within `bound`; `say`: takes lines.

        Raises: ConfigError: the directory is missing, or none.
        """
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such directory; give one in which monitors have their sockets")
        self._directory, self._stores, self._bound, self._say = directory, stores, bound, say
        self._sockets = SocketDirectory(directory)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._ended = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: set[QemuWatcher | FirecrackerWatcher] = set()
        self._watched: set[int] = set()  # processes
        self._lives: list[WatchedLife] = []
        self._said_of_directory = ""
        self._unpruned: set[str] = set()
        self.n_lives = 0

    def run(self, timeout_s: float | None = None) -> str:
        """Watch until `stop` is called, a signal comes or `timeout_s` is over, and say which. Every store is closed."""
        allow_open_files()
        loop = asyncio.new_event_loop()
        try:
            with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
                loop.run_until_complete(self._run(timeout_s))
        finally:
            loop.close()
        return self._ended

    def stop(self, why: str = "stopped") -> None:
        """End all watches; from any thread, and before `run` too."""
        self._ended = self._ended or why
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
                loop.call_soon_threadsafe(self._over.set)

    async def _run(self, timeout_s: float | None) -> None:
        loop = self._loop = asyncio.get_running_loop()
        if self._ended:
            self._over.set()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self.stop, "timeout")
        pruning = asyncio.create_task(self._keep_within())
        try:
            await self._look_until_over()
        finally:
            if timer is not None:
                timer.cancel()
            for watcher in self._watchers:
                watcher.stop(self._ended)
            while self._tasks:
                await asyncio.wait(self._tasks)
            pruning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pruning
            self._prune()

    async def _look_until_over(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            try:
                due = self._sockets.look(began_s)
            except OSError as error:
                due = []
                self._say_of_directory(f"{self._directory}: {error.strerror}; it is looked for again")
            for found, attempt in due:
                task = asyncio.create_task(self._live(found, attempt))
                self._tasks.add(task)
                task.add_done_callback(lambda done, at=(found, attempt): self._on_done(done, *at))  # type: ignore[misc]
            wait_s = max(LOOK_S, LOOK_SHARE * (time.monotonic() - began_s))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), wait_s)

    def _say_of_directory(self, line: str) -> None:
        if line != self._said_of_directory:
            self._said_of_directory = line
            self._say(line)

    def _on_done(self, task: asyncio.Task[None], found: FoundSocket, attempt: Attempt) -> None:
        """See how a watch went: whatever befell one is a line, once, and touches no other."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            attempt.end(time.monotonic())
            return
        attempt.fail(time.monotonic())
        line = one_line(error)
        if not isinstance(error, RondoError):
            line = f"{found.path}: {line}"
        if line != attempt.said and not attempt.lived:
            attempt.said = line
            self._say(line)

    async def _live(self, found: FoundSocket, attempt: Attempt) -> None:
        """Watch one machine from here to its end."""
        probed = await probe(found.path)
        try:
            attempt.lived = attempt.lived or probed.pid in self._watched
            if self._ended or (probed.pid and probed.pid in self._watched):
                return  # a machine that has several monitors is one
            self._watched.add(probed.pid)
            try:
                if probed.api is not None:
                    await self._live_firecracker(found.path, probed.api)
                elif probed.qmp is not None:
                    await self._live_qemu(found.path, probed.qmp)
            finally:
                self._watched.discard(probed.pid)
            attempt.lived = True
        finally:
            if probed.qmp is not None:
                probed.qmp.close()

    async def _live_qemu(self, path: Path, connected: socket.socket) -> None:
        watcher = QemuWatcher(path, asyncio.get_running_loop(), self._find_before)
        try:
            await watcher.inspect(connected)
            seen = watcher.watched
            store = self._open(path, seen.schemas, seen.identity, seen.facts.pid, "watch qemu")
            await self._record(path, watcher, store)
        finally:
            await watcher.detach()

    async def _live_firecracker(self, path: Path, api: FirecrackerApi) -> None:
        identity = VmIdentity(str((await api.get("/")).get("id", "")))
        metrics = metrics_of(api)
        watcher = FirecrackerWatcher(metrics, None, api)
        if metrics is None:
            self._say(f"{path}: no metrics; give Firecracker --metrics-path, or a FIFO {path.stem}.metrics beside it")
        try:
            store = self._open(path, firecracker_schemas(), identity, api.pid, "watch firecracker", watcher.clock)
            await self._record(path, watcher, store)
        finally:
            watcher.close()

    def _open(
        self,
        path: Path,
        schemas: tuple[Schema, ...],
        who: VmIdentity,
        pid: int,
        writer: str,
        clock: Clock | None = None,
    ) -> Store:
        from rondo_core import Store

        name = _NO_NAME.sub("-", who.name or path.stem).strip("-_")[:MAX_NAME] or "vm"
        labels = {"vm": name}
        options: dict[str, Any] = {} if clock is None else {"clock": clock}
        store = Store.for_process(self._stores, schemas, name=f"vm-{name}", labels=labels, writer=writer, **options)
        self._lives.append(WatchedLife(who, pid, store.path.name))
        del self._lives[:-MAX_LIVES]
        self.n_lives += 1
        self._say(f"{path}: {f'process {pid}' if pid else 'watching'}; recording to {store.path}")
        return store

    async def _record(self, path: Path, watcher: QemuWatcher | FirecrackerWatcher, store: Store) -> None:
        self._watchers.add(watcher)
        try:
            with store:
                if self._ended:
                    watcher.stop(self._ended)
                result: VmResult = await watcher.record(store)
                store.close(result.on_record)
        finally:
            self._watchers.discard(watcher)
        self._say(f"{path}: {result.on_record} after {result.uptime_s:.1f} s")

    def _find_before(self, identity: VmIdentity, pid: int) -> str:
        """Name the newest life of the same machine, by its UUID or else its name, in another process."""
        for life in reversed(self._lives):
            same = life.identity.uuid == identity.uuid if identity.uuid else life.identity.name == identity.name != ""
            if same and life.pid != pid:
                return life.store
        return ""

    async def _keep_within(self) -> None:
        """Fold what of the ended is beyond the bound, each minute."""
        while self._bound:
            await asyncio.sleep(PRUNE_S)
            await asyncio.to_thread(self._prune)

    def _prune(self) -> None:
        from rondo_core.retention import prune

        if not self._bound or not self._stores.is_dir():
            return
        try:
            left = prune(self._stores, self._bound).left
        except (RondoError, OSError) as error:
            left = [one_line(error)]
        for line in left:
            if line not in self._unpruned:
                self._say(f"stays: {line}")
        self._unpruned = set(left)
