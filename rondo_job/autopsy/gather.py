"""Read a case off a life of `rondo run`, a program's store, or that of a virtual machine; nothing is changed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

from rondo_core.clock import NS_PER_S, boot_ns, wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_core.model import store_name
from rondo_core.read import StoreReader
from rondo_core.storage import Run, Survival, boot_id, read_dump, survival
from rondo_job.autopsy import trends
from rondo_job.autopsy.case import CPU, Activity, Case, ProgramEnd
from rondo_job.autopsy.kernel_log import read_oom_log
from rondo_job.files import names
from rondo_job.life import LABEL, Life

if TYPE_CHECKING:
    from rondo_job.autopsy.trends import Quantity
    from rondo_job.facts import LifeEnd

T = TypeVar("T")
_STYLED = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # colours and titles. Source: ECMA-48
FLAT_NS = 60 * NS_PER_S
_MARKS, _PROGRAMS = 20, 16
_NEVER = Run(0, 0, 0, "", 0, ended="never written")
_OOM_KILLS = "job_oom_kills_total"
# Series of the end, the unit of their values, and how they are read.
_MEASURED = (
    ("job_memory_bytes", "bytes", "max"),
    ("job_memory_anonymous_bytes", "bytes", "max"),
    ("job_open_files", "", "max"),
    ("job_threads", "", "max"),
    ("job_processes", "", "max"),
    (_OOM_KILLS, "", "last"),
    ("process_resident_memory_bytes", "bytes", "avg"),
    ("process_open_fds", "", "avg"),
    ("process_threads", "", "avg"),
    ("cgroup_memory_bytes", "bytes", "avg"),
)
# Of recorders, which go on whatever the program does.
_RECORDED = ("process_", "python_", "rondo_", "cgroup_", "host_", "asyncio_", "pressure_", "job_")


def gather(path: str | Path, *, now_ns: int | None = None, flat_ns: int = FLAT_NS) -> Case:
    """Read what is on record. Args: `flat_ns`: see `Case`; `now_ns`: the moment of the look, by default now.

    Raises: StoreNotFoundError, StoreError, CorruptStoreError: nothing recorded lies there, or it cannot be read.
    """
    place, at_ns = Path(path), wall_ns() if now_ns is None else now_ns
    if (place / names.START).exists():
        return _of_life(Life(place), at_ns, flat_ns)
    return _of_store(place, at_ns, flat_ns)


class _Reading:
    """What is read of the parts of a life. Attributes: `left_out`: those that do not read, and why."""

    def __init__(self) -> None:
        self.left_out = list[str]()

    def of(self, read: Callable[[], T], default: Any) -> T:
        """Read a part; where it is damaged the others say what they know all the same."""
        try:
            return read()
        except RondoError as error:
            self.left_out.append(one_line(error))
            kept: T = default
            return kept


def _of_life(life: Life, now_ns: int, flat_ns: int) -> Case:
    start, end, part = life.start, life.end, _Reading()
    with life.open() as reader:
        run = next(iter(reader.runs()[-1:]), _NEVER)
        newest_ns = _newest_sample_ns(reader)
        limits = _limits_of_job(life)
        quantities = part.of(lambda: _quantities(reader, limits), ())
        oom_rose_ns = _oom_rose_ns(reader, end)
    marks, (children, _) = part.of(life.marks, []), part.of(life.children, ([], 0))
    joined = start.output.get("stderr") == "stdout"
    stderr = part.of(lambda: _tail(life, "stdout" if joined else "stderr"), "")
    stdout = "" if joined else part.of(lambda: _tail(life, "stdout"), "")
    stores = list[Path]()
    with contextlib.suppress(RondoError):
        stores = life.stores()[-_PROGRAMS:]
    ends, activities = list[ProgramEnd](), list[Activity]()
    for store in stores:
        with contextlib.suppress(RondoError), StoreReader(store) as reader:
            ends.append(_program_end(reader))
            if reader.writer_pid() is not None:
                activities.append(_activity(reader))
    running = life.is_running
    ended_ns = 0 if end is None else end.ended_ns
    same_boot = bool(start.host.boot_id) and start.host.boot_id == boot_id()
    known: dict[str, Any] = {}
    if end is not None:
        fields = ("status", "seen_by", "timed_out", "signals", "usage", "cpu_s", "remaining", "after", "not_begun")
        known = {name: getattr(end, name) for name in fields}
    became = _survival(run, start.host.boot_id)
    return Case(
        path=str(life.path),
        name=life.name,
        kind="job",
        pid=start.pid,
        now_ns=now_ns,
        writer=run.writer,
        command=start.command,
        started_ns=start.started_ns,
        ended_ns=ended_ns,
        running=False if running is None and became is Survival.RESTARTED and start.host.boot_id else running,
        words=run.ended,
        method=start.method,
        timeout_s=start.timeout_s,
        before=start.before,
        survival=became,
        booted_ns=wall_ns() - boot_ns(),
        newest_ns=newest_ns,
        memory_limit_bytes=start.memory_limit_bytes,
        memory_bytes=start.host.memory_bytes,
        pids_limit=start.pids_limit,
        rlimits=start.rlimits,
        children=tuple(children),
        stderr=stderr,
        stdout=stdout,
        output=start.output,
        programs=tuple(ends),
        marks=tuple(marks[-_MARKS:]),
        quantities=quantities,
        activities=tuple(activities),
        flat_ns=flat_ns,
        oom_log=read_oom_log(start.started_ns, ended_ns or newest_ns or now_ns) if same_boot else None,
        oom_rose_ns=oom_rose_ns,
        left_out=tuple(part.left_out),
        **known,
    )


def _of_store(path: Path, now_ns: int, flat_ns: int) -> Case:
    part = _Reading()
    with StoreReader(path) as reader:
        runs, writer = reader.runs(), reader.writer_pid()
        run = runs[-1] if runs else _NEVER
        newest_ns = _newest_sample_ns(reader)
        newest_ns = newest_ns if newest_ns >= run.opened_ns - NS_PER_S else 0
        machine = run.writer.startswith(("vmm", "watch")) or any(
            each.name.startswith(("vmm_", "vcpu_", "vm_")) for each in reader.series()
        )
        became = _survival(run, run.boot_id)
        end_ns = run.ended_ns or newest_ns or now_ns
        running = writer is not None
        case = Case(
            path=str(path),
            name=store_name(path),
            kind="machine" if machine else "program",
            pid=writer or run.pid,
            now_ns=now_ns,
            writer=run.writer,
            started_ns=run.opened_ns,
            ended_ns=run.ended_ns,
            running=running,
            words="" if running else run.ended,
            survival=became,
            booted_ns=wall_ns() - boot_ns(),
            newest_ns=newest_ns,
            programs=(_program_end(reader),),
            marks=tuple(event for event in part.of(reader.events, []) if event.run in {0, run.number})[-_MARKS:],
            left_out=tuple(part.left_out),
            quantities=_quantities(reader, _limits_of_program(reader)),
            activities=(_activity(reader),) if running else (),
            flat_ns=flat_ns,
            oom_log=read_oom_log(run.opened_ns, end_ns) if became is Survival.SAME_BOOT else None,
        )
        return case if running or run.ended else attrs.evolve(case, **_seen_from_outside(reader, run))


def _seen_from_outside(reader: StoreReader, run: Run) -> dict[str, Any]:
    """Give what the life knows that a program ran in: its wait status and the counters; nothing where there is none."""
    name = dict(reader.meta.labels).get(LABEL)
    if name is None:
        return {}
    for above in reader.path.absolute().parents[:2]:
        with contextlib.suppress(RondoError):
            life = Life(above / f"{name}.rondo")
            children, end = tuple(life.children()[0]), life.end
            mine = next((each for each in children if each.pid == run.pid and each.status is not None), None)
            if mine is None:
                return {}
            known = {"rlimits": life.start.rlimits, "before": life.start.before, "after": end and end.after}
            ended = {"status": mine.status, "ended_ns": mine.ended_ns, "seen_by": f"the recorder of {name} saw it"}
            return {**known, **ended, "children": children}
    return {}


def _survival(run: Run, boot: str) -> Survival | None:
    """Say what the machine went through since; None: the boots have no names to compare."""
    if not boot.strip("0-") or not boot_id():
        return None
    return survival(run._replace(boot_id=boot))


def _tail(life: Life, stream: str) -> str:
    """Give the tail of "stderr" or "stdout", without colours."""
    return _STYLED.sub("", life.output(stream)[0].decode(errors="replace"))


def _program_end(reader: StoreReader) -> ProgramEnd:
    runs = reader.runs()
    run = runs[-1] if runs else Run(0, 0, 0, "", 0)
    words = "" if reader.writer_pid() is not None else run.ended
    dump = read_dump(reader.folder, "fault")
    return ProgramEnd(reader.path.name, run.pid, words, run.ended_ns, dump, run.faulthandler, run.writer)


# -- series


def _oom_rose_ns(reader: StoreReader, end: LifeEnd | None) -> int:
    """Give when the counter of OOM kills of a job's own group came to what it was after the end, see `Case`."""
    levels = end.after.levels if end is not None and end.after is not None else ()
    kills = next((each.oom_kill for each in levels if each.own), None)
    for series in reader.series(_OOM_KILLS) if kills else ():
        data = reader.query([series], "10m", fn="last")[0]
        reached = np.flatnonzero(data.values == kills)
        if len(reached):
            return int(data.timestamps_ns[reached[0]] + data.interval_ns[reached[0]])
    return 0


