"""One machine of `rondo vmm`: its store opened, its monitor run, what it recorded sent, and all of it summed up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_cli import run_long
from rondo_cli.printing import GuestText, say
from rondo_cli.terminal import STDOUT, to_descriptor
from rondo_core.errors import RondoError, make_logs_printable, one_line
from rondo_core.model import is_there
from rondo_vmm.config import VmConfig
from rondo_vmm.monitor import Monitor

if TYPE_CHECKING:
    from rondo_core import Plugins, Schema, Store
    from rondo_core.export import Exporters, Outcome
    from rondo_core.plugins import Config
    from rondo_vmm.observe.result import VmResult
    from rondo_vmm.qemu.machine import QemuMonitor

REMOTE_WRITE = "prometheus"
SPARE_FILES = 8
REASON_BYTES = 86  # the record of runs keeps 100 bytes


class VmRequest(NamedTuple):
    """What was asked for of one machine.

    Attributes: `config`, what it is; `store`, where it is recorded (None: nowhere); `known`, what the config file says
    of stores and recorders; `exporters`, where what is recorded is sent, and with which `labels`.
    """

    config: VmConfig
    store: Path | None
    known: Config
    exporters: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    labels: Mapping[str, str] = MappingProxyType({})


def with_remote_write(known: Config, url: str | None) -> dict[str, Mapping[str, Any]]:
    """Give the config's exporters, and that of --remote-write: its URL goes before the one of a table of that name."""
    tables = dict(known.exporters)
    if url is not None:
        tables[REMOTE_WRITE] = {**tables.get(REMOTE_WRITE, {}), "url": url}
    return tables


