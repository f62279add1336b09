"""A benchmark leaves no folder and no process, whatever it does when it is interrupted."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
# Its child makes files until it is killed, or has made very many, and so does a thread of its own. The interrupt comes to the whole group.
PROGRAM = """
import atexit, itertools, os, shutil, signal, subprocess, sys, threading
sys.path.insert(0, sys.argv[2])
import temporary
moment, remove = sys.argv[1], shutil.rmtree
WRITE = '''
import os, sys
for number in range(1 << 17):
    os.makedirs(f"{sys.argv[1]}/{number}/folder", exist_ok=True)
    if number == 100:
        print(flush=True)
        if sys.argv[2] == "daemon" and os.fork():
            break
'''

def interrupted(at):
    if moment == at:
        os.killpg(0, signal.SIGINT)

def removing(path, *others):
    interrupted("removing")
    remove(path, *others)

def write(folder):
    for number in itertools.count():
        os.makedirs(f"{folder}/own/{number}", exist_ok=True)

def main():
    atexit.register(interrupted, "ending")
    shutil.rmtree = removing
    with temporary.temporary_folder() as folder:
        starting = (lambda: interrupted("starting")) if moment == "starting" else None
        command = [sys.executable, "-c", WRITE, folder, moment]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=starting)
        child.stdout.readline()
        if moment == "raising":
            raise RuntimeError("as it fails")
        if moment in {"working", "daemon", "twice"}:
            threading.Thread(target=write, args=[folder], daemon=True).start()
            for _ in range(1 + (moment == "twice")):
                os.killpg(0, signal.SIGINT)
            signal.pause()
    return 3

sys.exit(temporary.interruptible(main))
"""


def test_benchmarks_have_their_folders_from_there():
    """No benchmark makes a temporary folder by itself, and each is run by what can be interrupted."""
    for path in BENCH.glob("*.py"):
        text = path.read_text()
        assert "TemporaryDirectory(" not in text, path
        assert "mkdtemp(" not in text, path
        assert ("temporary_folder(" in text) <= ("finish(main)" in text or path.name == "temporary.py"), path


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        *((each, 130) for each in ("starting", "working", "daemon", "twice", "removing", "ending")),
        ("raising", 1),
        ("never", 3),
    ],
)
def test_nothing_is_left_of_it(tmp_path, moment, status):
    """Neither what its child, its child's daemon and a thread write at that moment, nor they; a failure keeps its words."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, moment, BENCH],
        env={"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,  # whose end comes when nobody has it any more
        start_new_session=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert (b"-c: interrupted\n" in ended.stderr) == (status == 130)
    assert (b"RuntimeError: as it fails" in ended.stderr) == (status == 1)
    assert list(tmp_path.iterdir()) == []
