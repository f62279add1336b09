"""A rondo.toml decides what is recorded where, and where it goes: of `rondo vmm`, and of a program's own store."""

import os
import threading
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, StoreReader, open_store
from rondo_core.errors import PluginNotFoundError, SchemaError, UsageError

SCHEMAS = """
[[schema]]
name = "gauges"
kind = "gauge"
max_series = 8
tiers = [["1s", "2m"], ["10s", "1h"]]

[[schema]]
name = "counters"
kind = "counter"
max_series = 16
tiers = [["1s", "2m"]]
"""


@pytest.fixture
def toml(tmp_path):
    def write(text, name="rondo.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def series_of(path):
    with StoreReader(path) as reader:
        return {series.name for series in reader.registry}


def sent(requests):
    return {(series, stamp) for request in requests for series, stamp, _ in request if stamp != "ended"}


@pytest.mark.emulator
def test_a_vm_is_kept_recorded_and_sent_as_the_file_says(site, rondo, toml, ledger, tmp_path):
    """Path and tiers of the store; a recorder switched off, one switched on; two exporters, one of rollups."""
    toml(SCHEMAS, "schemas.toml")
    toml(
        "[store]\npath = 'kept.rondo'\nschemas = 'schemas.toml'\n[recorders.process]\n[recorders.vmm_uptime]\nenabled = false\n"
        f"[exporters.raw]\nplugin = 'ledger'\npath = '{tmp_path}/raw'\n"
        f"[exporters.uptime]\nplugin = 'ledger'\npath = '{tmp_path}/some'\nmatch = 'process_threads'\n"
    )
    done = rondo("vmm", "--machine", "soft", "--duration", "1", "--external-labels", "site=lab")
    assert "rondo: raw: " in done.stderr
    assert "rondo: uptime: " in done.stderr
    there = series_of(tmp_path / "kept.rondo")
    assert {"process_threads", "vcpu_exits_total"} <= there
    assert not there & {"vmm_uptime_seconds", "vmm_rss_bytes"}
    with StoreReader(tmp_path / "kept.rondo") as reader:
        assert [schema.name for schema in reader.meta.schemas] == ["rondo", "gauges", "counters"]
        stamps = reader.query("process_threads")[0].timestamps_ns.tolist()
    assert len(stamps) >= 2
    assert sent(ledger("some")) == {('process_threads{site="lab"}', stamp) for stamp in stamps}
    assert sent(ledger("some")) < sent(ledger("raw"))


@pytest.mark.emulator
def test_each_of_several_machines_sends_under_its_name(site, rondo, toml, ledger, tmp_path):
    """The label `instance` is on everything that leaves, whatever the exporter knows of labels."""
    toml(f"[store]\npath = 'fleet'\n[exporters.ledger]\npath = '{tmp_path}/all'\n")
    rondo("vmm", "--machine", "soft", "--duration", "1", "--count", "2", "--stagger", "10ms")
    uptimes = {series for series, _ in sent(ledger("all")) if series.startswith("vmm_uptime_seconds")}
    assert uptimes == {f'vmm_uptime_seconds{{instance="fleet-{index}"}}' for index in range(2)}


@pytest.mark.emulator
def test_a_recorder_that_is_switched_on_has_room_in_a_machines_store(rondo, toml, tmp_path):
    """Beside the machine's own series, with the schemas that `rondo vmm` makes."""
    toml("[recorders.process]\n")
    done = rondo("vmm", "--machine", "soft", "--duration", "1")
    assert "failed" not in done.stderr
    assert {"process_threads", "vmm_rss_bytes"} <= series_of(tmp_path / "vmm.rondo")


@pytest.mark.parametrize(
    ("text", "status", "what"),
    [
        (
            "[store]\ntick_interval = '2s'\n",
            2,
            "store.tick_interval: a machine ticks its store each second; leave it out",
        ),
        ("[recorders.vmm_uptim]\n", 1, "vmm_uptim: no such plugin in rondo.recorders; installed: "),
        ("[recorders.vmm_uptime]\nenabled = 'perhaps'\n", 2, "recorders.vmm_uptime.enabled: 'perhaps' is not true or"),
        ("[exporters.ledger]\n", 2, "exporters.ledger.path: missing; where to write"),
        ("[exporters.legder]\npath = 'x'\n", 1, "legder: no such plugin in rondo.exporters; installed: "),
    ],
)
def test_a_mistake_in_the_file_is_said_before_the_machine_starts(site, rondo, toml, text, status, what):
    """One line that names table and key; nothing has run."""
    toml(text)
    failed = rondo("vmm", "--machine", "soft", "--duration", "1", status=status)
    assert what in failed.stderr
    assert failed.stdout == ""


def test_a_programs_own_store_is_opened_with_everything_in_one_call(site, toml, ledger, tmp_path):
    """Where and how it is kept, its recorders, its exporters; all is sent when the block has ended, its end included."""
    toml(SCHEMAS, "schemas.toml")
    config = toml(
        "[store]\npath = 'own.rondo'\nschemas = 'schemas.toml'\ntick_interval = '100ms'\nsync_interval = '1s'\n"
        f"[recorders.process]\n[exporters.ledger]\npath = '{tmp_path}/ledger'\n"
    )
    before = set(threading.enumerate())
    with open_store(config, writer="mine") as store:
        store.counter("jobs_total").inc(3)
        assert {thread.name for thread in threading.enumerate()} >= {"rondo-tick", "rondo-export-ledger"}
    assert before.issuperset(threading.enumerate())
    with StoreReader(tmp_path / "own.rondo") as reader:
        assert reader.runs()[-1].writer == "mine"
        stamps = reader.query("jobs_total")[0].timestamps_ns.tolist()
    requests = ledger()
    assert {("jobs_total", stamp) for stamp in stamps} <= sent(requests)
    assert "process_threads" in {series for series, _ in sent(requests)}
    assert "jobs_total" in {series for request in requests for series, stamp, _ in request if stamp == "ended"}
    with open_store(config) as store:  # goes on in the same store
        assert store.counter("jobs_total").value == 3


def test_what_a_block_raises_is_on_record_and_the_rest_is_sent(site, toml, ledger, tmp_path):
    """The error goes on to the caller."""
    config = toml(f"[store]\npath = 'own.rondo'\n[exporters.ledger]\npath = '{tmp_path}/ledger'\n")

    def work():
        with open_store(config) as store:
            store.gauge("g").set(1.0)
            raise LookupError

    with pytest.raises(LookupError):
        work()
    with StoreReader(tmp_path / "own.rondo") as reader:
        assert reader.runs()[-1].ended.startswith("raised LookupError (")
    assert "g" in {series for series, _ in sent(ledger())}


def test_a_store_that_cannot_be_opened_as_the_file_says_is_an_error(site, toml, tmp_path):
    """Other tiers than those on disk; a plugin that is not there, or a wrong key: each is named."""
    own = "[store]\npath = 'own.rondo'\n"
    with open_store(toml(own), schemas=[Schema("g", "gauge", 2)], clock=ManualClock()) as store:
        store.gauge("g").set(1.0)
    toml(SCHEMAS, "schemas.toml")
    for text, error, what in (
        (f"{own}schemas = 'schemas.toml'\n", SchemaError, "own.rondo"),
        (f"{own}[exporters.nowhere]\n", PluginNotFoundError, "nowhere"),
        (f"{own}[exporters.ledger]\n", UsageError, r"exporters\.ledger\.path: missing"),
        (f"{own}[recorders.nowhere]\n", PluginNotFoundError, "nowhere"),
    ):
        with pytest.raises(error, match=what):
            open_store(toml(text)).__enter__()
    with open_store(toml(own)) as store:  # none of them has kept it
        assert store.run.number > 1


@pytest.mark.parametrize("ticked", [True, False], ids=["that live for seconds", "that end at once"])
def test_each_child_of_a_program_sends_what_it_records(ticked, site, toml, ledger, tmp_path):
    """Through exporters of its own, under its store's name, its end included; nothing of the parent's is mapped there."""
    config = toml(
        f"[store]\npath = 'own.rondo'\ntick_interval = '50ms'\n[exporters.ledger]\npath = '{tmp_path}/ledger'\n"
    )
    with open_store(config) as store:
        counter = store.counter("jobs_total")
        counter.inc()
        child = os.fork()
        if not child:
            status = 1
            try:
                counter.inc(10)
                names = set()
                while ticked and "rondo-export-ledger" not in names:
                    names = {thread.name for thread in threading.enumerate()}
                held = f"{tmp_path}/own.rondo/" in Path("/proc/self/maps").read_text()
                store.close()
                status = 2 if held else 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    (beside,) = (path for path in tmp_path.glob("own*.rondo") if path != tmp_path / "own.rondo")
    theirs = f'jobs_total{{instance="{beside.stem}"}}'
    values = {series: value for request in ledger() for series, stamp, value in request if stamp != "ended"}
    assert (values["jobs_total"], values[theirs]) == (1.0, 10.0)
    ended = {series for request in ledger() for series, stamp, _ in request if stamp == "ended"}
    assert {"jobs_total", theirs} <= ended
