"""How a process ended, though its program never closed its store: what is known is on record, and no more."""

import subprocess
import sys

import pytest

from rondo_core import StoreReader, StoresReader
from rondo_core.record.end_words import of_error, of_exit
from rondo_core.storage.runs import read_runs

BEGIN = """
import atexit, os, signal, sys, threading
from rondo_core import Store
store = Store(sys.argv[1])
count = store.counter("a_total")
count.inc()
"""

ENDS = {
    "the program returns": ("", "returned"),
    "with a status": ("sys.exit(3)", "exit status 3"),
    "with none": ("sys.exit()", "exit status 0"),
    "with a message": ("sys.exit('no input')", "exit status 1: no input"),
    "with a status beyond what a process has": ("sys.exit(300)", "exit status 44"),
    "in a with block": ("with store: sys.exit(0)", "exit status 0"),
    "in a with block, failing": ("with store: raise SystemExit(2)", "exit status 2"),
    "an exit that nobody called": ("raise SystemExit(4)", "exited"),
    "an exit that was caught": ("try: sys.exit(5)\nexcept SystemExit: pass", "returned"),
    "an exit after one that was caught": (
        "try: sys.exit(5)\nexcept SystemExit: raise SystemExit(6)",
        "exited",
    ),
    "an exit in place of another": ("try: sys.exit(5)\nexcept SystemExit: sys.exit(6)", "exit status 6"),
    "an exception": ("raise RuntimeError('bad row 4711')", "raised RuntimeError: bad row 4711 (<string>:7)"),
    "an exception before a hook of the program's own": (
        "sys.excepthook = lambda *_: None\nraise ValueError('own')",
        "raised ValueError: own (<string>:8)",
    ),
    "an exception after a hook of the program's own": (
        "own, sys.excepthook = sys.excepthook, lambda *what: own(*what)\nraise ValueError('own')",
        "raised ValueError: own (<string>:8)",
    ),
    "ctrl-c": ("os.kill(os.getpid(), signal.SIGINT)", "signal 2"),
    "a signal's handler": (
        "signal.signal(15, lambda *_: sys.exit(0))\nos.kill(os.getpid(), 15)",
        "signal 15, exit status 0",
    ),
    "a signal's handler that raises": (
        "def stop(number, frame): raise OSError('stopped')\nsignal.signal(15, stop)\nos.kill(os.getpid(), 15)",
        "signal 15, raised OSError: stopped (<string>:7)",
    ),
    "a thread's exception": (
        "each = threading.Thread(target=lambda: 1 / 0)\neach.start()\neach.join()",
        "returned",
    ),
    "a close of the program's own, while it fails": (
        "atexit.register(store.close)\nraise KeyError('x')",
        "raised KeyError: 'x' (<string>:8)",
    ),
    "a SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", ""),
    "os._exit": ("os._exit(3)", ""),
}


