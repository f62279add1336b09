"""Exporter plugins that are installed for a test alone, in processes too: entry points in a directory of the path."""

import json
import os
import subprocess
import sys

import pytest

from rondo_core import StoreReader

LEDGER = '''
"""Write every request as one line of JSON; while a file `down` lies beside the ledger, take nothing.

A file `border` beside it holds a time in ns: requests with older samples are refused. `calls` are called with each batch.
"""
import json, os, pathlib
from rondo_core import Option, hookimpl
from rondo_core.errors import ExportError, PermanentExportError, RetryableExportError

calls = []

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
        for call in calls:
            call(batch)
        border = os.path.join(os.path.dirname(self.path), "border")
        if os.path.exists(border):
            oldest = min([int(part.timestamps_ns[0]) for part in batch.parts], default=1 << 62)
            if oldest < int(pathlib.Path(border).read_text()):
                raise PermanentExportError("400 out of bounds")
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
def rondo_code():
    """What starts the command; a module may start it in another way."""
    return "from rondo_cli.main import main; main()"


@pytest.fixture
def rondo(site, tmp_path, rondo_code):
    """Run the command in a process of its own, the exporter `ledger` installed."""

    def run(*arguments, fault="", status=0, ordinary=False):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        code = f"from rondo_core import faults; faults.arm({fault!r}); {rondo_code}"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            cwd=tmp_path,
            preexec_fn=as_anyone if ordinary else None,
        )
        assert status is None or done.returncode == status, done.stderr
        return done

    return run


def as_anyone():
    """Take from a child, before it runs a command, the power over files that root has and others have not."""
    if not os.geteuid():
        import ctypes

        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, out of the bounding set
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.fixture
def forbid():
    """Make a file or directory someone else's, who lets others do so much; until the test ends, which is to remove it."""
    modes = {}

    def forbid(path, mode=0o700):
        if os.geteuid():
            modes[path] = path.stat().st_mode
            path.chmod(mode & 0o7 and 0o400)
        else:
            os.chown(path, 65534, 65534)
            path.chmod(mode)

    yield forbid
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)


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
