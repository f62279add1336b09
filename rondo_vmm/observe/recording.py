"""What of a VM's life goes to plugins: exits, milestones, its CPUs' threads, start and end; and the ticks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rondo_vmm import hookspecs
from rondo_vmm.hookspecs import OnMilestone
from rondo_vmm.observe.exit_totals import ExitTotals

if TYPE_CHECKING:
    from rondo_core import Plugins, Store
    from rondo_vmm.devices.virtio.setup import VirtioDevices

RECORDERS = ("vcpu_exits", "vcpu_time", "vmm_milestones", "vmm_uptime", "block_io", "guest_memory", "guest_samples")


class Recording:
    """The store that a VM is recorded in, and the plugins that record it; without a store all of it does nothing."""

    def __init__(self, store: Store | None, plugins: Plugins | None) -> None:
        """Bind the plugins' recorders; by default the monitor's own plugins."""
        self._store = store
        self._exits: dict[int, ExitTotals] = {}
        self._vcpu_ticks: dict[int, list[Callable[[int], None]]] = {}
        self._device_ticks: list[Callable[[int], None]] = []
        self._added: list[Callable[[int], None]] = []
        self._ticking = threading.Lock()
        self.plugins = plugins
        if store is not None:
            self.plugins = plugins or monitor_plugins()
            store.bind_recorders(self.plugins)

    def exits(self, vcpu: int, counts: list[int]) -> ExitTotals:
        """Give where a CPU's loop adds up its exits. `counts`: its own counts by reason."""
        takers = self._bind("rondo_vmm_exits_bind", once=True, vcpu=vcpu)
        each = self._bind("rondo_vmm_exit_bind", once=True, vcpu=vcpu)
        return self._exits.setdefault(vcpu, ExitTotals(counts, takers, each))

    def milestones(self) -> list[OnMilestone]:
        """Give what is called when the guest has come as far as never before."""
        return self._bind("rondo_vmm_milestone_bind")

    def bind_devices(self, virtio: VirtioDevices) -> None:
        """Let plugins observe disks, memory and what the guest hands in."""
        if self._store is not None and self.plugins is not None:
            self._device_ticks = virtio.bind(self.plugins, self._store)

    def add_tick(self, tick: Callable[[int], None]) -> None:
        """Have something of the monitor's own called on every tick."""
        self._added.append(tick)

    def tick_added(self, now_ns: int) -> None:
        """Call that alone, for what the end of a machine brings."""
        for tick in self._added:
            tick(now_ns)

    def add_vcpu(self, vcpu: int, thread_id: int) -> None:
        """Let plugins know of a CPU's thread; what they hand back is called on every tick."""
        self._vcpu_ticks[vcpu] = self._bind("rondo_vmm_vcpu_bind", vcpu=vcpu, thread_id=thread_id)

    def end_vcpu(self, vcpu: int, now_ns: int) -> None:
        """Record the last exits of a CPU, and tick for its thread for the last time, while it is still there."""
        self._exits[vcpu].flush()
        with self._ticking:
            for tick in self._vcpu_ticks.pop(vcpu, []):
                tick(now_ns)

    def load_fold(self) -> None:
        """Load what folds windows while the machine boots; else its CPUs wait for that when the first one closes."""
        if self._store is not None:
            from rondo_core.record import load_fold

            load_fold()

    def tick(self, now_ns: int) -> None:
        """Tick the store and the plugins."""
        if self._store is None:
            return
        for totals in self._exits.values():
            totals.flush()  # before anything else enters the second that has begun: they are of the one before
        self._store.tick(now_ns)  # which enters it in all schemas, in less time than one record after the other
        with self._ticking:
            for ticks in self._vcpu_ticks.values():
                for tick in ticks:
                    tick(now_ns)
            for tick in self._device_ticks:
                tick(now_ns)
        self.tick_added(now_ns)

    def notify(self, hook: str, **facts: Any) -> None:
        """Tell plugins of a rare event."""
        if self.plugins is not None:
            self.plugins.bind(hook, **facts)

    def _bind(self, hook: str, *, once: bool = False, **facts: Any) -> list[Callable[..., None]]:
        """Give what plugins hand back, each guarded; `once`: one that raises is left alone from then on."""
        if self._store is None or self.plugins is None:
            return []
        return self.plugins.bind_guarded(hook, once=once, declare=self._store, **facts)


def monitor_plugins(tables: Mapping[str, Mapping[str, Any]] | None = None) -> Plugins:
    """Load the monitor's own recorders, found by entry point like anyone's, and those of a config's tables.

    Raises: UsageError: a table is wrong; PluginNotFoundError: one is not installed.
    """
    from rondo_core.plugins import open_recorders

    return open_recorders(tables or {}, hookspecs, defaults=RECORDERS)
