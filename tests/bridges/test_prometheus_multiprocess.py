"""prometheus_client over several processes, its values in stores: what all of them counted, however they ended."""

import json
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import values as client_values

from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install, mark_process_dead
from rondo_bridges.prometheus_multiprocess.ended import KEPT
from rondo_core import StoresReader
from rondo_core.errors import UsageError

PROGRAMS = Path(__file__).with_name("worker_programs.py")


def run(name, directory, *arguments):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAMS), name, str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Values in stores below a directory, for the instruments that a test makes."""
    monkeypatch.setattr(client_values, "ValueClass", client_values.MutexValue)
    install(tmp_path / "m", max_totals=24, max_gauges=4)
    yield tmp_path / "m"
    store = client_values.ValueClass.store
    if store is not None:
        store.close()


@pytest.fixture
def registry():
    return CollectorRegistry()


def scraped(directory):
    collected = CollectorRegistry()
    MultiProcessCollector(collected, directory)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for metric in collected.collect()
        for sample in metric.samples
    }


def test_a_scrape_says_what_prometheus_client_itself_says(tmp_path):
    """Three workers and their parent, of all kinds of instruments and modes of gauges: while they live, after two have
    retired, and after the third was killed."""
    for name in ("own", "rondo"):
        (tmp_path / name).mkdir()
    own, _ = run("same", tmp_path / "own", "own")
    ours, said = run("same", tmp_path / "rondo", "rondo")
    assert len(own) == len(ours) == 3
    for one, other in zip(own, ours, strict=True):
        assert other == one
    assert said == ""


def test_workers_that_retire_leave_their_totals_and_nothing_else(tmp_path):
    """Disk is the same to the byte from the third worker on, no counter ever falls, and all that was counted is there."""
    number = 36
    found, said = run("retire", tmp_path, str(number))
    looks, sizes = found["looks"], found["sizes"]
    settled = sorted({tuple(each) for each in sizes[2:]})
    assert len(settled) <= 2  # the record of runs of the store of the ended is made whole once, by 60 KiB
    assert {many - few for few, many in zip(settled[0], settled[-1], strict=True)} <= {0, 60 << 10}
    assert len(found["stores"]) <= 3  # the parent's, that of the ended, and a lock
    counted = [name for name in looks[-1] if not name.startswith(("size", "sum"))]
    for before, after in pairwise(looks):
        assert all(before.get(name, 0.0) <= after[name] for name in counted if name in before)
    last = looks[-1]
    assert last["jobs_total{kind=a}"] == sum(range(1, number + 1))
    assert last["jobs_total{kind=b}"] == number / 4
    assert last["took_seconds_count{}"] == number
    assert last["took_seconds_bucket{le=1.0}"] == number - number // 3
    assert last["took_seconds_sum{}"] == sum(each % 3 for each in range(1, number + 1))
    assert last["sum{}"] == number
    shown = [value for name, value in last.items() if name.startswith("size{") and value]
    assert sorted(shown) == list(range(number - KEPT + 1, number + 1))
    assert said == ""


def test_who_is_killed_while_adding_up_loses_and_doubles_nothing(tmp_path):
    """At every line of it; the next process, which may be killed too, does the rest."""
    found, _ = run("killed", tmp_path)
    assert found["kills"] > 50
    assert found["found"]["jobs_total{}"] == found["sent"]
    assert found["found"]["sum{}"] == found["rounds"]
    assert [name for name in found["stores"] if "ended" not in name] == []


def test_counters_are_series_of_a_store_too(installed, registry):
    """With their names and labels, so that `rondo query DIRECTORY` and every exporter take them."""
    counter = Counter("jobs", "Jobs.", ["kind"], registry=registry)
    counter.labels("a").inc(3)
    counter.labels("a").inc()
    with StoresReader(installed) as stores:
        (found,) = stores.query("jobs_total{kind=a}")
        assert found.values[-1] == 4
        assert found.series.help == "Jobs."


def test_a_reset_counter_and_observations_below_nought_are_what_they_are(installed, registry):
    """As with prometheus_client's own values."""
    counter = Counter("jobs", "Jobs.", registry=registry)
    histogram = Histogram("change", "Change.", buckets=[0], registry=registry)
    counter.inc(7)
    counter.reset()
    counter.inc(2)
    for value in (3, -5, -1):
        histogram.observe(value)
    found = scraped(installed)
    assert found["jobs_total",] == counter._value.get() == 2
    assert found["change_sum",] == -3
    assert found["change_bucket", "0.0"] == 2


