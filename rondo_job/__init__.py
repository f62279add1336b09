"""The life of any process, recorded from outside: what it took, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_job.facts import Child as Child
    from rondo_job.facts import Evidence as Evidence
    from rondo_job.facts import GroupLevel as GroupLevel
    from rondo_job.facts import Host as Host
    from rondo_job.facts import LifeEnd as LifeEnd
    from rondo_job.facts import LifeStart as LifeStart
    from rondo_job.facts import ReceivedSignal as ReceivedSignal
    from rondo_job.facts import Usage as Usage
    from rondo_job.life import Life as Life

_HOME = {
    "Child": "facts",
    "Evidence": "facts",
    "GroupLevel": "facts",
    "Host": "facts",
    "LifeEnd": "facts",
    "LifeStart": "facts",
    "ReceivedSignal": "facts",
    "Usage": "facts",
    "Life": "life",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
