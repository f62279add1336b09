"""Three questions over ended lives, for PromQL and SQL, and their answers as numpy has them.

How much memory the worst twentieth of each job's lives took at its peak; how much CPU time all lives took, by mode; how
many lives there were at once, for each minute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ended_lives import COUNTERS, GAUGES, EndedLife

Answer = dict[str, float]
NAMES = ("p95 of peak memory by job", "CPU time by mode", "lives at once")
SQL = (
    """SELECT job, {p95}(peak, 0.95) FROM (
         SELECT regexp_extract(instance, '^([a-z]+)-', 1) AS job, instance, max(value) AS peak
         FROM lake WHERE name = 'job_memory_bytes' GROUP BY 1, 2) AS peaks GROUP BY job""",
    """SELECT mode, sum(total) FROM (
         SELECT instance, labels['mode'] AS mode, max(value) AS total
         FROM lake WHERE name = 'job_cpu_seconds_total' GROUP BY 1, 2) AS totals GROUP BY mode""",
    """SELECT minute, count(DISTINCT instance) FROM (
         SELECT instance, CAST(ceil(({seconds}(time) - {start}) / 60) AS INT) AS minute
         FROM lake WHERE name = 'job_processes') AS seen GROUP BY minute""",
)


class Questions:
    """The questions over a day. Attributes: `start_s`, `end_s`: of the range, half a second after a whole one."""

    def __init__(self, lives: list[EndedLife]) -> None:
        """Ask of these lives."""
        first = min(life.started_ns for life in lives) // 10**9
        self.end_s = max(life.started_ns // 10**9 + life.seconds for life in lives) + 0.5
        self.start_s = self.end_s - math.ceil((self.end_s - first) / 60 + 1) * 60
        self.window_s = round(self.end_s - self.start_s)
        self.answers = self._expected(lives)

    def promql(self, instance: str = "instance") -> tuple[str, str, str]:
        """Give the expressions, the last one for a range by minutes. Args: `instance`, the label of a life."""
        peaks = f"max_over_time(job_memory_bytes[{self.window_s}s])"
        job = f'label_replace({peaks}, "job", "$1", "{instance}", "([a-z]+)-.*")'
        totals = f"last_over_time(job_cpu_seconds_total[{self.window_s}s])"
        return (
            f"quantile by (job) (0.95, {job})",
            f"sum by (mode) ({totals})",
            "count(count_over_time(job_processes[1m]))",
        )

    def over_http(self, get: Callable[..., bytes], **more: object) -> list[Callable[[], Answer]]:
        """Give what asks a server of Prometheus's API. Args: `get(path, **asked)`; `more`: what it is asked besides."""
        first, second, third = self.promql()

        def instant(expression: str) -> Answer:
            body = get("/api/v1/query", query=expression, time=self.end_s, **more)
            found = json.loads(body)["data"]["result"]
            return {next(iter(each["metric"].values())): float(each["value"][1]) for each in found}

        def ranged() -> Answer:
            span = {"start": self.start_s, "end": self.end_s, "step": 60}
            found = json.loads(get("/api/v1/query_range", query=third, **span, **more))["data"]["result"]
            return {self._minute(float(at)): float(value) for at, value in found[0]["values"]}

        return [lambda: instant(first), lambda: instant(second), ranged]

    def by_sql(self, rows: Callable[[str], list[Any]], p95: str, seconds: str) -> list[Callable[[], Answer]]:
        """Give what asks an engine that has a view `lake`. Args: `p95`, `seconds`: functions of its dialect."""

        def ask(text: str) -> Answer:
            return {str(key): float(value) for key, value in rows(text)}

        texts = [text.format(p95=p95, seconds=seconds, start=self.start_s) for text in SQL]
        return [lambda text=text: ask(text) for text in texts]  # type: ignore[misc]

    def by_rondo(self, folder: Path) -> list[Callable[[], Answer]]:
        """Give what asks the stores themselves, each time anew: no look at them is kept."""
        import rondo_promql
        from rondo_core.read import open_source

        expressions = self.promql("rondo_store")

        def instant(expression: str) -> Answer:
            with open_source(folder) as source:
                found = rondo_promql.evaluate_instant(expression, source, round(self.end_s * 1000)).plain()
            return {dict(labels)[next(iter(labels))]: float(value) for labels, value in found}

        def ranged() -> Answer:
            start, end = round(self.start_s * 1000), round(self.end_s * 1000)
            with open_source(folder) as source:
                found = rondo_promql.evaluate(expressions[2], source, start, end, 60_000)
            _, stamps, values = found.series[0]
            return {self._minute(ms / 1000): float(value) for ms, value in zip(stamps, values, strict=True)}

        return [lambda: instant(expressions[0]), lambda: instant(expressions[1]), ranged]

    def differ(self, answers: list[Answer]) -> list[str]:
        """Name the questions whose answers are not numpy's."""
        return [name for name, ours, theirs in zip(NAMES, answers, self.answers, strict=True) if not same(ours, theirs)]

    def _minute(self, at_s: float) -> str:
        return str(round((at_s - self.start_s) / 60))

    def _expected(self, lives: list[EndedLife]) -> list[Answer]:
        memory = len(COUNTERS) + [name for name, _, _ in GAUGES].index("job_memory_bytes")
        peaks: dict[str, list[float]] = {}
        totals = {"user": 0.0, "system": 0.0}
        there: dict[str, float] = {}
        for life in lives:
            values = life.values()
            peaks.setdefault(life.job, []).append(values[memory].max())
            totals["user"] += values[0, -1]
            totals["system"] += values[1, -1]
            for minute in np.unique(np.ceil((life.stamps_ms() / 1000 - self.start_s) / 60)).tolist():
                there[str(int(minute))] = there.get(str(int(minute)), 0) + 1
        return [{job: float(np.quantile(found, 0.95)) for job, found in peaks.items()}, totals, there]


def same(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Say whether two answers are equal, but for how a sum is rounded."""
    return ours.keys() == theirs.keys() and all(math.isclose(ours[key], theirs[key], rel_tol=1e-9) for key in ours)
