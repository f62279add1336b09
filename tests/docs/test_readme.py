"""What the README shows runs as shown."""

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rondo_core import Plugins, Store

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_service_comes_first_and_its_p99_is_there(tmp_path):
    """A handful of lines, which nobody closes; then one number for all workers, and every request."""
    home = {**os.environ, "RONDO_DIR": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-W", "error", "-c", BLOCKS[0]], cwd=tmp_path, env=home, check=True)
    assert len(BLOCKS[0].splitlines()) <= 10
    command = [sys.executable, "-m", "rondo_cli", "query", str(tmp_path / "state" / "web")]
    for more in (["http_request_duration_seconds", "--fn", "p99", "--agg"], ["http_requests_total"]):
        said = subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
        value = float(said.splitlines()[-1].split()[-1])
        assert value == 1000.0 or (more[1:] and 0 < value < 10)


def test_the_library_example_runs(tmp_path):
    """The example of a plain program, in an empty directory: it prints total and p99, and the store can be queried."""
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[1]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    total, p99 = map(float, said.stdout.split())
    assert total == 1000.0
    assert len(BLOCKS[1].splitlines()) <= 16
    command = [sys.executable, "-m", "rondo_cli", "query", "jobs.rondo", "jobs_total{queue=mail}", "--range", "all"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1].split()[-1] == "1000"
    command = shlex.split(BLOCKS[1].rpartition("afterwards, from anywhere: rondo ")[2])
    said = subprocess.run(
        [sys.executable, "-m", "rondo_cli", *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(said.stdout.splitlines()[-1].split()[-1]) == pytest.approx(p99, rel=0.03)


def test_the_recorder_example_records(path):
    """The example of a plugin, bound to a store: its gauges hold the load average."""
    module = types.ModuleType("the_module")
    exec(BLOCKS[2], vars(module))
    assert len(BLOCKS[2].splitlines()) <= 17
    plugins = Plugins()
    plugins.register(module, "load")
    with Store(path) as store:
        assert store.bind_recorders(plugins) == ["load"]
        store.tick()
        assert len(store.query("system_load{minutes=15}")[0]) == 1
        assert store.query("system_load{minutes=1}")[0].values[0] <= os.getloadavg()[0] + 64


def test_the_config_example_is_one(tmp_path):
    """What the README shows as a rondo.toml reads, and says what it seems to."""
    from rondo_core.export.options import check_runner_table
    from rondo_core.plugins.config_file import read_config
    from rondo_core.plugins.options import RUNNER_OPTIONS

    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "rondo.toml").write_text(text)
    config = read_config(tmp_path / "rondo.toml")
    assert config.agent["after"] == "archive"
    mine = {option.name for option in RUNNER_OPTIONS}
    table = {key: value for key, value in config.exporters["rollups"].items() if key in mine}
    assert check_runner_table("exporters.rollups", table) == {"plugin": "prometheus", "tier": 1, "fn": ["avg", "max"]}
