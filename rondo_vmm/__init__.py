"""A virtual machine monitor in Python that records itself: /dev/kvm, or a software CPU where there is none."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondo_vmm.config import VmConfig as VmConfig
    from rondo_vmm.errors import VmmError as VmmError
    from rondo_vmm.monitor import run_vm as run_vm
    from rondo_vmm.observe.result import VmResult as VmResult
    from rondo_vmm.schemas import VMM_SCHEMAS as VMM_SCHEMAS

_HOME = {
    "VMM_SCHEMAS": "schemas",
    "VmConfig": "config",
    "VmResult": "observe.result",
    "VmmError": "errors",
    "run_vm": "monitor",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
