"""Where a compiled module cannot be had its source is taken: a program learns of it by nothing but its speed."""

import importlib.machinery
import shutil
import subprocess
import sys
from pathlib import Path

import rondo_core

ROOT = Path(rondo_core.__file__).parent
RECORD = """
import sys
from rondo_core import Store
from rondo_core.record import batches, gauges, handles
with Store(sys.argv[1]) as store:
    store.counter("c_total").inc(2)
    store.batch([store.gauge("g", a=each) for each in "ab"]).set([3.0, 4.0])
    store.summary("s").observe(1)
print(handles.__file__, gauges.__file__, batches.__file__)
"""
ADD_EXITS = """
from rondo_core.record import handles
from rondo_vmm.observe import exit_totals
taken = []
exits = exit_totals.ExitTotals([0, 0], [lambda *sums: taken.append(sums[0])])
exits.flush()
exits.add(1, 1, 2)
exits.flush()
assert taken == [[0, 1]], taken
print(exit_totals.__file__)
"""
INTERPRETERS = """
import sys
try:
    import _xxsubinterpreters as interpreters
    made = [interpreters.create(**({"isolated": False} if sys.version_info >= (3, 12) else {})) for _ in range(2)]
except ImportError:
    import _interpreters as interpreters
    made = [interpreters.create("legacy") for _ in range(2)]
for number, each in enumerate(made):
    code = "import sys; sys.path[:] = %r; sys.argv = ['', %r]\\n" % (sys.path, f"{sys.argv[1]}{number}")
    failed = interpreters.run_string(each, code + sys.argv[2])
    assert failed is None, failed
    interpreters.destroy(each)
"""


def run(*args, home=ROOT.parent):
    done = subprocess.run(
        [sys.executable, "-c", *map(str, args)],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_compiled_module_that_cannot_be_loaded_is_loaded_as_python(tmp_path):
    """Of another machine, damaged, or on a file system that runs nothing; all of them then, as they share objects."""
    shutil.copytree(ROOT, tmp_path / "rondo_core", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    record = tmp_path / "rondo_core" / "record"
    for name in ("handles", "gauges", "batches"):
        (record / f"{name}{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF of another machine")
    found = run(RECORD, tmp_path / "s.rondo", home=tmp_path)
    assert found == [str(record / f"{name}.py") for name in ("handles", "gauges", "batches")]


def test_so_is_the_one_that_adds_up_a_machines_exits(tmp_path):
    """The monitor runs from where nothing may be executed, as a process that records does."""
    for package in (ROOT, ROOT.parent / "rondo_vmm"):
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    observe = tmp_path / "rondo_vmm" / "observe"
    refused = f"exit_totals{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    (observe / refused).write_bytes(b"\x7fELF of another machine")
    assert run(ADD_EXITS, home=tmp_path) == [str(observe / "exit_totals.py")]


def test_each_interpreter_of_a_process_records(tmp_path):
    """Two applications of one web server process, say: a compiled module is loaded for one of them alone."""
    assert len(run(INTERPRETERS, tmp_path / "s", RECORD)) == 6
    assert len(run(INTERPRETERS, tmp_path / "s", ADD_EXITS)) == 2
