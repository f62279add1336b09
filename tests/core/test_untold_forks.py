"""A server that forks without a word to Python, as uWSGI does: its workers record as any that are forked."""

import subprocess
import sys

from rondo_core import StoresReader

MASTER = """
import ctypes, os, sys, threading, types
master = os.getpid()
sys.modules["uwsgi"] = types.SimpleNamespace(masterpid=lambda: master)
from rondo_core import open_store

store = open_store("app", keep_last=50)
served, seconds = store.counter("served_total"), store.summary("served_seconds", quantiles=True)
by_code, level = store.counter("coded_total", labels=["code"]), store.gauge("level", peaks=True)
served.inc()
level.inc()
assert threading.active_count() == 1, threading.enumerate()


def worker():
    ready = threading.Barrier(4)

    def serve():
        ready.wait()
        for _ in range(250):
            by_code.labels(200).inc()
            served.inc()
            seconds.observe(0.1)
            level.inc()

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.tick()
    assert {"rondo-tick", "rondo-retention"} <= {thread.name for thread in threading.enumerate()}


children = []
for _ in range(4):
    child = ctypes.PyDLL(None).fork()
    if not child:
        try:
            worker()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
served.inc()
"""


def test_workers_of_a_master_that_tells_python_of_no_fork_lose_and_share_nothing(tmp_path):
    """Each has a store of its own from its first record on, whichever thread makes it; the master has no thread."""
    done = subprocess.run(
        [sys.executable, "-c", MASTER], env={"RONDO_DIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "app").iterdir())) == 5
    with StoresReader(tmp_path) as reader:

        def newest(selector):
            return sorted(each.values[-1] for each in reader.query(selector, "all"))

        assert newest("served_total") == [2, *[1000] * 4]
        assert newest("coded_total") == [1000] * 4
        assert newest("level") == [1, *[1000] * 4]
        counts = reader.query("served_seconds", "all", fn="count", open=True)
        assert sorted(each.values.sum() for each in counts) == [0, *[1000] * 4]
