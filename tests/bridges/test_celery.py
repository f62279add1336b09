"""Tasks of Celery: eager ones, and those of a worker of several processes."""

import os
import subprocess
import sys

import pytest

from rondo_core import StoresReader
from rondo_core.storage.runs import read_runs

celery = pytest.importorskip("celery")
TaskSignals = pytest.importorskip("rondo_bridges.celery").TaskSignals


@pytest.fixture
def app():
    app = celery.Celery("t", set_as_current=False)
    app.conf.task_always_eager = True
    return app


@pytest.fixture
def listening(store):
    listening = TaskSignals(store)
    yield listening
    listening.close()


def test_tasks_are_counted_by_name_and_state(app, listening, recorded):
    """Those that succeed, fail, and ask to be run again; each is timed, and none stays in progress."""

    @app.task(name="add")
    def add(a, b):
        assert recorded.last("celery_tasks_in_progress") == 1
        return a + b

    @app.task(name="fail")
    def fail():
        raise LookupError("no")

    @app.task(name="again", bind=True, max_retries=2)
    def again(self):
        raise self.retry(countdown=0)

    for _ in range(3):
        assert add.delay(1, 2).get() == 3
    fail.delay()
    again.delay()
    counts = recorded.counts("celery_tasks_total")
    assert counts["SUCCESS", "add"] == 3
    assert counts["FAILURE", "fail"] == 1
    assert counts["RETRY", "again"] == 2
    assert recorded.total("celery_task_retries_total{task=again}") == 2
    assert recorded.last("celery_tasks_in_progress") == 0
    assert recorded.last("celery_task_name_duration_seconds{task=add}", "count") == 3
    assert recorded.last("celery_task_duration_seconds", "count") >= 6
    assert listening.failures.count == 0


def test_a_broken_store_stops_no_task(app, store, caplog):
    """It is counted, and said once."""
    store.close()
    listening = TaskSignals(store)
    try:

        @app.task(name="seven")
        def task():
            return 7

        for _ in range(3):
            assert task.delay().get() == 7
    finally:
        listening.close()
    assert listening.failures.count >= 3
    assert len([record for record in caplog.records if record.name == "rondo.bridges"]) == 1


WORKER = """
import sys
from celery import Celery
from rondo_bridges.celery import TaskSignals
from rondo_core import Store

base = sys.argv[1]
app = Celery("w", broker="filesystem://", backend=f"file://{base}/results")
app.conf.broker_transport_options = {"data_folder_in": f"{base}/queue", "data_folder_out": f"{base}/queue",
                                     "control_folder": f"{base}/control"}
app.conf.worker_max_tasks_per_child = 5
TaskSignals(lambda: Store.for_process(f"{base}/metrics"))


@app.task(name="work")
def work(n):
    return n


if sys.argv[2] == "send":
    results = [work.delay(n) for n in range(40)]
    assert sorted(each.get(timeout=120) for each in results) == list(range(40))
    app.control.shutdown()
else:
    app.worker_main(["worker", "-P", "prefork", "-c", "2", "--loglevel=WARNING", "--without-gossip",
                     "--without-mingle", "--without-heartbeat"])
"""


def test_each_process_of_a_worker_counts_what_it_ran(tmp_path):
    """Processes that retire after five tasks included: the sum over their stores is what was sent, exactly.

    How these ended is on record, though they leave by os._exit.
    """
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    script = tmp_path / "w.py"
    script.write_text(WORKER)
    environment = {**os.environ, "C_FORCE_ROOT": "1"}
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    with subprocess.Popen(
        [*command, "worker"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as worker:
        try:
            sent = subprocess.run(
                [*command, "send"], env=environment, capture_output=True, text=True, check=False, timeout=150
            )
            said, _ = worker.communicate(timeout=60)
        finally:
            worker.kill()
    assert sent.returncode == 0, sent.stderr + said
    with StoresReader(tmp_path / "metrics") as stores:
        assert len(stores.paths) >= 2
        counts = stores.query("celery_tasks_total{state=SUCCESS,task=work}")
        assert sum(float(each.values[-1]) for each in counts) == 40
    ends = [read_runs(path / "runs")[-1].ended for path in (tmp_path / "metrics").glob("*.rondo")]
    assert ends.count("returned") >= 40 // 5 - 2  # but for the pool's last, which the worker may kill
