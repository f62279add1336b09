"""How a run ended, for who reads it: in words, and sorted by whether it went well."""

from __future__ import annotations

from rondo_core.storage.recovery import Survival, survival
from rondo_core.storage.runs import Run, boot_id, known

_SINCE = {
    Survival.SAME_BOOT: "",
    Survival.RESTARTED: "; the machine was restarted since",
    Survival.COPIED: "; that was in another boot, or on another machine",
}
_UNKNOWN = "; whether the machine was restarted since is not known"
_WELL = ("closed", "returned", "exit status 0", "power-off", "halted")
_STOPPED = ("signal 1", "signal 2", "signal 15", "stopped", "timeout")
_FAILED = ("exit status", "signal", "raised", "failed", "panic", "reset", "triple fault", "disk error", "start failed")


def how_ended(run: Run, writer_pid: int | None) -> str:
    """Say in words how a run ended, or that it goes on. Args: `writer_pid`: who writes its store now, if anyone."""
    if writer_pid is not None:
        return "writing now"
    if run.ended:
        return run.ended
    is_known = known(run.boot_id) and known(boot_id())
    return f"gone without closing the store{_SINCE[survival(run)] if is_known else _UNKNOWN}"


def outcome(run: Run, writer_pid: int | None) -> str:
    """Sort a run's end: "live", "well", "stopped" by someone, "failed", "gone" without a word, or "unclear".

    Args: as `how_ended`.
    """
    if writer_pid is not None:
        return "live"
    if not run.ended:
        return "gone"
    for sort, words in (("well", _WELL), ("stopped", _STOPPED), ("failed", _FAILED)):
        if any(_begins(run.ended, each) for each in words):
            return sort
    return "unclear"


def _begins(text: str, words: str) -> bool:
    """Say whether a text begins with these words, and not with longer ones: "signal 1" does not begin "signal 11"."""
    return text.startswith(words) and not text[len(words) : len(words) + 1].isalnum()
