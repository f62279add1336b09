"""A VM's whole life arrives in a real Prometheus, however the VM ends."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rondo_core import StoreReader
from rondo_core.export.cursor import load_cursor
from rondo_core.export.drain import Drain

pytestmark = [pytest.mark.prometheus, pytest.mark.emulator]

RONDO = [sys.executable, "-m", "rondo_cli"]


def start_vm(path, prometheus, seconds):
    """Start `rondo vmm` on the software CPU, which every machine has, pushing to Prometheus each second."""
    config = path.with_name("rondo.toml")
    config.write_text("[exporters.prometheus]\ninterval = '1s'\n")
    options = [
        "--config",
        str(config),
        "--machine",
        "soft",
        "--store",
        str(path),
        "--duration",
        str(seconds),
        "--remote-write",
        prometheus.write_url,
    ]
    labels = ["--external-labels", "instance=vm1"]
    return subprocess.Popen(
        [*RONDO, "vmm", *options, *labels], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def export(path, prometheus):
    command = [*RONDO, "export", str(path), "--to", "prometheus", "--url", prometheus.write_url]
    said = subprocess.run(
        [*command, "--external-labels", "instance=vm1"], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stderr
    return int(re.match(r"(\d+) samples", said.stderr)[1])


def expected(path):
    """Every point of every series in the finest tier, as a receiver names and stamps it."""
    found = {}

    def add(part, series, suffix, values):
        stamps, interval_ms = part.timestamps_ns, part.interval_ns // 10**6
        key = frozenset({"__name__": series.name + suffix, "instance": "vm1", **dict(series.labels)}.items())
        there = ~np.isnan(values)
        found[key] = list(zip((stamps[there] // 10**6).tolist(), values[there].tolist(), strict=True))
        born_ms = series.created_ns // part.interval_ns * interval_ms
        if (series.kind == "counter" or suffix in {"_count", "_sum"}) and found[key][0][0] == born_ms:
            found[key].insert(0, (born_ms - interval_ms, 0.0))

    with StoreReader(path) as reader:
        drained = Drain(reader).next({}, 1 << 62, 10**9)
        for part in drained.batch.parts:
            read = part.statistics
            for column, series in enumerate(part.series):
                if part.kind != "summary":
                    add(part, series, "", read["last"][:, column])
                    continue
                count = read["count"][:, column]
                add(part, series, "_count", read["count_base"][:, column] + count)
                add(part, series, "_sum", read["sum_base"][:, column] + read["sum"][:, column])
                for name in ("min", "max"):
                    add(part, series, f"_{name}", np.where(count > 0, read[name][:, column], np.nan))
    return found


def arrived(prometheus, like):
    """Everything that Prometheus holds of this VM."""
    end_s = time.time() + 5
    raw = prometheus.raw('{instance="vm1"}', end_s, "10m")
    return {key: raw.get(key, []) for key in like}, set(raw) - set(like)


def test_after_the_vm_has_ended_every_point_is_in_prometheus(prometheus, tmp_path):
    """All series, all points, equal values; the cursor says so; a second export sends nothing."""
    path = tmp_path / "vm.rondo"
    vm = start_vm(path, prometheus, 3)
    _, errors = vm.communicate(timeout=60)
    assert vm.returncode == 0, errors
    points = expected(path)
    there, more = arrived(prometheus, points)
    assert there == points
    assert not more
    assert len(points) >= 12
    cursor = load_cursor(path, "prometheus")
    with StoreReader(path) as reader:
        assert cursor.ended_run == reader.runs()[-1].number
        for schema in reader.meta.schemas:
            assert cursor.positions[f"{schema.name}.0"] * schema.tiers[0].interval_ns > reader.newest_ns() - 2 * 10**9
    assert export(path, prometheus) == 0
    assert prometheus.instant('vmm_uptime_seconds{instance="vm1"}', time.time() + 1) == {}


def test_a_vm_killed_mid_run_is_completed_by_export(prometheus, tmp_path):
    """SIGKILL after some samples were pushed: `rondo export` sends the rest, none missing, none different."""
    path = tmp_path / "vm.rondo"
    vm = start_vm(path, prometheus, 60)
    try:
        until = time.monotonic() + 60
        while load_cursor(path, "prometheus").samples == 0:
            assert vm.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        vm.send_signal(signal.SIGKILL)
        vm.communicate()
    pushed = load_cursor(path, "prometheus").samples
    points = expected(path)
    assert export(path, prometheus) > 0
    there, more = arrived(prometheus, points)
    assert there == points
    assert not more
    total = sum(map(len, points.values()))
    assert 0 < pushed < total
    assert export(path, prometheus) == 0
