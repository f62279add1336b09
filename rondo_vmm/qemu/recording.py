"""The recording of one QEMU: its plugins bound, asked and told once a second, whoever started it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.clock import wall_ns
from rondo_vmm import hookspecs
from rondo_vmm.errors import QmpError
from rondo_vmm.hookspecs import QemuFacts
from rondo_vmm.qemu.qmp import Qmp, Question

if TYPE_CHECKING:
    from rondo_core import Plugins, Store

RECORDERS = ("qmp_block", "qmp_memory", "qmp_vcpu")
FIRST_REPLY_S = 5.0
REPLY_S = 0.8  # of each second; a monitor that takes longer is not waited for
MAX_EVENTS = 1000
CONTAINERS = ("/machine/peripheral", "/machine/peripheral-anon")


class QmpRecording:
    """Asks, records and ticks; every second has its points, also where the monitor is silent."""

    def __init__(self, store: Store | None, facts: QemuFacts, plugins: Plugins | None = None) -> None:
        """Bind the recorders among the plugins, by default the monitor's own, to the store, if there is one."""
        self._store = store
        self._plugins = plugins
        self._questions: dict[str, Question] = {}
        self._replies: dict[str, Any] = {}
        self._records: list[Callable[[int], None]] = []
        self._added: list[Callable[[int], None]] = []
        self._events: list[str] = []
        self._asking: asyncio.Task[dict[str, Any]] | None = None
        self._sampling = asyncio.Lock()
        if store is None:
            return
        if self._plugins is None:
            self._plugins = qemu_plugins()
        for name, (questions, on_replies) in self._plugins.bind("rondo_qmp_bind", declare=store, qemu=facts):
            self._questions.update({f"{name}.{key}": question for key, question in questions.items()})
            self._records.append(self._plugins.guard(name, self._recorder(name, on_replies)))
        store.bind_recorders(self._plugins)

    def _recorder(self, name: str, on_replies: hookspecs.OnReplies) -> Callable[[int], None]:
        def record(now_ns: int) -> None:
            own = {key: reply for key, reply in self._replies.items() if key.startswith(f"{name}.")}
            replies = {key.partition(".")[2]: reply for key, reply in own.items()}
            on_replies({**replies, "events": self._replies["events"]}, now_ns)

        return record

    @property
    def failed_plugins(self) -> dict[str, int]:
        """Plugin -> number of its failures."""
        return dict(self._plugins.failures) if self._plugins else {}

    def notify(self, hook: str, **facts: Any) -> None:
        """Tell the plugins of a machine's start or end."""
        if self._plugins is not None:
            self._plugins.bind(hook, **facts)

    def event(self, name: str) -> None:
        """Take note of an event, for the next record."""
        if len(self._events) < MAX_EVENTS:
            self._events.append(name)

    def add_tick(self, tick: Callable[[int], None]) -> None:
        """Have something of the monitor's own called with every sample."""
        self._added.append(tick)

    def tick_added(self, now_ns: int) -> None:
        """Call that alone, for what the end of a machine brings."""
        for tick in self._added:
            tick(now_ns)

    async def begin(self, qmp: Qmp) -> int:
        """Take the first sample, as soon as it is answered, and give its time: the life that is recorded begins."""
        async with self._sampling:
            await self._ask(qmp, FIRST_REPLY_S)
            return self._record(wall_ns())

    async def sample(self, qmp: Qmp | None, timeout_s: float = REPLY_S) -> int:
        """Ask, record what was answered in time, and tick. One that has not been answered yet is not asked again.

        Returns: the sample's time, which is that of its beginning: a slow answer leaves no second without a point.
        """
        async with self._sampling:
            now_ns = wall_ns()
            await self._ask(qmp, min(timeout_s, REPLY_S))
            return self._record(now_ns)

    async def _ask(self, qmp: Qmp | None, timeout_s: float) -> None:
        self._replies = {}
        if qmp is not None and qmp.connected and self._store is not None:
            if self._asking is None:
                self._asking = asyncio.create_task(qmp.ask_all(self._questions))
                self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            await asyncio.wait((self._asking,), timeout=timeout_s)
        if self._asking is not None and self._asking.done():
            asked, self._asking = self._asking, None
            if asked.exception() is None:
                self._replies = asked.result()
        self._replies["events"], self._events = self._events, []

    def _record(self, now_ns: int) -> int:
        if self._store is not None:
            for record in self._records:
                record(now_ns)
            self.tick_added(now_ns)
            self._store.tick(now_ns)
        return now_ns


async def find_balloon(qmp: Qmp) -> str:
    """Give the QOM path of the balloon device; empty where there is none."""
    for container in CONTAINERS:
        try:
            found = await qmp.ask("qom-list", {"path": container})
        except QmpError:
            continue
        for each in found:
            if str(each.get("type", "")).startswith("child<virtio-balloon"):
                return f"{container}/{each['name']}"
    return ""


def qemu_plugins(tables: Mapping[str, Mapping[str, Any]] | None = None) -> Plugins:
    """Load the recorders of QEMU, found by entry point like anyone's, and those of a config's tables."""
    from rondo_core.plugins import open_recorders

    return open_recorders(tables or {}, hookspecs, defaults=RECORDERS)
