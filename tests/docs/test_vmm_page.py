"""The page of virtual machines: its commands run as shown, and its tables name what there is."""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_vmm.config import MACHINES

PAGE = (Path(__file__).parents[2] / "docs" / "vmm.md").read_text()


@pytest.mark.emulator
def test_its_commands_run(tmp_path, monkeypatch, capfd):
    """All that need neither QEMU nor a Linux guest nor what others run, in order; what they record can be read as shown."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (config,) = [text for language, text in blocks if language == "toml"]
    (tmp_path / "machine.toml").write_text(config)
    shown = [
        line
        for language, text in blocks
        for line in (text if not language else "").splitlines()
        if line.startswith("rondo ") and "qemu" not in line and "/run/" not in line
    ]
    assert len(shown) >= 6
    for line in shown:
        assert run(shlex.split(line)[1:]) == 0, line
    said = capfd.readouterr()
    assert "vcpu_exits_total" in said.out
    assert "fleet-2: rondo-guest done" in said.out
    assert "rondo: lines: " in said.err
    assert "vmm_uptime_seconds" in (tmp_path / "vm3.jsonl").read_text()
    assert "vcpu_steal_seconds_total" not in (tmp_path / "vm3.jsonl").read_text()
    assert "serving vm2.rondo on http://127.0.0.1:" in said.err


def test_its_tables_name_every_machine_and_every_recorder():
    """Nothing that is there is left out, and nothing stands there that is not."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    of_the_monitor = [
        each.name for each in entry_points(group="rondo.recorders") if each.value.startswith("rondo_vmm.")
    ]
    assert sorted(named) == sorted([*MACHINES, *of_the_monitor])