def _end(tmp_path, end, *arguments):
    """Run a program of this end; give how its run ended, and what it wrote to standard error."""
    program = [sys.executable, *arguments, "-c", BEGIN + end, str(tmp_path / "s")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    with StoreReader(tmp_path / "s") as reader:
        assert reader.query("a_total")[0].values[-1] >= 1
        return reader.runs()[-1].ended, done.stderr


@pytest.mark.parametrize("what", ENDS)
def test_an_end_without_close_is_on_record(tmp_path, what):
    """Each end of a program is what it was, in the words of the record; what left no trace has none."""
    end, ended = ENDS[what]
    assert _end(tmp_path, end)[0] == ended


def test_callbacks_of_the_program_record_before_the_end(tmp_path):
    """What a program's own atexit callback records is there: the store is closed after them."""
    assert _end(tmp_path, "atexit.register(lambda: count.inc(10))") == ("returned", "")
    with StoreReader(tmp_path / "s") as reader:
        assert reader.query("a_total")[0].values[-1] == 11


def test_a_daemon_thread_that_records_to_the_end_is_not_disturbed(tmp_path):
    """Its records after the store has ended go nowhere, and nothing is raised in it."""
    busy = "def run():\n  while True: count.inc(); store.tick()\nthreading.Thread(target=run, daemon=True).start()"
    assert _end(tmp_path, busy) == ("returned", "")


def test_threads_that_are_replaced_meanwhile_leave_the_end_on_record(tmp_path):
    """As gevent does: threads have other numbers, and locks of the new kind never come at the end. Nothing is printed."""
    end = """
store.close()
store = Store(sys.argv[1], tick_interval_s=1.0)
count = store.counter("a_total")
count.inc()
own, main = threading.get_ident, threading.get_ident()
threading.get_ident = lambda: main if own() == main else 1
class Never(Exception): pass
def wait(thread, timeout=None):
    if timeout is None: raise Never("this would block for ever")
threading.Thread.join = wait
"""
    assert _end(tmp_path, end) == ("returned", "")


def test_hooks_are_as_they_were_once_no_store_is_open(tmp_path):
    """The interpreter's hooks are a program's own again; one that it set meanwhile stays."""
    end = """
store.close()
assert sys.excepthook is sys.__excepthook__ and sys.unraisablehook is sys.__unraisablehook__
assert threading.excepthook is threading.__excepthook__ and type(sys.exit) is type(len)
store = Store(sys.argv[1])
own = sys.excepthook = lambda *what: None
store.close()
assert sys.excepthook is own
count = Store(sys.argv[1]).counter('a_total')
count.inc()
"""
    assert _end(tmp_path, end) == ("returned", "")


def test_a_forked_child_says_nothing_of_its_parents_run(tmp_path):
    """A child's exit is not its parent's; a store of its own has its own end."""
    end = """
if not os.fork():
    child = Store(sys.argv[1] + "/../child")
    child.counter("b_total").inc()
    sys.exit(9)
os.wait()
"""
    assert _end(tmp_path, end)[0] == "returned"
    with StoreReader(tmp_path / "child") as reader:
        assert [run.ended for run in reader.runs()] == ["exit status 9"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_multiprocessing_has_its_own_end(tmp_path, method):
    """Such a process may end without the interpreter's own callbacks; what ended it is on record all the same."""
    if sys.version_info >= (3, 13):
        pytest.skip("from Python 3.13 on a worker's status is not known; see docs/limits.md")
    (tmp_path / "work.py").write_text(f"""
import multiprocessing, sys
from rondo_core import Store
kept = []  # else the garbage collector may come to it before the end does
def work(end):
    kept.append(Store(f"{tmp_path}/{{end}}"))
    kept[-1].counter("a_total").inc()
    if end == "exit": sys.exit(7)
    if end == "raise": raise ValueError("in a worker")
if __name__ == "__main__":
    for end in ("return", "exit", "raise"):
        each = multiprocessing.get_context("{method}").Process(target=work, args=(end,))
        each.start()
        each.join()
""")
    subprocess.run([sys.executable, str(tmp_path / "work.py")], capture_output=True, timeout=120, check=True)
    ended = {}
    for end in ("return", "exit", "raise"):
        with StoreReader(tmp_path / end) as reader:
            ended[end] = reader.runs()[-1].ended
    assert ended.pop("raise").startswith("raised ValueError: in a worker (")
    assert ended == {"return": "returned", "exit": "exit status 7"}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_store_of_a_worker_that_is_opened_before_its_work_begins_is_ended(tmp_path, method):
    """Where each worker imports the program anew its store is opened while it does; it is closed by the worker's end."""
    (tmp_path / "work.py").write_text(f"""
import multiprocessing
from rondo_core import Store
store = Store.for_process({str(tmp_path / "stores")!r})
counter = store.counter("a_total")
def work(n): counter.inc()
if __name__ == "__main__":
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        pool.map(work, range(8), 1)
        pool.close()
        pool.join()
    store.close()
""")
    subprocess.run([sys.executable, str(tmp_path / "work.py")], capture_output=True, timeout=120, check=True)
    with StoresReader(tmp_path / "stores") as reader:
        assert sum(float(data.values[-1]) for data in reader.query("a_total")) == 8
    ends = [read_runs(path / "runs")[-1].ended for path in (tmp_path / "stores").iterdir()]
    assert len(ends) >= 2
    assert set(ends) <= {"closed", "returned", "exit status 0"}


def test_several_stores_of_a_process_all_end_with_it(tmp_path):
    """Each of them has the end on record."""
    _end(tmp_path, "more = [Store(sys.argv[1] + f'/../{each}') for each in range(3)]\nsys.exit(2)")
    for each in range(3):
        with StoreReader(tmp_path / str(each)) as reader:
            assert reader.runs()[-1].ended == "exit status 2"


def test_an_error_at_a_prompt_ends_nothing(tmp_path):
    """A program that goes on to a prompt has failed, but its process ends when the prompt does."""
    assert _end(tmp_path, "raise RuntimeError", "-i")[0] == "returned"


def test_a_tick_that_hangs_does_not_keep_the_process(tmp_path):
    """A recorder that never comes back on the ticking thread is not waited for; the end is on record."""
    hang = """
from rondo_core.record import ending
import rondo_core.store as module
module._END_WAIT_S = 0.05
begun = threading.Event()
store._ticks.append(lambda now_ns: (begun.set(), threading.Event().wait()))
threading.Thread(target=store.tick, daemon=True).start()
begun.wait()
sys.exit(1)
"""
    assert _end(tmp_path, hang)[0] == "exit status 1"


def test_a_store_that_the_program_has_removed_ends_without_a_word(tmp_path):
    """A temporary directory that is gone by then is nothing to be told of at the end."""
    end = "import shutil\nshutil.copytree(sys.argv[1], sys.argv[1] + '-')\nshutil.rmtree(sys.argv[1])\n"
    end += "os.rename(sys.argv[1] + '-', sys.argv[1])"
    assert _end(tmp_path, end) == ("", "")


def test_a_long_message_keeps_its_place():
    """What is cut of an exception is its message, not the file and line, and a record holds what is left."""
    with pytest.raises(ValueError, match="é") as raised:
        exec("raise ValueError('é' * 1000)")
    words = of_error(raised.value)
    assert len(words.encode()) <= 160
    assert words.startswith("raised ValueError: éé")
    assert words.endswith("... (<string>:1)")


def test_an_exception_that_says_nothing_of_itself_is_named():
    """A message that raises, or is empty, leaves the type; one of several lines is one line."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert of_error(Mute("x")) == "raised " + Mute.__qualname__
    assert of_exit("two\nlines\x1b") == "exit status 1: two lines\\x1b"
    assert of_exit(True) == "exit status 1"
