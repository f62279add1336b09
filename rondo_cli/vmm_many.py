"""Several machines of one `rondo vmm`: each with its store, port and name, on a thread or in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import shutil
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_cli.printing import guest_line, say
from rondo_cli.terminal import STDOUT, to_descriptor, unstalled_stderr
from rondo_cli.vmm_run import VmRequest, VmRun
from rondo_core.errors import RondoError, UsageError, one_line
from rondo_core.model import is_directory, is_there
from rondo_core.signals import STOP_SIGNALS, stopped_by_signals
from rondo_core.storage import is_abandoned

if TYPE_CHECKING:
    from rondo_web import Sidecar

INSTANCE = "instance"
MAX_LINE_BYTES = 4096
STOPPED = 128  # and the signal: the exit status of a machine that was stopped in order
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)


def many(request: VmRequest, count: int) -> list[tuple[str, VmRequest]]:
    """Give the name of each machine, and what it is asked for: a store and writable disks of its own.

    `request.store` is the directory of the stores; the names are that directory's, or the external label `instance`,
    and a number. Raises: UsageError: the directory is a store itself.
    """
    directory = request.store
    if directory is not None and is_there(directory / "meta"):
        raise UsageError(f"{directory}: a store; give --store a directory, in which each machine gets its own")
    base = request.labels.get(INSTANCE) or (directory.stem if directory else "vmm")
    found = []
    for index in range(count):
        name = f"{base}-{index}"
        config = request.config
        if config.disks and not config.disk_read_only:
            own = tuple(path.with_name(f"{path.stem}-{index}{path.suffix}") for path in config.disks)
            config = config._replace(disks=own)
        store = directory / name if directory else None
        labels = {**request.labels, INSTANCE: name}
        found.append((name, request._replace(config=config, store=store, labels=labels)))
    return found


def run_many(
    machines: list[tuple[str, VmRequest]],
    listening: list[socket.socket],
    *,
    processes: bool,
    stagger_s: float,
    token_file: Path | None = None,
) -> int:
    """Run them all to their ends, each begun `stagger_s` after the one before; give the exit status.

    What is wrong with one is said, and the others go on.
    Args: `listening`: sockets that the API of each is served on; none for no API; `token_file`: see `rondo serve`.
    """
    _make_room(len(machines))
    directory = machines[0][1].store
    fleet = _ForkedVms(listening, machines[0][1]) if processes else _ThreadedVms()
    with stopped_by_signals(fleet.stop) as signalled, unstalled_stderr():
        if directory is not None:
            _clear(directory.parent, {name for name, _ in machines})
        sidecar = None
        try:
            for name, request in machines:
                fleet.start(name, request)
                if fleet.stopping.wait(stagger_s):
                    break
            if listening and not fleet.stopping.is_set():
                sidecar = _serve(machines, listening, token_file)
            failed = fleet.wait()
        finally:
            if sidecar is not None:
                sidecar.close()
        say(f"rondo: {len(machines)} machines ended, {failed} of them failed", err=True)
    return STOPPED + signalled[0] if signalled else int(failed > 0)


class _ThreadedVms:
    """Machines on threads of this process."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._runs: list[VmRun] = []
        self._threads: list[threading.Thread] = []
        self._failed: list[str] = []
        self._console = threading.Lock()

    def start(self, name: str, request: VmRequest) -> None:
        """Start one, and wait until its store is there or it has failed."""
        begun = threading.Event()
        run = VmRun(request, _NamedLines(name, self._console), name, on_recording=lambda _path: begun.set())
        self._runs.append(run)
        thread = threading.Thread(target=self._run, args=(name, run, begun), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        if request.store is not None:
            begun.wait()

    def _run(self, name: str, run: VmRun, begun: threading.Event) -> None:
        try:
            if 0 < run.run().exit_status < STOPPED:
                self._failed.append(name)
        except Exception as error:  # noqa: BLE001 - one machine's fault is not the others'
            self._failed.append(name)
            say(f"rondo: {name}: {one_line(error)}", err=True)
        finally:
            begun.set()

    def stop(self, number: int) -> None:
        """End all in order."""
        self.stopping.set()
        for run in self._runs:
            run.stop(f"signal {number}")

    def wait(self) -> int:
        """Wait for all; give how many failed."""
        for thread in self._threads:
            thread.join()
        return len(self._failed)


class _ForkedVms:
    """Machines in processes of their own, which end in order when this one is killed."""

    def __init__(self, listening: list[socket.socket], request: VmRequest) -> None:
        self.stopping = threading.Event()
        self._listening = listening
        self._running: dict[int, str] = {}
        _load(request)
        gc.collect()
        gc.freeze()  # the children share what is there: their collections are not to touch it

    def start(self, name: str, request: VmRequest) -> None:
        """Start one, and wait until its store is there or it has failed."""
        parent = os.getpid()
        begun, begin = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the child has its own handlers
        pid = os.fork()
        if not pid:
            os._exit(self._child(name, request, parent, begin))
        self._running[pid] = name
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        say(f"rondo: {name}: process {pid}", err=True)
        os.close(begin)
        if request.store is not None:
            os.read(begun, 1)  # or its end, where the child has ended
        os.close(begun)

    def _child(self, name: str, request: VmRequest, parent: int, begin: int) -> int:
        try:
            for each in self._listening:
                each.close()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                return 1
            with unstalled_stderr():  # the parent's is written by a thread that is not in the child
                return self._run(name, request, begin)
        except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
            return 1

    def _run(self, name: str, request: VmRequest, begin: int) -> int:
        try:
            lines = _NamedLines(name, threading.Lock())
            run = VmRun(request, lines, name, on_recording=lambda _path: os.write(begin, b"."))
            with stopped_by_signals(lambda number: run.stop(f"signal {number}")):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
                try:
                    return run.run().exit_status
                finally:  # afterwards signals are again the parent's, and go into its pipe
                    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        except Exception as error:  # noqa: BLE001 - one machine's fault is not the others'
            say(f"rondo: {name}: {one_line(error)}", err=True)
            return error.exit_status if isinstance(error, RondoError) else 1

    def stop(self, number: int) -> None:
        """Pass a signal on to all."""
        self.stopping.set()
        for pid in list(self._running):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self) -> int:
        """Wait for all; give how many failed. One that was killed is named: it cannot say so itself."""
        failed = 0
        while self._running:
            pid, status = os.wait()
            name = self._running.pop(pid, None)
            if name is None:
                continue
            failed += os.WIFSIGNALED(status) or 0 < os.WEXITSTATUS(status) < STOPPED
            if os.WIFSIGNALED(status):
                say(f"rondo: {name}: process {pid} ended by signal {os.WTERMSIG(status)}", err=True)
        return failed


