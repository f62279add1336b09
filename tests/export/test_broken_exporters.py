"""Exporters of other people that are broken in every way: recording and the other exporters go on, and it is said."""

import subprocess
import sys
import threading

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Schema, Store, StoreReader, open_store
from rondo_core.export.runner import Runner

BROKEN = {
    "bad_import": "raise RuntimeError('no import today')\n",
    "bad_start": "raise ValueError('no start today')",
    "bad_send": "return Exporter(lambda: 1 / 0)",
    "bad_hang": "return Exporter(threading.Event().wait)",
}
MODULE = """
import threading
from rondo_core import hookimpl

class Exporter:
    def __init__(self, what):
        self.what = what

    def send(self, batch):
        self.what()

    def close(self):
        self.what()

@hookimpl
def rondo_exporter_open(config):
    {}
"""
SAID = {
    "bad_import": "does not import: RuntimeError: no import today",
    "bad_start": "rondo_exporter_open: ValueError: no start today",
    "bad_send": "ZeroDivisionError: division by zero",
    "bad_hang": "bad_hang: hangs",
}


@pytest.fixture
def broken(site, tmp_path):
    """Install the four beside the exporter `ledger`, as a package of their own; configure all five."""
    info = site / "broken_exporters-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-exporters\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[rondo.exporters]\n" + "".join(f"{name} = {name}\n" for name in BROKEN))
    for name, body in BROKEN.items():
        (site / f"{name}.py").write_text(body if name == "bad_import" else MODULE.format(body))
    config = tmp_path / "rondo.toml"
    tables = "".join(f"[exporters.{name}]\ndeadline = '1s'\ninterval = '1s'\n" for name in BROKEN)
    config.write_text(
        f"[store]\npath = 'vm.rondo'\n[agent]\ndeadline = '1s'\n[exporters.ledger]\npath = '{tmp_path}/ledger'\n{tables}"
    )
    yield config
    for name in BROKEN:
        sys.modules.pop(name, None)


@pytest.fixture
def impatient(monkeypatch):
    """In this process a request hangs after half a second."""
    monkeypatch.setattr("rondo_core.export.runner.PATIENCE_S", 0.5)


@pytest.fixture
def rondo_code():
    """Start the command as it is, but that a request hangs after half a second."""
    return "import rondo_core.export.runner as runner; runner.PATIENCE_S = 0.5; from rondo_cli.main import main; main()"


def arrived(requests):
    """Every sample that the exporter `ledger` was sent, and that none was sent twice."""
    sent = [(series, stamp, value) for request in requests for series, stamp, value in request if stamp != "ended"]
    found = {(series, stamp): value for series, stamp, value in sent}
    assert len(found) == len(sent)
    return found


def make(path):
    clock = ManualClock()
    with Store(path, [Schema("g", "gauge", 2)], clock=clock) as store:
        for second in range(20):
            store.gauge("g").set(second)
            clock.advance(1)
    return path


@pytest.mark.emulator
def test_a_vm_is_recorded_and_the_others_send_all_of_it(broken, rondo, ledger, tmp_path, held):
    """The machine's own status; every sample of its store arrived once; each fault is said, and kept for `rondo plugins`."""
    done = rondo("vmm", "--machine", "soft", "--duration", "1", "--config", broken)
    path = tmp_path / "vm.rondo"
    points = held(path)
    assert len([key for key in points if key[0] == "vmm_uptime_seconds"]) >= 2
    assert arrived(ledger()) == points
    for what in SAID.values():
        assert what in done.stderr
    assert "Traceback" not in done.stderr
    with StoreReader(path) as reader:
        for name in ("bad_import", "bad_start"):
            assert reader.query(f"rondo_plugin_failures_total{{plugin={name}}}")[0].values[-1] == 1
    listed = rondo("plugins").stdout
    for name, what in SAID.items():
        assert f"exporters.{name}, vm.rondo: last failure " in listed
        assert what in listed
    assert rondo("export-status", path).stdout.count(": last failure ") == len(BROKEN)


