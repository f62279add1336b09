"""Garbage: a command's start is not spent on looking for any, and what runs for long keeps none."""

import os
import subprocess
import sys

import pytest

MACHINES = [pytest.param("kvm", marks=pytest.mark.kvm), pytest.param("soft", marks=pytest.mark.emulator)]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_machine_waits_for_a_collection_before_its_first_instruction(machine, tmp_path):
    """What its start has made is no garbage; once it runs, new garbage is collected as in any program."""
    code = (
        "import gc, sys\n"
        "usual, collections = gc.get_threshold(), []\n"
        "gc.callbacks.append(lambda phase, _facts: collections.append(phase))\n"
        "from rondo_cli.main import run\n"
        "from rondo_vmm.monitor import Monitor\n"
        "def checked(self, whole=Monitor.run):\n"
        "    print('before', collections, gc.get_threshold() == usual)\n"
        "    return whole(self)\n"
        "Monitor.run = checked\n"
        "run(['vmm', '--machine', sys.argv[1], '--timeout', '10ms', '--store', sys.argv[2]])\n"
    )
    command = [sys.executable, "-c", code, machine, str(tmp_path / "vm.rondo")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(tmp_path / "compiled")
    for _ in range(2):  # an installed rondo is compiled to bytecode; here the first run does that
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=env).stdout
    assert "before [] True" in said.splitlines()


def test_what_begins_later_in_the_same_process_stays_collectable():
    """Machines on threads of one process each begin to run for long; only the first sets aside what was there."""
    code = (
        "import gc\n"
        "from rondo_cli import run_long\n"
        "run_long()\n"
        "frozen, loop = gc.get_freeze_count(), []\n"
        "loop.append(loop)\n"
        "del loop\n"
        "run_long()\n"
        "print(frozen > 1000, gc.get_freeze_count() <= frozen, gc.collect() > 0)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.split() == ["True"] * 3
