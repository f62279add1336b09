"""Pressure stall information of the host or of a cgroup: for how long work stood still for want of a resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core.builtin.kernel_files import FollowedTotal, Take

if TYPE_CHECKING:
    from rondo_core.hookspecs import Declare

RESOURCES = ("cpu", "memory", "io")


def stalled(declare: Declare, scope: str, resource: str) -> Callable[[], Take]:
    """Make what takes a pressure file: `some` of the tasks stood still, or all of them (`full`), us.

    Source: Documentation/accounting/psi.rst.
    """

    def make() -> Take:
        name, text = f"{scope}_pressure_stalled_seconds_total", "Time in which some or all work stood still for it."
        some, full = (
            FollowedTotal(declare.counter(name, help=text, unit="seconds", resource=resource, share=share))
            for share in ("some", "full")
        )

        def take(data: bytes, now_ns: int) -> None:
            lines = data.split(b"\n")
            some.follow(int(lines[0].rpartition(b"=")[2]) / 1e6, now_ns)
            if lines[1]:
                full.follow(int(lines[1].rpartition(b"=")[2]) / 1e6, now_ns)

        return take

    return make
