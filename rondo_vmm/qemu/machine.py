"""The QEMU machine: VmConfig -> a QEMU of our own that is recorded from its first instruction to its last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_core.signals import stopped_by_signals
from rondo_vmm.config import MAX_DISKS, VmConfig
from rondo_vmm.errors import QmpError
from rondo_vmm.hookspecs import QemuFacts
from rondo_vmm.observe.async_ticks import every_second
from rondo_vmm.observe.console_output import DRAIN_TIMEOUT_S, STOPPED_DRAIN_TIMEOUT_S, ConsoleOutput, DroppedBytes
from rondo_vmm.observe.panic import PanicLine
from rondo_vmm.observe.result import VmResult
from rondo_vmm.qemu.process import BALLOON, PROGRAM, QUIT_TIMEOUT_S, QemuProcess, how_ended, start
from rondo_vmm.qemu.recording import QmpRecording

if TYPE_CHECKING:
    from rondo_core import Plugins, Store

# Source: ShutdownCause of QEMU's QAPI.
ENDS = {"guest-shutdown": "power-off", "guest-reset": "reset", "guest-panic": "panic"}
STOP_TIMEOUT_S = 0.3  # with a QEMU that hangs, where the end was asked for


class QemuMonitor:
    """One VM that QEMU runs. `run` blocks; `stop` may come from another thread.

    Make and run it on one thread: QEMU does not outlive the thread that started it.
    """

    machine = "qemu"

    def __init__(
        self,
        config: VmConfig,
        store: Store | None = None,
        sink: Callable[[bytes], object] | None = None,
        plugins: Plugins | None = None,
        stopped: Callable[[], str] = str,
    ) -> None:
        """Start QEMU, before its first instruction.

        Args: as of rondo_vmm.monitor.Monitor; `stopped` says why the machine is to end before it is there, "" for not.
        Raises: VmmError and those below it: QEMU cannot be had, or not start with this kernel or disk; StoppedError.
        """
        self._config = config
        self._output = None if sink is None else ConsoleOutput(sink)
        self._panic = PanicLine()
        self._loop = asyncio.new_event_loop()
        self._ended, self._error = "", ""
        self._failed_disks: dict[str, str] = {}
        self._over = asyncio.Event()
        try:
            self._qemu = self._loop.run_until_complete(start(config, self._on_console, stopped))
        except BaseException:
            self._loop.close()
            self._close_output(0)
            raise
        self.record_in(store, plugins)

    @property
    def why(self) -> str:
        """QEMU's accelerator, and why it is that one."""
        accelerator = self._qemu.accelerator
        return f"accelerator {accelerator.name}: {accelerator.why}"

    def _on_console(self, data: bytes) -> None:
        if self._output is not None:
            self._output(data)
        self._panic.on_bytes(data)

    def record_in(self, store: Store | None, plugins: Plugins | None = None) -> None:
        """Say where to record, before `run`."""
        self._store, self._plugins = store, plugins

    def run(self) -> VmResult:
        """Run the VM to its end, recording every second of it. The store is left open, its last tick done."""
        try:
            recording = QmpRecording(self._store, QemuFacts(self._qemu.pid, BALLOON, ours=True), self._plugins)
            if self._store is not None and self._output is not None:
                recording.add_tick(DroppedBytes(self._store, self._output))
            with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
                return self._loop.run_until_complete(self._run(recording))
        finally:
            self.close()

    def close(self) -> None:
        """End QEMU if it still runs; more than once is once."""
        if not self._loop.is_closed():
            if self._qemu.status is None:
                self._loop.run_until_complete(self._qemu.end(STOP_TIMEOUT_S))
            self._loop.close()
        self._close_output(0)

    def stop(self, why: str = "stopped") -> None:
        """End the run in order; the first reason stands."""
        if self._over.is_set() and self._output is not None:
            self._output.abandon()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(self._end, why)

    def _end(self, ended: str, error: str = "") -> None:
        if not self._ended:
            self._ended, self._error = ended, error
        self._over.set()

    async def _run(self, recording: QmpRecording) -> VmResult:
        qemu = self._qemu
        tasks = [asyncio.create_task(each) for each in (self._follow_events(recording), self._follow_process(qemu))]
        started_ns, started = wall_ns(), time.monotonic()
        try:
            with contextlib.suppress(QmpError):  # without it the statistics of the balloon stay absent
                interval = {"path": BALLOON, "property": "guest-stats-polling-interval", "value": 1}
                await qemu.qmp.ask("qom-set", interval)
            started_ns = await recording.begin(qemu.qmp)
            recording.notify("rondo_vmm_started", machine=self.machine, now_ns=started_ns)
            await qemu.qmp.ask("cont")
            await every_second(lambda: recording.sample(qemu.qmp), self._wait(), started_ns)
        except RondoError as error:
            if qemu.qmp.connected:
                self._end("failed", one_line(error))
            await self._over.wait()
        of_itself = self._ended in {"power-off", "reset", "panic"}
        timeout_s = QUIT_TIMEOUT_S if of_itself else STOP_TIMEOUT_S
        with contextlib.suppress(QmpError, TimeoutError):  # by its answer all that the guest said has come, and events
            await asyncio.wait_for(qemu.qmp.ask("query-status"), STOP_TIMEOUT_S)
        for task in tasks:
            task.cancel()
        self._panic.end()
        if self._panic.explains(self._ended) or self._ended == "panic":
            self._ended = "panic"
            self._error = f"panic: {self._panic.line or 'the guest told its pvpanic device; its console says why'}"
        recording.notify("rondo_vmm_stopped", ended=self._ended, now_ns=wall_ns())
        ended_ns = await recording.sample(qemu.qmp, timeout_s)
        uptime_s = time.monotonic() - started
        await qemu.end(timeout_s)
        self._close_output(DRAIN_TIMEOUT_S if of_itself else STOPPED_DRAIN_TIMEOUT_S)
        recording.tick_added(ended_ns)
        return VmResult(
            machine=self.machine,
            why=self.why,
            ended=self._ended,
            error=self._error,
            exits={},
            uptime_s=uptime_s,
            started_ns=started_ns,
            ended_ns=ended_ns,
            failed_plugins=recording.failed_plugins,
            dropped_bytes=self._output.dropped_bytes if self._output else 0,
            console_trouble=self._output.trouble if self._output else "",
            notes=tuple(f"disk {disk}: {why}" for disk, why in self._failed_disks.items()),
        )

    def _close_output(self, timeout_s: float) -> None:
        if self._output is not None:
            self._output.close(timeout_s)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._over.wait(), self._config.timeout_s)
        except TimeoutError:
            self._end("timeout")

    async def _follow_events(self, recording: QmpRecording) -> None:
        while True:
            name, data = await self._qemu.qmp.next_event()
            recording.event(name)
            self._on_event(name, data)

    def _on_event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "GUEST_PANICKED":
            self._end("panic")
        elif name == "BLOCK_IO_ERROR":
            disk = str(data.get("device") or data.get("node-name") or "unnamed")
            if len(self._failed_disks) < MAX_DISKS:
                self._failed_disks.setdefault(disk, str(data.get("reason") or "a request failed"))
        elif name == "SHUTDOWN" and data.get("reason") in ENDS:
            self._end(ENDS[data["reason"]])

    async def _follow_process(self, qemu: QemuProcess) -> None:
        status = await qemu.ended()
        what = qemu.error_line()
        self._end("failed", f"{PROGRAM}: process {qemu.pid} ended {how_ended(status)}{what and ': '}{what}")