def _load(request: VmRequest) -> None:
    """Import what the machines need once, before the first fork: their processes share it, in memory and in time.

    numpy only where an exporter does with it: recording and folding do without. Its own threads are not started.
    """
    modules = ["rondo_vmm.observe.result"]
    if request.config.machine in {"auto", "kvm"}:
        modules += ["rondo_vmm.kvm.machine"]
    if request.exporters:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        modules += ["numpy"]
    if request.store is not None:
        modules += ["rondo_core.store", "rondo_core.plugins.options", "rondo_vmm.schemas"]
    for module in modules:
        importlib.import_module(module)
    if request.store is not None:
        from rondo_core.record import load_fold
        from rondo_vmm.observe.recording import monitor_plugins

        load_fold()
        monitor_plugins()


class _NamedLines:
    """Shows a machine's console a whole line at a time, its name before each."""

    def __init__(self, name: str, lock: threading.Lock) -> None:
        self._prefix, self._lock = os.fsencode(f"{name}: "), lock
        self._write = to_descriptor(STDOUT)
        self._line = bytearray()

    def __call__(self, data: bytes) -> None:
        self._line += data
        if b"\n" not in data and len(self._line) < MAX_LINE_BYTES:
            return
        *lines, rest = bytes(self._line).split(b"\n")
        if len(rest) >= MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._line[:] = rest
        with self._lock:
            self._write(b"".join(self._prefix + guest_line(line) + b"\n" for line in lines))


def _serve(
    machines: list[tuple[str, VmRequest]], listening: list[socket.socket], token_file: Path | None
) -> Sidecar | None:
    """Serve those whose store is there, all by one process; say where each is."""
    from rondo_web import Sidecar, url_of

    there = []
    for (name, request), each in zip(machines, listening, strict=True):
        if request.store is None or not is_there(request.store):
            each.close()
            continue
        there.append((request.store, each))
        say(f"rondo: {name}: serving {request.store} on {url_of(each)}/metrics/info", err=True)
    return Sidecar(*there[0], there[1:], token_file) if there else None


def _make_room(count: int) -> None:
    """Let this process have as many descriptors as it may, where many machines need them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count > 1:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _clear(directory: Path, names: set[str]) -> None:
    """Remove stores that a killed process had not made whole, and name those that this run leaves alone."""
    if not is_directory(directory):
        return
    for path in sorted(directory.iterdir()):
        if path.name.endswith(".unfinished"):
            if is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
                pid = path.name.split(".")[-2].partition("-")[0]
                say(f"rondo: {path}: removed; process {pid} was killed while it made that store", err=True)
        elif is_there(path / "meta") and path.name not in names:
            say(f"rondo: {path}: a store of an earlier run, left as it is", err=True)