def test_what_has_no_room_is_counted_in_memory_and_said_once(installed, registry, caplog):
    """No call raises, and each process reads its own values as before."""
    counter = Counter("jobs", "Jobs.", ["n"], registry=registry)
    gauge = Gauge("depth", "Depth.", ["n"], registry=registry)
    for turn in range(2):
        for number in range(200):
            counter.labels(number).inc()
            gauge.labels(number).inc(2)
            gauge.labels(number).dec()
        assert all(counter.labels(number)._value.get() == turn + 1 for number in range(200))
        assert all(gauge.labels(number)._value.get() == turn + 1 for number in range(200))
    found = scraped(installed)
    assert sum(name[0] == "jobs_total" for name in found) == 24
    assert len([record for record in caplog.records if record.name == "rondo.bridges"]) <= 1


def test_a_directory_that_cannot_be_made_stops_no_program(tmp_path, registry, monkeypatch, caplog):
    """Values stay in memory, and it is said."""
    monkeypatch.setattr(client_values, "ValueClass", client_values.MutexValue)
    (tmp_path / "file").write_text("")
    install(tmp_path / "file" / "m")
    counter, gauge = Counter("jobs", "Jobs.", registry=registry), Gauge("depth", "Depth.", registry=registry)
    for _ in range(3):
        counter.inc()
        gauge.set(5)
    assert registry.get_sample_value("jobs_total") == 3
    assert registry.get_sample_value("depth") == 5
    assert "prometheus_multiprocess" in caplog.text


def test_the_directory_is_the_one_that_prometheus_client_is_given(tmp_path, monkeypatch):
    """One is installed, and kept to; none is an error that says where one is said."""
    monkeypatch.setattr(client_values, "ValueClass", client_values.MutexValue)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(UsageError, match="PROMETHEUS_MULTIPROC_DIR"):
        install()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "m"))
    install()
    install(tmp_path / "m")
    assert client_values.ValueClass.directory == tmp_path / "m"
    with pytest.raises(UsageError, match="keep to one"):
        install(tmp_path / "other")
    mark_process_dead(1)
    assert scraped(tmp_path / "m") == {}


def test_a_store_that_cannot_be_read_is_left_and_said(installed, registry, caplog):
    """The others are shown, and added up, all the same."""
    Counter("jobs", "Jobs.", registry=registry).inc(2)
    broken = installed / "1-1-x.rondo"
    broken.mkdir()
    from rondo_core.model import META_FILE

    (broken / META_FILE).write_bytes(b"no store")
    assert scraped(installed)["jobs_total",] == 2
    assert broken.exists()
    assert "1-1-x.rondo stays where it is" in caplog.text


def test_values_are_made_and_recorded_by_many_threads(installed, registry):
    """None is lost, whether its store was opened before it or by it, and while gauges are kept up."""
    counter = Counter("jobs", "Jobs.", ["n"], registry=registry)
    gauge = Gauge("level", "Level.", multiprocess_mode="sum", registry=registry)
    begin = threading.Barrier(8)

    def work():
        begin.wait()
        for number in range(1500):
            counter.labels(number % 20).inc()
            gauge.inc(2)
            gauge.dec()
            if number % 100 == 0 and client_values.ValueClass.store is not None:
                client_values.ValueClass.store.tick()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = scraped(installed)
    assert [found["jobs_total", str(number)] for number in range(20)] == [600] * 20
    assert found["level",] == 12_000
    assert not client_values.ValueClass.store.view.series("rondo_plugin_failures_total")
