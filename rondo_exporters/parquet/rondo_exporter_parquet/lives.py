"""The table of lives: a row for each run that has ended, of what it was, how it ended, and what it took."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rondo_core import Batch, StoreReader
from rondo_core.errors import ExportError, RondoError
from rondo_core.model import RUNS_FILE, store_name
from rondo_core.storage import Run, outcome, read_runs
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import instance_of

# Hidden from what reads the whole directory as samples; no deeper than a day, so that day=*/*/* does not find it.
FOLDER = "_lives"
LIVES_VERSION = 1
KEYS = ["instance", "run"]
_TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("instance", pa.string(), nullable=False),
        pa.field("run", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("job", pa.string()),
        pa.field("command", pa.string()),
        pa.field("commit", pa.string()),
        pa.field("branch", pa.string()),
        pa.field("host", pa.string()),
        pa.field("kernel", pa.string()),
        pa.field("writer", pa.string()),
        pa.field("started", _TIME),
        pa.field("ended", _TIME),
        pa.field("newest", _TIME, nullable=False),
        pa.field("end", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("cause", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("exit_status", pa.int64()),
        pa.field("signal", pa.int64()),
        pa.field("timed_out", pa.bool_()),
        pa.field("cpus", pa.int64()),
        pa.field("cpu_seconds", pa.float64()),
        pa.field("memory_peak_bytes", pa.int64()),
        pa.field("memory_peak_by", pa.string()),
        pa.field("memory_limit_bytes", pa.int64()),
        pa.field("samples", pa.int64()),
    ],
    metadata={"rondo.lives": str(LIVES_VERSION)},
)
_JOBS = ("GITHUB_JOB", "CI_JOB_NAME", "BUILDKITE_STEP_KEY", "CIRCLE_JOB", "JOB_NAME", "SLURM_JOB_NAME")
_COMMITS = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "GIT_COMMIT",
    "BUILD_SOURCEVERSION",
    "commit",
)
_BRANCHES = ("GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BUILDKITE_BRANCH", "CIRCLE_BRANCH", "GIT_BRANCH", "branch")
# What a program's own store tells of it, where nobody recorded it from outside.
_MEMORY = ("job_memory_bytes", "process_resident_memory_bytes")
_CPU = "process_cpu_seconds_total"


def check_version(told: Mapping[bytes, bytes], columns: pa.Schema, name: str) -> None:
    """Look whether a file holds lives of the layout that is known. Raises: ExportError: it does not."""
    whole = set(KEYS) <= set(columns.names) and columns.field("run").type == pa.int64()
    version = int(told.get(b"rondo.lives", LIVES_VERSION if whole else 0))
    if version > LIVES_VERSION:
        raise ExportError(
            f"{name}: lives of layout {version}, and {LIVES_VERSION} is known; upgrade rondo-exporter-parquet"
        )
    if version < 1 or not whole:
        raise ExportError(f"{name}: no lives that this exporter wrote; move it away")


def put_life(place: Place, batch: Batch, instance: str) -> str:
    """Write the row of the run that a batch tells the end of, in a file of its own; give the file's name.

    The same run has the same file, whoever writes it. Raises: OSError: as `Place.put`.
    """
    row = life_row(batch, instance)
    table = pa.Table.from_pylist([row], SCHEMA)
    name = life_name(table)
    place.put(name, lambda file: pq.write_table(table, file, compression="zstd"))
    return name


def life_name(table: pa.Table) -> str:
    """Name a file of lives by the day of the first and by which runs are in it."""
    keys = "\0".join(f"{row['instance']}\0{row['run']}" for row in table.select(KEYS).to_pylist())
    day = np.datetime64(int(table["newest"].cast(pa.int64()).to_numpy().min()) // 86_400_000_000, "D")
    return f"{FOLDER}/{day}-{hashlib.sha256(keys.encode()).hexdigest()[:16]}.parquet"


def life_row(batch: Batch, instance: str) -> dict[str, Any]:
    """Give what is on record of a run that has ended; what cannot be read is None."""
    ended = batch.run
    if ended is None:
        raise ValueError("batch: no run has ended in it")
    store = Path(ended.store)
    own = next(filter(None, map(instance_of, batch.ended)), instance)
    newest_ns = batch.ended_ns
    row: dict[str, Any] = {
        "instance": own,
        "run": ended.number,
        "name": store_name(store),
        "newest": newest_ns // 1000,
        "end": "",
        "outcome": "gone",
        "samples": ended.samples,
    }
    with contextlib.suppress(RondoError, OSError):
        run = next((run for run in read_runs(store / RUNS_FILE) if run.number == ended.number), None)
        row |= {} if run is None else _of_run(run)
    found: dict[str, Any] = {}
    with contextlib.suppress(RondoError, OSError, ValueError):
        found = _of_job(store)
    if found.get("memory_peak_bytes") is None or found.get("cpu_seconds") is None:
        with contextlib.suppress(RondoError, OSError, ValueError):
            measured = _measured(store)
            found = measured | {name: value for name, value in found.items() if value is not None}
    row |= found
    return {name: row.get(name) for name in SCHEMA.names}


def _of_run(run: Run) -> dict[str, Any]:
    return {
        "writer": run.writer or None,
        "started": run.opened_ns // 1000,
        "ended": run.ended_ns // 1000 if run.ended_ns else None,
        "end": run.ended,
        "outcome": outcome(run, None),
    }


def _of_job(store: Path) -> dict[str, Any]:
    """Give what `rondo run` has on record of a job; nothing, where the store is not of one."""
    from rondo_job import Life

    if not (store / "life.start").exists():
        return {}
    life = Life(store)
    start, end = life.start, life.end
    known = start.environment
    row: dict[str, Any] = {
        "name": start.name,
        "job": _first(known, _JOBS) or start.name,
        "command": " ".join(start.command),
        "commit": _first(known, _COMMITS),
        "branch": _first(known, _BRANCHES),
        "host": start.host.name,
        "kernel": start.host.kernel,
        "started": start.started_ns // 1000,
        "cpus": start.host.n_cpus,
        "memory_limit_bytes": start.memory_limit_bytes,
    }
    if end is not None:
        usage = None if end.usage is None else end.usage.user_s + end.usage.system_s
        row |= {
            "ended": end.ended_ns // 1000,
            "end": str(end),
            "exit_status": end.exit_code,
            "signal": end.signal,
            "timed_out": end.timed_out,
            "cpu_seconds": usage if end.cpu_s is None else end.cpu_s,
            "memory_peak_bytes": end.memory_peak_bytes,
            "memory_peak_by": None if end.memory_peak_bytes is None else "kernel",
            "outcome": "well" if end.status == 0 else "failed",
        }
    if end is not None and end.status == 0 and not end.timed_out:
        return row | {"cause": "normal", "verdict": "proven"}  # as the autopsy would say, at no cost
    from rondo_job.autopsy.examine import examine

    diagnosis = examine(store).diagnosis
    return row | {"cause": diagnosis.cause, "verdict": diagnosis.verdict}


def _measured(store: Path) -> dict[str, Any]:
    """Give the greatest memory and the CPU that a store's own series tell; nothing, where it has none."""
    found: dict[str, Any] = {}
    with StoreReader(store) as reader:
        there = {series.name for series in reader.series()}
        for name in _MEMORY:
            if name in there and (peak := _value(reader, name, "max")) is not None:
                found |= {"memory_peak_bytes": int(peak), "memory_peak_by": "samples"}
                break
        if _CPU in there and (spent := _value(reader, _CPU, "increase")) is not None:
            found["cpu_seconds"] = spent
    return found


def _value(reader: StoreReader, name: str, fn: str) -> float | None:
    values = [float(data.values[0]) for data in reader.query(name, fn=fn, agg=True) if len(data)]
    return max(values, default=None)


def _first(known: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((known[name] for name in names if known.get(name)), None)
