"""What a machine is called and where its run came from: a gauge that is 1, with the facts as labels."""

from __future__ import annotations

import attrs

from rondo_core.hookspecs import Declare, Tick

MAX_CHARACTERS = 200
BOOT, MIGRATION, SNAPSHOT = "boot", "migration", "snapshot"


@attrs.frozen
class VmIdentity:
    """Who a machine is. Texts that are not known are empty, and labels of no series.

    Attributes: `name`, `uuid`: as its monitor has them; `origin`: how this run of it began: "boot", "migration",
    "snapshot"; `before`: the life before this one, a store's name or a snapshot's path, where the monitor tells.
    """

    name: str = ""
    uuid: str = ""
    origin: str = ""
    before: str = ""


def info_tick(declare: Declare, identity: VmIdentity, **more: object) -> Tick:
    """Declare `vm_info` with what is known, and give what records it on every tick."""
    facts = {"vm": identity.name, "uuid": identity.uuid, "origin": identity.origin, "before": identity.before}
    words = "1; the labels say who the machine is, how its run began, and which life was before it."
    labels = {name: _label(value) for name, value in {**facts, **more}.items()}
    gauge = declare.gauge("vm_info", labels, help=words)
    return lambda now_ns: gauge.set(1.0, now_ns)


def _label(value: object) -> str:
    """Give a text that a label can have, whatever a monitor says."""
    return str(value).encode(errors="replace").decode()[:MAX_CHARACTERS]
