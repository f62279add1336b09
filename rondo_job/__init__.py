"""The life of any process, recorded from outside: what it took, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_job.facts import Child as Child
    from rondo_job.facts import End as End
    from rondo_job.facts import Evidence as Evidence
    from rondo_job.facts import Host as Host
    from rondo_job.facts import Level as Level
    from rondo_job.facts import ReceivedSignal as ReceivedSignal
    from rondo_job.facts import Start as Start
    from rondo_job.facts import Usage as Usage
    from rondo_job.life import Life as Life

_HOME = {
    "ReceivedSignal": "facts",
    "Child": "facts",
    "End": "facts",
    "Evidence": "facts",
    "Host": "facts",
    "Level": "facts",
    "Life": "life",
    "Start": "facts",
    "Usage": "facts",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