def _newest_sample_ns(reader: StoreReader) -> int:
    """Give a moment at most a second after the newest sample, ns since the epoch; 0: there is none."""
    found = [0]
    for schema in reader.meta.schemas:
        interval_ns, bucket = schema.tiers[0].interval_ns, reader.reader(schema.name).newest()
        if bucket:
            found.append(bucket * interval_ns + (interval_ns if interval_ns <= NS_PER_S else 0))
    return max(found)


def _limits_of_job(life: Life) -> dict[str, list[tuple[float, str]]]:
    start = life.start
    memory = list[tuple[float, str]]()
    if start.memory_limit_bytes:
        memory.append((float(start.memory_limit_bytes), "the limit of its control group"))
    own = next((level.limit_bytes for level in start.before.levels if level.limit_bytes), None)
    if own:
        memory.append((float(own), "the limit of its control group"))
    if start.host.memory_bytes:
        memory.append((float(start.host.memory_bytes), "the machine's memory"))
    found = {"job_memory_bytes": memory, "job_memory_anonymous_bytes": memory}
    soft = start.rlimits.get("NOFILE", (-1, -1))[0]
    if soft > 0:
        found["job_open_files"] = [(float(soft), "RLIMIT_NOFILE of one process")]
    if start.pids_limit:
        found["job_threads"] = [(float(start.pids_limit), "the limit of tasks of its control group")]
    return found


