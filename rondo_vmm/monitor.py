"""VmConfig -> a live VM: its CPU's thread, the 1 Hz maintenance thread, and an orderly stop whatever ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_vmm import hookspecs
from rondo_vmm.boot.bootparams import write_boot_params
from rondo_vmm.boot.elf import load_kernel
from rondo_vmm.config import VmConfig
from rondo_vmm.devices import clock, finish, serial
from rondo_vmm.fitting import Fittings, Line
from rondo_vmm.machine import REASONS, Board, Machine, OnExit
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_core import Plugins, Store

RECORDERS = ("vcpu_exits", "vmm_uptime", "block_io", "guest_memory", "guest_samples")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TICK_NS = NS_PER_S
JOIN_S = 10.0


@attrs.frozen
class VmResult:
    """How a VM's run went.

    Attributes:
        machine, why: which machine ran it and why that one.
        ended: "power-off", "reset", "halted", "timeout", "stopped", "signal 2", "signal 15" or "failed".
        error: the failure in one line; empty where there was none.
        exits: how often the CPU left the guest, by reason, as the exit loop counted.
        uptime_s: from before the first instruction to after the last; started_ns, ended_ns: the same by the wall
            clock, ns since the epoch.
        failed_plugins: plugin -> number of its failures.
    """

    machine: str
    why: str
    ended: str
    error: str
    exits: dict[str, int]
    uptime_s: float
    started_ns: int
    ended_ns: int
    failed_plugins: dict[str, int]

    @property
    def exit_status(self) -> int:
        """Give the process's exit status: 0, 1 for a failure, 128 + n for signal n."""
        if self.ended.startswith("signal "):
            return 128 + int(self.ended.removeprefix("signal "))
        return 1 if self.ended == "failed" else 0


def choose_machine(config: VmConfig, board: Board) -> tuple[Machine, str]:
    """Make the machine that was asked for, or the best that there is; say why it is that one.

    Raises: KvmError, VmmError: it cannot be had.
    """
    from rondo_vmm.kvm import vm

    why = "asked for"
    wanted = config.machine
    if wanted == "auto":
        trouble = vm.usable()
        wanted, why = ("soft", trouble) if trouble else ("kvm", "/dev/kvm can be used")
    if wanted == "kvm":
        from rondo_vmm.kvm.machine import KvmMachine, install_kick

        install_kick()
        return KvmMachine(board), why
    from rondo_vmm.soft.machine import SoftMachine

    return SoftMachine(board), why


def build_board(config: VmConfig, sink: Callable[[bytes], object]) -> tuple[Board, Fittings, int, int]:
    """Put memory, devices and kernel together.

    Returns: the board, its virtio devices, the kernel's entry and the boot parameters' address.
    Raises: BootError, ConfigError, DiskError.
    """
    memory = GuestMemory(config.memory_mib << 20)
    board = Board(memory)
    board.bus.add_ports(serial.COM1, 8, serial.Serial(sink))
    board.bus.add_ports(finish.PM1A_CONTROL, 4, finish.PowerOff(board.finish))
    board.bus.add_ports(finish.I8042_DATA, 5, finish.KeyboardController(board.finish))
    board.bus.add_ports(clock.CLOCK_PORT, clock.PORT_COUNT, board.clock)
    board.bus.add_ports(clock.SCRATCH_PORT, clock.SCRATCH_PORT_COUNT, clock.Scratch(clock.SCRATCH_PORT_COUNT))
    board.bus.add_mmio(clock.SCRATCH_MMIO, clock.SCRATCH_MMIO_BYTES, clock.Scratch(clock.SCRATCH_MMIO_BYTES))
    entry = load_kernel(config.kernel, memory)
    fittings = Fittings(config, board, _no_line)
    return board, fittings, entry, write_boot_params(memory, f"{config.cmdline} {fittings.words()}".strip())


