"""VmConfig -> a live VM: its CPUs' threads, a tick each second, and an orderly stop whatever ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_core.signals import stopped_by_signals
from rondo_vmm.build import build
from rondo_vmm.config import VmConfig
from rondo_vmm.hookspecs import EXIT_REASONS
from rondo_vmm.observe.console_lines import ConsoleLines
from rondo_vmm.observe.console_output import DRAIN_TIMEOUT_S, STOPPED_DRAIN_TIMEOUT_S, ConsoleOutput, DroppedBytes
from rondo_vmm.observe.exit_totals import ExitTotals
from rondo_vmm.observe.milestones import Milestones
from rondo_vmm.observe.panic import PanicLine
from rondo_vmm.observe.recording import Recording
from rondo_vmm.observe.shared_ticks import ticked

if TYPE_CHECKING:
    from rondo_core import Plugins, Store
    from rondo_vmm.devices.serial_input import SerialInput
    from rondo_vmm.observe.result import VmResult

JOIN_S = 10.0


class Monitor:
    """One VM. `run` blocks; `stop` may come from another thread."""

    def __init__(
        self,
        config: VmConfig,
        store: Store | None = None,
        sink: Callable[[bytes], object] | None = None,
        plugins: Plugins | None = None,
        source: int | None = None,
        on_escape: Callable[[], None] | None = None,
    ) -> None:
        """Build the machine.

        Args: `store`: where to record, None for nowhere; `sink` takes the serial console's bytes, on a thread of its
            own: it may block or raise; `plugins`: whose recorders and hooks to bind, by default the monitor's own;
            `source`: a descriptor that the guest's serial console reads; `on_escape`: what Ctrl-A x from there does,
            where it is a raw terminal.
        Raises: VmmError and those below it: the machine cannot be had or the kernel not be loaded.
        """
        self._began_ns = wall_ns()
        self._config = config
        self._output = None if sink is None else ConsoleOutput(sink, at_once=source is not None)
        self._lines = ConsoleLines(self._output or _discard_output)
        try:
            self._vm = build(config, self._lines)
        except BaseException:
            self._close_output(0)
            raise
        self._machine, self.why = self._vm.machine, self._vm.why
        self.record_in(store, plugins)
        self._input: SerialInput | None = None
        if source is not None:
            from rondo_vmm.devices.serial_input import SerialInput

            self._input = SerialInput(source, self._vm.serial, on_escape)
        self._go = threading.Event()
        self._done = threading.Event()
        self._closing, self._closed = threading.RLock(), False  # reentrant: a signal handler may stop in the middle
        self._stopped_by = ""
        self._error = ""
        self._ended = ""

    @property
    def machine(self) -> str:
        """The machine's name: "kvm" or "soft"."""
        return self._machine.name

    def record_in(self, store: Store | None, plugins: Plugins | None = None) -> None:
        """Say where to record, before `run`: no store is needed before it is known that the machine can be had."""
        self._store, self._plugins = store, plugins

    def close(self) -> None:
        """Release a machine that will not run."""
        self._close_output(0)
        with self._closing:
            if not self._closed:
                self._closed = True
                self._vm.close()

    def run(self) -> VmResult:
        """Run the VM to its end, recording every second of it. The store is left open, its last tick done."""
        recording = Recording(self._store, self._plugins)
        if self._store is not None and self._output is not None:
            recording.add_tick(DroppedBytes(self._store, self._output))
        if self._vm.virtio is not None:
            recording.bind_devices(self._vm.virtio)
        milestones, panic = Milestones(self._began_ns, recording.milestones()), PanicLine()

        def on_line(line: bytes, began_ns: int) -> None:
            milestones.on_line(line, began_ns)
            panic.on_line(line)

        self._lines.observer = on_line
        vcpus = self._machine.vcpus
        threads = [
            threading.Thread(
                target=self._run_vcpu,
                args=(number, recording, recording.exits(number, vcpus[number].exits)),
                name=f"rondo-vcpu-{number}",
                daemon=True,
            )
            for number in range(len(vcpus))
        ]
        try:
            return self._run(recording, threads, milestones, panic)
        except BaseException:  # as where no thread can be had: no CPU may run on in memory that `close` takes away
            if not self._closed:
                self.stop("failed")
                self._go.set()
                self._join(threads)
            raise

    def _run(
        self, recording: Recording, threads: list[threading.Thread], milestones: Milestones, panic: PanicLine
    ) -> VmResult:
        for number, thread in enumerate(threads):
            thread.start()
            recording.add_vcpu(number, thread.native_id or 0)
        vcpus = self._machine.vcpus
        started_ns, started = wall_ns(), time.monotonic()
        recording.tick(started_ns)
        milestones.reach("first_instruction", started_ns)
        recording.notify("rondo_vmm_started", machine=self.machine, now_ns=started_ns)
        ticks = nullcontext() if self._store is None else ticked(recording.tick, started_ns)
        with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
            self._go.set()
            with ticks:
                recording.load_fold()
                if self._input:
                    self._input.start()
                if not self._done.wait(self._config.timeout_s):
                    self.stop("timeout")
                self._join(threads)
        if self._input:
            self._input.close()
        self._lines.flush()
        with self._closing:
            self._closed = True
            if any(thread.is_alive() for thread in threads):
                self._error = self._error or "a virtual CPU did not stop; its memory is kept until the process ends"
            else:  # a CPU that still runs would run into memory that is gone
                self._vm.close()
        ended = self._stopped_by or self._ended
        if panic.explains(ended):
            ended, self._error = "panic", f"panic: {panic.line}"
        now_ns, uptime_s = wall_ns(), time.monotonic() - started
        recording.notify("rondo_vmm_stopped", ended=ended, now_ns=now_ns)
        recording.tick(now_ns)
        self._close_output(STOPPED_DRAIN_TIMEOUT_S if self._stopped_by else DRAIN_TIMEOUT_S)
        recording.tick_added(now_ns)
        from rondo_vmm.observe.result import (
            VmResult,  # at the end: no guest is to wait for its first instruction for it
        )

        exits = tuple(dict(zip(EXIT_REASONS, vcpu.exits, strict=True)) for vcpu in vcpus)
        return VmResult(
            machine=self.machine,
            why=self.why,
            ended=ended,
            error=self._error,
            exits={reason: sum(each[reason] for each in exits) for reason in EXIT_REASONS},
            exits_by_vcpu=exits,
            completed=self._machine.completed,
            uptime_s=uptime_s,
            started_ns=started_ns,
            ended_ns=now_ns,
            failed_plugins=dict(recording.plugins.failures) if recording.plugins else {},
            dropped_bytes=self._output.dropped_bytes if self._output else 0,
            console_trouble=self._output.trouble if self._output else "",
        )

    def stop(self, why: str = "stopped") -> None:
        """End the run in order; the first reason stands. After its end this gives up the rest of its console."""
        with self._closing:
            if self._closed and self._output is not None:
                self._output.abandon()
            if self._closed:
                return
            self._stopped_by = self._stopped_by or why
            self._machine.stop()
        self._done.set()

    def _close_output(self, timeout_s: float) -> None:
        if self._output is not None:
            self._output.close(timeout_s)

    def _join(self, threads: list[threading.Thread]) -> None:
        """Stop all CPUs and wait; a kick that came a moment before a CPU entered the guest is given again."""
        until = time.monotonic() + JOIN_S
        for thread in threads:
            self._machine.stop()
            while thread.is_alive() and time.monotonic() < until:
                thread.join(0.05)
                if thread.is_alive():
                    self._machine.stop()

    def _run_vcpu(self, number: int, recording: Recording, totals: ExitTotals) -> None:
        """Run a CPU; the first that ends, ends the machine."""
        self._go.wait()
        ended, failure = "", ""
        try:
            ended = self._machine.vcpus[number].run(totals)
        except RondoError as error:
            ended, failure = "failed", one_line(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the monitor ends in order and says it
            ended, failure = "failed", one_line(error)
        if not self._ended:
            self._ended, self._error = ended, failure
        try:
            recording.end_vcpu(number, wall_ns())
        finally:
            self._done.set()


def run_vm(config: VmConfig, store: Store | None = None, sink: Callable[[bytes], object] | None = None) -> VmResult:
    """Run a VM from its first instruction to its end; see Monitor."""
    return Monitor(config, store, sink).run()


def _discard_output(_data: bytes) -> None:
    """Take the serial console's bytes where no one wants them."""