def _limits_of_program(reader: StoreReader) -> dict[str, list[tuple[float, str]]]:
    found = dict[str, list[tuple[float, str]]]()
    for measured, limit, whose in (
        ("process_open_fds", "process_max_fds", "RLIMIT_NOFILE"),
        ("process_resident_memory_bytes", "cgroup_memory_limit_bytes", "the limit of its control group"),
        ("cgroup_memory_bytes", "cgroup_memory_limit_bytes", "the limit of its control group"),
    ):
        for each in reader.series(limit):
            values = reader.query([each], fn="max")[0].values
            if len(values):
                found[measured] = [(float(values[-1]), whose)]
    return found


def _quantities(reader: StoreReader, limits: dict[str, list[tuple[float, str]]]) -> tuple[Quantity, ...]:
    found = []
    for name, unit, fn in _MEASURED:
        for series in reader.series(name):
            data = reader.query([series], "10m", fn=fn)[0]
            if not len(data):
                continue
            points = data.timestamps_ns, data.values, int(data.interval_ns[-1])
            made = trends.quantity(name, unit, points, limits.get(name, []))
            if made is not None:
                found.append(made)
    modes = [each for each in reader.query(CPU, "10m", fn="last") if len(each)] if reader.series(CPU) else []
    if modes and all(np.array_equal(each.timestamps_ns, modes[0].timestamps_ns) for each in modes):
        total: Any = sum(each.values for each in modes)
        points = modes[0].timestamps_ns, total, int(modes[0].interval_ns[-1])
        found += filter(None, [trends.quantity(CPU, "", points, [])])
    return tuple(found)


def _activity(reader: StoreReader) -> Activity:
    """Look when a program's own series last changed, and when its recorders last wrote."""
    series = list(reader.series())
    own = [each for each in series if not each.name.startswith(_RECORDED)]
    recorded = [each for each in series if each.name.startswith("process_")]
    changed_ns = max((_changed_ns(reader, each) for each in own), default=0)
    return Activity(reader.path.name, len(own), changed_ns, _newest(reader, recorded))


def _changed_ns(reader: StoreReader, series: Any) -> int:
    """Give the end of the newest bucket in which a series changed, ns since the epoch; 0: none."""
    data = reader.query([series], "1h", fn="last" if series.kind == "counter" else None)[0]
    if not len(data):
        return 0
    differs = data.values[1:] != data.values[:-1]
    at = int(differs.nonzero()[0][-1]) + 1 if differs.any() else 0
    if series.kind == "summary":
        at = len(data.values) - 1  # a point is an observation
    return int(data.timestamps_ns[at] + data.interval_ns[at])


def _newest(reader: StoreReader, series: Sequence[Any]) -> int:
    if not series:
        return 0
    found = reader.query(series[:4], "10m")
    return max((int(each.timestamps_ns[-1] + each.interval_ns[-1]) for each in found if len(each)), default=0)
