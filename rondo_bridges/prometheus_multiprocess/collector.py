"""The collector of /metrics over several processes, those that have ended included."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client import values as client_values
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rondo_bridges.prometheus_multiprocess.directory import alone, directory_of, stores_of
from rondo_bridges.prometheus_multiprocess.ended import failures, fold_ended, merged, read_ended
from rondo_bridges.prometheus_multiprocess.samples import Identity, Reading, families, readings_of
from rondo_bridges.prometheus_multiprocess.values import Values
from rondo_core import RondoError
from rondo_core.model import RUNS_FILE, Labels
from rondo_core.storage import last_values, read_runs

_EACH = {"all", "liveall"}  # the modes that show each process by its pid


class MultiProcessCollector(Collector):
    """Gives what all processes of a directory counted: in the place of prometheus_client's class of that name.

    Totals of processes that have ended stay in, so that no counter ever falls. Threads may share it.
    """

    def __init__(self, registry: CollectorRegistry | None, path: str | Path | None = None) -> None:
        """Collect for a registry, where one is given.

        Args: `path`: the directory; by default what was installed, else what PROMETHEUS_MULTIPROC_DIR names.
        Raises: UsageError: none is named.
        """
        installed = client_values.ValueClass
        self._values = installed if isinstance(installed, Values) else None
        self._directory = directory_of(path)
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Give the metrics of all processes.

        Raises: StoreError: another process keeps the directory's lock for five seconds.
        """
        if self._values is not None and self._values.directory == self._directory:
            self._values.open_if_made()
        with alone(self._directory):
            fold_ended(self._directory)
            kept = read_ended(self._directory)
            together = dict(kept.together)
            each = {
                (identity, str(kept.pids.get(slot, 0))): reading
                for slot, readings in kept.slots.items()
                for identity, reading in readings.items()
            }
            for path, _ in stores_of(self._directory):
                try:
                    _add(path, together, each)
                except RondoError as error:
                    failures.take(error, f"{path.name} is left out")
        return _metrics(together, each)


def _add(path: Path, together: dict[Identity, Reading], each: dict[tuple[Identity, str], Reading]) -> None:
    """Put what one process counts to what the others do."""
    readings = readings_of((series, value) for series, value, _ in last_values(path))
    runs = read_runs(path / RUNS_FILE)
    pid = str(runs[-1].pid if runs else 0)
    for identity, reading in readings.items():
        if identity.mode in _EACH:
            each[identity, pid] = reading
        else:
            known = together.get(identity)
            together[identity] = merged(identity.mode.removeprefix("live"), known, reading)


class _Families:
    """The metrics that are made of samples, by family, each with the help that one of its samples brought."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        """Tell the families of all samples that there are."""
        self._named = families(identities)
        self.metrics: dict[tuple[str, str], Metric] = {}
        self._buckets: dict[tuple[str, Labels], list[tuple[float, float]]] = {}

    def add(self, identity: Identity, reading: Reading, pid: str = "") -> None:
        """Add a sample; one of a histogram's buckets waits for the others."""
        family = self._named.get(identity)
        if family is None:  # a sum whose process was killed before it had more of its histogram
            return
        metric = self.metrics.setdefault(family, Metric(family[0], reading.help, family[1]))
        metric.documentation = metric.documentation or reading.help
        labels = dict(identity.labels)
        if metric.type == "histogram" and "le" in labels:
            bound = float(labels.pop("le"))
            self._buckets.setdefault((metric.name, tuple(labels.items())), []).append((bound, reading.value))
        else:
            metric.add_sample(identity.name, {**labels, "pid": pid} if pid else labels, reading.value)

    def add_buckets(self) -> None:
        """Add the buckets, each with all that are below, and their counts."""
        for (name, labels), counts in self._buckets.items():
            metric, total = self.metrics[name, "histogram"], 0.0
            for bound, count in sorted(counts):
                total += count
                le = floatToGoString(bound)  # type: ignore[no-untyped-call]
                metric.add_sample(f"{name}_bucket", {**dict(labels), "le": le}, total)
            metric.add_sample(f"{name}_count", dict(labels), total)


def _metrics(together: dict[Identity, Reading], each: dict[tuple[Identity, str], Reading]) -> list[Metric]:
    """Make prometheus_client's metrics of all samples."""
    made = _Families([*together, *(identity for identity, _ in each)])
    for identity, reading in together.items():
        made.add(identity, reading)
    for (identity, pid), reading in each.items():
        made.add(identity, reading, pid)
    made.add_buckets()
    return list(made.metrics.values())
