"""Exporter plugins that are installed for a test alone, in processes too: entry points in a directory of the path."""

import json
import os
import subprocess
import sys

import pytest

from rondo_core import StoreReader

LEDGER = '''
"""Write every request as one line of JSON; while a file `down` lies beside the ledger, take nothing."""
import json, os
from rondo_core import Option, hookimpl
from rondo_core.errors import ExportError, RetryableExportError

@hookimpl
def rondo_options_define():
    return [
        Option("path", required=True, help="where to write"),
        Option("mode", choices=("plain", "broken", "raising"), default="plain"),
        Option("token", secret=True),
    ]

@hookimpl
def rondo_exporter_open(config):
    return Ledger(config)

class Ledger:
    def __init__(self, config):
        self.path, self.mode = config["path"], config["mode"]

    def send(self, batch):
        if self.mode == "broken":
            raise ZeroDivisionError("a bug")
        if os.path.exists(os.path.join(os.path.dirname(self.path), "down")):
            raise RetryableExportError("503", 0.01)
        sent = []
        for part in batch.parts:
            block = part.statistics["count_base"] + part.statistics["count"] if part.kind == "summary" else part.statistics["last"]
            for row, stamp in enumerate(part.timestamps_ns.tolist()):
                for column, series in enumerate(part.series):
                    value = float(block[row, column])
                    if value == value:
                        sent.append([str(series), stamp, value])
        sent += [[str(series), "ended", batch.ended_ns] for series in batch.ended]
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(sent).encode() + b"\\n")

    def close(self):
        pass
'''
POINTS = "[rondo.exporters]\nledger = ledger_exporter\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory on the path in which the exporter `ledger` is installed."""
    folder = tmp_path / "site"
    info = folder / "ledger_exporter-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "ledger_exporter.py").write_text(LEDGER)
    (info / "entry_points.txt").write_text(POINTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ledger-exporter\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("ledger_exporter", None)


@pytest.fixture
def rondo_command():
    """What starts the command; a module may start it in another way."""
    return [sys.executable, "-m", "rondo_cli"]


@pytest.fixture
def rondo(site, tmp_path, rondo_command):
    """Run the command in a process of its own, the exporter `ledger` installed."""

    def run(*arguments, fault="", status=0):
        environment = {**os.environ, "PYTHONPATH": str(site), "RONDO_FAULT": fault}
        command = [*rondo_command, *map(str, arguments)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path
        )
        assert status is None or done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture
def ledger(tmp_path):
    """Read what a ledger holds: its requests, each a list of [series, timestamp, value]."""
    return lambda name="ledger": [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


@pytest.fixture
def held():
    """Give what reads every sample of a store's finest tier: (series, time) -> value."""

    def held(path):
        samples = {}
        with StoreReader(path) as reader:
            for each in reader.registry:
                (data,) = reader.query([each], tier=0, fn="total" if each.kind == "summary" else "last")
                for stamp, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                    samples[str(each), stamp] = value
        return samples

    return held