class Monitor:
    """One VM. `run` blocks; `stop` may come from another thread or a signal handler."""

    def __init__(
        self,
        config: VmConfig,
        store: Store | None = None,
        sink: Callable[[bytes], object] | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        """Build the machine.

        Args: `store`: where to record, None for nowhere; `sink` takes the serial console's bytes; `plugins`: whose
            recorders and exit hooks to bind, by default the monitor's own.
        Raises: VmmError and those below it: the machine cannot be had or the kernel not be loaded.
        """
        self._config, self._store = config, store
        self._board, self._fittings, entry, boot_params = build_board(config, sink or _nowhere)
        self._ticks: list[Callable[[int], None]] = []
        try:
            self._machine, self.why = choose_machine(config, self._board)
        except BaseException:
            self._fittings.close()
            raise
        self._machine.set_up(entry, boot_params)
        self._plugins = plugins
        self._done = threading.Event()
        self._stopped_by = ""
        self._error = ""
        self._ended = ""

    @property
    def machine(self) -> str:
        """The machine's name: "kvm" or "soft"."""
        return self._machine.name

    def run(self) -> VmResult:
        """Run the VM to its end, recording every second of it. The store is left open, its last tick done."""
        observers = self._bind()
        started_ns, started = wall_ns(), time.monotonic()
        self._tick(started_ns)
        self._tell("rondo_vmm_started", machine=self.machine, now_ns=started_ns)
        vcpu = threading.Thread(target=self._run_vcpu, args=(observers,), name="rondo-vcpu-0")
        ticking = threading.Thread(target=self._run_ticks, name="rondo-vmm-tick", daemon=True)
        with self._signals():
            vcpu.start()
            ticking.start()
            if not self._done.wait(self._config.timeout_s):
                self.stop("timeout")
            self._join(vcpu)
        ticking.join()
        self._machine.close()
        self._fittings.close()
        ended = self._stopped_by or self._ended
        now_ns = wall_ns()
        self._tell("rondo_vmm_stopped", ended=ended, now_ns=now_ns)
        self._tick(now_ns)
        return VmResult(
            self.machine,
            self.why,
            ended,
            self._error,
            dict(zip(REASONS, self._machine.exits, strict=True)),
            time.monotonic() - started,
            started_ns,
            now_ns,
            dict(self._plugins.failures) if self._plugins else {},
        )

    def stop(self, why: str = "stopped") -> None:
        """End the run in order; the first reason stands."""
        self._stopped_by = self._stopped_by or why
        self._machine.stop()
        self._done.set()

    def _join(self, vcpu: threading.Thread) -> None:
        """Wait for the CPU's thread; a kick that came a moment before it entered the guest is given again."""
        until = time.monotonic() + JOIN_S
        while vcpu.is_alive() and time.monotonic() < until:
            vcpu.join(0.05)
            if vcpu.is_alive():
                self._machine.stop()

    def _run_vcpu(self, observers: list[OnExit]) -> None:
        try:
            self._ended = self._machine.run(observers)
        except RondoError as error:
            self._ended, self._error = "failed", one_line(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the monitor ends in order and says it
            self._ended, self._error = "failed", one_line(error)
        finally:
            self._done.set()

    def _run_ticks(self) -> None:
        """Tick just after each whole second of the wall clock, so that every one has its point."""
        while not self._done.wait((TICK_NS - wall_ns() % TICK_NS) / NS_PER_S):
            self._tick(wall_ns())

    # -- plugins

    def _bind(self) -> list[OnExit]:
        if self._store is None:
            return []
        if self._plugins is None:
            self._plugins = monitor_plugins()
        self._store.bind_recorders(self._plugins)
        self._ticks = self._fittings.bind(self._plugins, self._store)
        bound = self._plugins.bind("rondo_vmm_exit_bind", declare=self._store, vcpu=0)
        return [_guarded(self._plugins, name, observe) for name, observe in bound]

    def _tick(self, now_ns: int) -> None:
        if self._store is not None:
            for tick in self._ticks:
                tick(now_ns)
            self._store.tick(now_ns)

    def _tell(self, hook: str, **facts: Any) -> None:
        if self._plugins is not None:
            self._plugins.bind(hook, **facts)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into an orderly stop while the VM runs, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.stop(f"signal {number}")


def monitor_plugins() -> Plugins:
    """Load the monitor's own recorders, found by entry point like anyone's."""
    from rondo_core.plugins import RECORDERS as GROUP
    from rondo_core.plugins import Plugins

    plugins = Plugins(hookspecs)
    plugins.load(GROUP, RECORDERS)
    return plugins


def run_vm(config: VmConfig, store: Store | None = None, sink: Callable[[bytes], object] | None = None) -> VmResult:
    """Run a VM from its first instruction to its end; see Monitor."""
    return Monitor(config, store, sink).run()


def _nowhere(_data: bytes) -> None:
    """Take the serial console's bytes where no one wants them."""


def _no_line(_number: int) -> Line:
    """Give a line that interrupts nothing: the guests of these machines look at what the devices have done."""
    return lambda _level: None


def _guarded(plugins: Plugins, name: str, observe: OnExit) -> OnExit:
    """Let an exit hook that raises be reported once and then be left alone."""
    broken = False

    def guarded(reason: int, run_ns: int, exit_ns: int, now_ns: int) -> None:
        nonlocal broken
        if broken:
            return
        try:
            observe(reason, run_ns, exit_ns, now_ns)
        except Exception as error:  # noqa: BLE001 - isolation
            broken = True
            plugins.report(name, error)

    return guarded
