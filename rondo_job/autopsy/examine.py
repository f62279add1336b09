"""The autopsy of one life or store: the verdict, what else happened, and what was measured up to the end."""

from __future__ import annotations

from pathlib import Path

import attrs

from rondo_job.autopsy.case import Case, Diagnosis
from rondo_job.autopsy.causes import find_causes
from rondo_job.autopsy.gather import FLAT_NS, gather

_BESIDE = {"oom", "child-died", "disk-error", "hang", "crash"}  # what is worth a word where it is not the verdict
EXIT_STATUS = {"proven": 0, "likely": 3, "cannot tell": 4}


@attrs.frozen
class Autopsy:
    """What is known of an end.

    Attributes: `case`: what is on record; `diagnosis`: the verdict; `others`: what else the table of causes found.
    """

    case: Case
    diagnosis: Diagnosis
    others: tuple[Diagnosis, ...] = ()

    @property
    def exit_status(self) -> int:
        """The status of `rondo autopsy`: 0 proven, 3 likely, 4 cannot tell."""
        return EXIT_STATUS[self.diagnosis.verdict]


def examine(path: str | Path, *, now_ns: int | None = None, flat_ns: int = FLAT_NS) -> Autopsy:
    """Say how what was recorded there ended, or what may be wrong with it while it runs. Args, Raises: as `gather`."""
    case = gather(path, now_ns=now_ns, flat_ns=flat_ns)
    first, *others = find_causes(case)
    return Autopsy(case, first, remaining(case, first, others))


def remaining(case: Case, first: Diagnosis, others: list[Diagnosis]) -> tuple[Diagnosis, ...]:
    """Give what of the rest of the table is worth a word beside the verdict, and is not told by that already."""
    told = {first.cause} | ({"child-died"} if first.cause == "oom" and not case.signal else set())  # of a process of it
    return tuple(each for each in others if each.cause in _BESIDE - told)