def test_an_export_goes_through_the_others_and_ends(broken, rondo, ledger, tmp_path, impatient, capsys):
    """Each fault is said once the others are through; the status is 1."""
    path = make(tmp_path / "demo.rondo")
    failed = rondo("export", path, "--config", broken, "--deadline", "1s", status=1)
    for what in SAID.values():
        assert what in failed.stderr
    assert "Traceback" not in failed.stderr
    assert sum(series == "g" for series, _ in arrived(ledger())) == 20
    assert run(["export", str(path), "--to", "bad_hang", "--deadline", "500ms"]) == 1
    assert "bad_hang: hangs" in capsys.readouterr().err


def test_an_agent_goes_on_with_the_others_and_keeps_what_they_have_not_all(broken, rondo, ledger, tmp_path):
    """A walk ends; the stores are exported through what works, and stay, since not every exporter has them."""
    (tmp_path / "stores").mkdir()
    paths = [make(tmp_path / "stores" / f"{name}.rondo") for name in "ab"]
    broken.write_text(broken.read_text().replace("[agent]\n", "[agent]\nafter = 'delete'\n"))
    failed = rondo("agent", tmp_path / "stores", "--config", broken, "--once", status=1)
    for what in SAID.values():
        assert what in failed.stderr
    found = arrived(ledger())
    assert {name: sum(series == f'g{{instance="{name}"}}' for series, _ in found) for name in "ab"} == {
        "a": 20,
        "b": 20,
    }
    assert all(path.exists() for path in paths)


def test_a_program_of_ones_own_records_and_ends(broken, ledger, tmp_path, impatient, caplog):
    """`open_store`: the block runs, the store is closed, what works has sent all; each fault is logged."""
    with open_store(broken) as store:
        store.gauge("g").set(4.0)
    assert store.closed
    assert [value for (series, _), value in arrived(ledger()).items() if series == "g"] == [4.0]
    for what in SAID.values():
        assert what in caplog.text


def test_what_is_wrong_with_an_import_is_in_the_list_itself(broken, rondo):
    """Distribution, version and the reason; the others are listed as usable."""
    rows = {line.split()[1]: line for line in rondo("plugins").stdout.splitlines() if line.startswith("exporters ")}
    assert rows["bad_import"].split()[2:4] == ["broken-exporters", "0.3"]
    assert rows["bad_import"].endswith(SAID["bad_import"])
    assert rows["ledger"].endswith("ok")


def test_an_exporter_that_comes_back_after_it_was_given_up_moves_nothing_on(tmp_path, impatient):
    """What hung at the end of the block may return later: the cursor is where its request ended, and nothing is sent twice."""
    path, came = make(tmp_path / "demo.rondo"), threading.Event()
    sent = []

    class Slow:
        def send(self, batch):
            sent.append(batch.n_samples)
            came.wait()

        def close(self):
            pass

    with StoreReader(path) as reader:
        runner = Runner(reader, Slow(), "slow", max_samples=5, match="g")
        outcome = runner.close(1, 0)
        assert outcome.stopped
        assert "hangs" in outcome.error
        came.set()
        runner._thread.join()
        assert sent == [5]
        assert Runner(reader, Slow(), "slow", match="g").finish(1, 0).samples == 15


def test_a_package_that_pip_installs_is_found_and_forgotten(tmp_path):
    """A real package, broken at its import, installed beside rondo: listed with its version and fault, gone when removed."""
    project, target = tmp_path / "project", tmp_path / "target"
    project.mkdir()
    (project / "broken_thing.py").write_text("raise RuntimeError('no import today')\n")
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'broken-thing'\nversion = '2.5'\n[tool.setuptools]\npy-modules = ['broken_thing']\n"
        "[project.entry-points.'rondo.exporters']\nthing = 'broken_thing'\n"
    )
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(project)], check=True, capture_output=True, timeout=120)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); from rondo_cli.main import main; sys.exit(main(['plugins']))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    (row,) = [line for line in said.splitlines() if " thing " in line]
    assert row.split()[:4] == ["exporters", "thing", "broken-thing", "2.5"]
    assert "does not import: RuntimeError: no import today" in row