class VmRun:
    """One machine's run. `run` blocks; `stop` may come before or while it does, from any thread."""

    def __init__(
        self,
        request: VmRequest,
        sink: Callable[[bytes], object],
        name: str = "",
        source: int | None = None,
        on_recording: Callable[[Path], object] = lambda _path: None,
    ) -> None:
        """Make nothing yet.

        Args: `sink` takes the console's bytes; `name` begins each line that is said; `source`: a descriptor that the
            console reads; `on_recording` is called with the store's path when it is there.
        """
        self._request, self._sink, self._source = request, sink, source
        self._prefix = f"rondo: {name}: " if name else "rondo: "
        self._on_recording = on_recording
        self._monitor: Monitor | QemuMonitor | None = None
        self._stopped_by = ""

    def run(self) -> VmResult:
        """Run the machine to its end. Raises: RondoError: it or its store cannot be had.

        The machine is made first: one that cannot be had leaves no store, and where there is one, says why in it.
        """
        path = self._request.store
        plugins = None if path is None else self._plugins()
        try:
            self._monitor = self._make()
        except Exception as error:
            self._record_failed_start(error)
            raise
        if self._stopped_by:
            self._monitor.stop(self._stopped_by)
        try:
            if path is None:
                run_long()
                result = self._monitor.run()
                self._summarise(result)
                return result
            return self._run_recorded(self._monitor, path, plugins)
        finally:
            self._monitor.close()

    def _run_recorded(self, monitor: Monitor | QemuMonitor, path: Path, plugins: Plugins | None) -> VmResult:
        from rondo_core import Store

        outcomes: dict[str, Outcome] = {}
        sync_interval_s = self._request.known.store.get("sync_interval")
        with Store(path, self._schemas(path), writer="vmm", sync_interval_s=sync_interval_s) as store:
            exporters = None
            try:
                self._name_what_is_gone(store)
                self._on_recording(path)
                exporters = self._start_export(store)
                monitor.record_in(store, plugins)
                _check_spare_files()
                self._say(f"machine {monitor.machine}: {monitor.why}; recording to {path}")
                run_long()
                result = monitor.run()
                store.close(result.on_record)
            except Exception as error:
                store.close(_failed(error))
                raise
            finally:
                store.close("failed")
                if exporters is not None:
                    outcomes = exporters.close(store.run.number)
        self._summarise(result)
        for name, outcome in outcomes.items():
            self._summarise_export(path, name, outcome)
        return result

    def _record_failed_start(self, error: Exception) -> None:
        """Say why in a store that is there already; what keeps even that from being written is not what went wrong."""
        path = self._request.store
        if path is None or not is_there(path):
            return
        from rondo_core import Store

        with suppress(RondoError, OSError), Store(path, writer="vmm", create_missing=False) as store:
            store.close(self._stopped_by or _failed(error))

    def stop(self, why: str = "stopped") -> None:
        """End the run in order."""
        self._stopped_by = self._stopped_by or why
        if self._monitor is not None:
            self._monitor.stop(why)

    def _plugins(self) -> Plugins:
        if self._request.config.machine == "qemu":
            from rondo_vmm.qemu.recording import qemu_plugins

            return qemu_plugins(self._request.known.recorders)
        from rondo_vmm.observe.recording import monitor_plugins

        return monitor_plugins(self._request.known.recorders)

    def _schemas(self, path: Path) -> tuple[Schema, ...] | None:
        """Give those of the config; without, a machine's own for a new store, and whatever is there for an old one."""
        known = self._request.known
        kept = known.schemas()
        if kept is not None or is_there(path):
            return kept
        from rondo_core.model import with_room
        from rondo_core.plugins import RECORDERS, entrypoints, recorders_asked
        from rondo_vmm.schemas import schemas_for, with_recorders

        where = entrypoints.find(RECORDERS) if known.recorders else {}
        more = [name for name in recorders_asked(known.recorders) if not where[name].startswith("rondo_vmm.")]
        schemas = with_recorders(schemas_for(self._request.config), len(more))
        return with_room(schemas, len(self._request.exporters) + 1)  # a machine's own has room for none

    def _make(self) -> Monitor | QemuMonitor:
        config = self._request.config
        if config.machine == "qemu":
            from rondo_vmm.qemu.machine import QemuMonitor

            return QemuMonitor(config, sink=self._sink, stopped=lambda: self._stopped_by)
        return Monitor(config, sink=self._sink, source=self._source, on_escape=self.stop)

    def _name_what_is_gone(self, store: Store) -> None:
        """Say that the run before this one has no end on record."""
        from rondo_core.model import RUNS_FILE
        from rondo_core.storage import read_runs

        for run in read_runs(store.path / RUNS_FILE)[-2:]:
            if run.number == store.run.number - 1 and not run.ended:
                what = f"process {run.pid} is gone without closing run {run.number}"
                self._say(f"{store.path}: {what}; what it recorded is kept")

    def _start_export(self, store: Store) -> Exporters | None:
        if not self._request.exporters:
            return None
        from rondo_core.export import Exporters

        make_logs_printable()
        return Exporters(store, self._request.exporters, self._request.labels)

    def _say(self, words: str) -> None:
        say(self._prefix + words, err=True)

    def _summarise(self, result: VmResult) -> None:
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.exits.items() if count)
        exits = f", {sum(result.exits.values())} exits ({reasons})" if result.exits else ""
        self._say(f"{result.ended} after {result.uptime_s:.1f} s{exits}")
        if result.completed:
            done = ", ".join(f"{name} {count}" for name, count in sorted(result.completed.items()))
            self._say(f"instructions completed for this host, which cannot emulate them: {done}")
        for plugin, failures in result.failed_plugins.items():
            self._say(f"plugin {plugin} failed {failures} times")
        for note in (*([result.error] if result.error else []), *result.notes):
            self._say(note)
        if result.dropped_bytes:
            why = result.console_trouble or "its reader did not keep up"
            self._say(f"console: {result.dropped_bytes} bytes dropped: {why}")

    def _summarise_export(self, path: Path, name: str, outcome: Outcome) -> None:
        sent = f"{outcome.samples} samples" if outcome.takes_samples else f"{outcome.events} marks and notes"
        self._say(f"{name}: {sent} sent in {outcome.requests} requests")
        if outcome.error:
            self._say(f"{name}: {outcome.failures} failed requests, the last: {outcome.error}")
            if name in self._request.known.exporters:
                how = f"--to {name} --config {self._request.known.path}"
            else:
                how = f"--to {name} --url {_public(str(self._request.exporters[name].get('url', '')))}"
            self._say(f"what was not sent is still in the store: rondo export {path} {how}")


def _public(url: str) -> str:
    """Leave out the credentials that a URL may carry."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def console_for(*, raw: bool) -> Callable[[bytes], object]:
    """Give what shows a guest's console on standard output: a terminal takes it as it is where someone types to it."""
    sink = to_descriptor(STDOUT)
    return sink if raw or not os.isatty(STDOUT) else GuestText(sink)


def _check_spare_files() -> None:
    """See that this process may open the files that a run and its end need. Raises: OSError: it may not."""
    with ExitStack() as stack:
        for _ in range(SPARE_FILES):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _failed(error: Exception) -> str:
    """Say why a start failed in what the record of runs has room for; of a long path its end is kept."""
    why = one_line(error).partition("; ")[0]
    return f"start failed: {why if len(why.encode()) <= REASON_BYTES else f'...{why[3 - REASON_BYTES :]}'}"
