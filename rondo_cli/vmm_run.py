"""One machine of `rondo vmm`: its store opened, its monitor run, what it recorded sent, and all of it summed up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from rondo_vmm.config import VmConfig
from rondo_vmm.monitor import Monitor, VmResult

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.export.outcome import Outcome
    from rondo_core.export.runner import Runner
    from rondo_vmm.qemu.machine import QemuMonitor

EXPORT_INTERVAL_S = 10.0


@attrs.frozen
class Asked:
    """What was asked for of one machine: what it is, where it is recorded (None: nowhere), and where that is sent."""

    config: VmConfig
    store: Path | None
    url: str | None = None
    labels: Mapping[str, str] = attrs.Factory(dict)


class Run:
    """One machine's run. `run` blocks; `stop` may come before or while it does, from any thread."""

    def __init__(
        self,
        asked: Asked,
        sink: Callable[[bytes], object],
        name: str = "",
        source: int | None = None,
        on_recording: Callable[[Path], object] = lambda _path: None,
    ) -> None:
        """Make nothing yet.

        Args: `sink` takes the console's bytes; `name` begins each line that is said; `source`: a descriptor that the
            console reads; `on_recording` is called with the store's path when it is there.
        """
        self._asked, self._sink, self._source = asked, sink, source
        self._prefix = f"rondo: {name}: " if name else "rondo: "
        self._on_recording = on_recording
        self._monitor: Monitor | QemuMonitor | None = None
        self._stopped_by = ""

    def run(self) -> VmResult:
        """Run the machine to its end. Raises: RondoError: it or its store cannot be had."""
        path = self._asked.store
        if path is None:
            result = self._open(None).run()
            self._summarise(result)
            return result
        from rondo_core import Store
        from rondo_vmm.schemas import schemas_for

        with Store(path, None if path.exists() else schemas_for(self._asked.config), writer="vmm") as store:
            self._name_what_was_killed(store)
            self._on_recording(path)
            runner = self._start_export(store)
            try:
                monitor = self._open(store)
                self._say(f"machine {monitor.machine}: {monitor.why}; recording to {path}")
                result = monitor.run()
                store.close(result.error or result.ended)
            finally:
                store.close("failed")
                outcome = runner.close(store.run.number) if runner else None
        self._summarise(result)
        if outcome is not None:
            self._summarise_export(path, outcome)
        return result

    def stop(self, why: str = "stopped") -> None:
        """End the run in order."""
        self._stopped_by = self._stopped_by or why
        if self._monitor is not None:
            self._monitor.stop(why)

    def _open(self, store: Store | None) -> Monitor | QemuMonitor:
        config = self._asked.config
        if config.machine == "qemu":
            from rondo_vmm.qemu.machine import QemuMonitor

            self._monitor = QemuMonitor(config, store, self._sink)
        else:
            self._monitor = Monitor(config, store, self._sink, source=self._source, on_escape=self.stop)
        if self._stopped_by:
            self._monitor.stop(self._stopped_by)
        return self._monitor

    def _name_what_was_killed(self, store: Store) -> None:
        """Say that the run before this one was killed."""
        from rondo_core.layout import RUNS_FILE
        from rondo_core.runs import read_runs

        for run in read_runs(store.path / RUNS_FILE)[-2:]:
            if run.number == store.run.number - 1 and not run.ended:
                self._say(f"{store.path}: process {run.pid} was killed in run {run.number}; what it recorded is kept")

    def _start_export(self, store: Store) -> Runner | None:
        if self._asked.url is None:
            return None
        from rondo_core.export.runner import open_runner

        config: dict[str, object] = {"url": self._asked.url}
        if self._asked.labels:
            config["external_labels"] = dict(self._asked.labels)
        count = store.self_metrics.set_total
        runner = open_runner(store.view, "prometheus", config, interval_s=EXPORT_INTERVAL_S, count=count)
        runner.start()
        return runner

    def _say(self, words: str) -> None:
        click.echo(self._prefix + words, err=True)

    def _summarise(self, result: VmResult) -> None:
        sys.stdout.flush()
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.exits.items() if count)
        exits = f", {sum(result.exits.values())} exits ({reasons})" if result.exits else ""
        self._say(f"{result.ended} after {result.uptime_s:.1f} s{exits}")
        if result.completed:
            done = ", ".join(f"{name} {count}" for name, count in sorted(result.completed.items()))
            self._say(f"instructions completed for this host, which cannot emulate them: {done}")
        for plugin, failures in result.failed_plugins.items():
            self._say(f"plugin {plugin} failed {failures} times")
        if result.error:
            self._say(result.error)

    def _summarise_export(self, path: Path, outcome: Outcome) -> None:
        self._say(f"{outcome.samples} samples sent in {outcome.requests} requests")
        if outcome.error:
            self._say(f"{outcome.failures} failed requests, the last: {outcome.error}")
            again = f"rondo export {path} --to prometheus --url {_public(self._asked.url or '')}"
            self._say(f"what was not sent is still in the store: {again}")


def _public(url: str) -> str:
    """Leave out the credentials that a URL may carry."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def console(data: bytes) -> None:
    """Show what a guest writes, line by line."""
    sys.stdout.buffer.write(data)
    if b"\n" in data:
        sys.stdout.buffer.flush()


def console_at_once(data: bytes) -> None:
    """Show every byte when it comes: someone is typing."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
