"""`rondo info` says of a run that has no end on record what is known of it, and never how it ended."""

from __future__ import annotations

import pytest

from rondo_cli.info import describe_run
from rondo_core.storage.runs import Run, boot_id, machine_id

NONE, NOUGHTS, OTHER = "", "00000000-0000-0000-0000-000000000000", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
UNKNOWN = "gone without closing the store; whether the machine was restarted since is not known"


def told(boot: str, machine: str = "") -> str:
    """Describe a run that was opened in a boot, on a machine, and has no end."""
    return describe_run(Run(1, 4321, 0, boot, 10**18, machine=machine), None).partition("Z, ")[2]


@pytest.mark.skipif(not boot_id(), reason="this kernel names no boot")
def test_what_became_of_a_run_is_said_by_its_boot() -> None:
    """Gone in this boot, before a restart, or elsewhere; a kill is never claimed."""
    assert told(boot_id()) == "gone without closing the store"
    assert told(OTHER, "a machine").endswith("; that was in another boot, or on another machine")
    if machine_id():
        assert told(OTHER, machine_id()).endswith("; the machine was restarted since")


@pytest.mark.parametrize("boot", [NONE, NOUGHTS])
def test_an_unknown_boot_says_so(boot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of the two boots has no name, nothing says whether they are one."""
    assert told(boot, machine_id()) == UNKNOWN
    for module in ("rondo_core.storage.endings", "rondo_core.storage.runs"):
        monkeypatch.setattr(f"{module}.boot_id", lambda: "")
    assert told(OTHER) == told(boot) == UNKNOWN
