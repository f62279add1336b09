"""Several machines of one command, and the API beside one: each has its own, and none's end is another's."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_core import StoreReader

pytestmark = pytest.mark.emulator
BOTH = pytest.mark.parametrize("own", [[], ["--processes"]], ids=["threads", "processes"])


@pytest.fixture
def start(tmp_path):
    """Start a `rondo vmm` whose lines of standard error are read one by one; it is ended with the test."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", "soft", "--duration", "600", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(process, words):
    """Read lines up to the one with these words, and give all of them."""
    lines = []
    for line in process.stderr:
        lines.append(line.strip())
        if words in line:
            return lines
    raise AssertionError(lines)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


def address(line):
    return re.search(r"http://\S+(?=/info)", line)[0]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ends(path):
    with StoreReader(path) as reader:
        return [each.ended for each in reader.runs()]


def test_the_api_answers_while_the_machine_runs_and_ends_with_it(start, tmp_path):
    """On a port that was free, of the live store; SIGTERM leaves neither the machine nor the server."""
    process = start("--api-port", "0", "--store", "vm.rondo")
    url = address(until(process, "serving")[-1])
    until(process, "machine soft")
    health = get(f"{url}/health")
    assert (health["status"], health["writer_pid"]) == ("live", process.pid)
    assert {"vmm_uptime_seconds", "vcpu_exits_total"} <= {each["name"] for each in get(f"{url}/info")["series"]}
    servers = [os.pidfd_open(child) for child in children(process.pid)]
    assert len(servers) == 1
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    for each in servers:
        assert select.select([each], [], [], 30)[0]
        os.close(each)
    assert ends(tmp_path / "vm.rondo") == ["signal 15"]


def test_the_api_does_not_outlive_a_machine_that_is_killed(start, tmp_path):
    """What was killed is named by the next run, which goes on in the same store."""
    process = start("--api-port", "0", "--store", "vm.rondo")
    until(process, "machine soft")
    servers = [os.pidfd_open(child) for child in children(process.pid)]
    process.kill()
    for each in servers:
        assert select.select([each], [], [], 30)[0]
        os.close(each)
    process.wait(30)
    again = start("--store", "vm.rondo", "--timeout", "0.1s")
    said = until(again, "timeout after")
    assert f"rondo: vm.rondo: process {process.pid} is gone without closing run 1; what it recorded is kept" in said
    assert again.wait(30) == 0
    assert ends(tmp_path / "vm.rondo") == ["", "timeout"]


def test_a_busy_port_is_one_line_before_any_machine_starts(tmp_path, capfd):
    """Also the second of two; nothing is recorded then."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for arguments in (["--api-port", str(port)], ["--api-port", str(port - 1), "--count", "2"]):
            assert run(["vmm", "--store", str(tmp_path / "s"), *arguments]) == 2
            said = capfd.readouterr()
            assert re.fullmatch(r"rondo: port \d+ on 127\.0\.0\.1: Address already in use; choose another\n", said.err)
            assert said.out == ""
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--api-port", "0", "--no-metrics"], "nothing is recorded with --no-metrics"),
        (["--api-port", "65535", "--count", "2"], "at most 65535"),
        (["--count", "2", "--input", "-"], "one console for several machines"),
        (["--processes"], "give --count too"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, capfd, arguments, words):
    """In one line, before anything is made."""
    assert run(["vmm", "--store", str(tmp_path / "s"), *arguments]) == 2
    assert words in capfd.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_store_is_no_directory_of_stores(tmp_path, store, capfd):
    """One machine's store is not mixed with those of many."""
    assert run(["vmm", "--store", str(store.path), "--count", "2"]) == 2
    assert "give --store a directory, in which each machine gets its own" in capfd.readouterr().err


@BOTH
def test_each_machine_has_its_store_its_port_and_its_name(start, tmp_path, own):
    """All end in order at SIGTERM, and the command with that signal's status."""
    process = start("--count", "3", "--store", "fleet.rondo", "--api-port", "0", "--stagger", "10ms", *own)
    lines = until(process, "fleet-2: serving")
    urls = [address(line) for line in lines if "serving" in line]
    stores = [tmp_path / "fleet.rondo" / f"fleet-{index}" for index in range(3)]
    for url, path in zip(urls, stores, strict=True):
        (served,) = get(f"{url}/info")["stores"]
        assert served["path"] == str(path.relative_to(tmp_path))
    assert len({get(f"{url}/health")["writer_pid"] for url in urls}) == (3 if own else 1)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert [ends(path) for path in stores] == [["signal 15"]] * 3


@pytest.mark.parametrize(("number", "words"), [(signal.SIGTERM, "fleet-1: signal 15"), (signal.SIGKILL, "signal 9")])
def test_a_process_that_is_stopped_or_killed_touches_no_other(start, tmp_path, number, words):
    """The others record on, to their own ends."""
    process = start("--count", "3", "--store", "fleet", "--stagger", "10ms", "--processes")
    said = until(process, "fleet-2: machine soft")
    pids = [int(re.search(rf"fleet-{index}: process (\d+)", "\n".join(said))[1]) for index in range(3)]
    os.kill(pids[1], number)
    until(process, words)
    assert all(Path(f"/proc/{pids[index]}").exists() for index in (0, 2))
    for index in (0, 2):
        os.kill(pids[index], signal.SIGTERM)
    assert process.wait(60) == (number == signal.SIGKILL)
    assert [ends(tmp_path / "fleet" / f"fleet-{index}") for index in range(3)] == [
        ["signal 15"],
        ["signal 15"] if number == signal.SIGTERM else [""],
        ["signal 15"],
    ]


def test_machines_in_processes_end_in_order_when_their_command_is_killed(start, tmp_path):
    """None is left running, and each store says how its run ended."""
    process = start("--count", "2", "--store", "fleet", "--processes")
    said = "\n".join(until(process, "fleet-1: machine soft"))
    descriptors = [os.pidfd_open(int(pid)) for pid in re.findall(r"fleet-\d: process (\d+)", said)]
    process.kill()
    for each in descriptors:
        assert select.select([each], [], [], 60)[0]
        os.close(each)
    assert [ends(tmp_path / "fleet" / f"fleet-{index}") for index in range(2)] == [["signal 15"]] * 2


@BOTH
def test_one_that_cannot_start_is_said_and_the_others_go_on(start, tmp_path, own):
    """A store that another process writes fails one machine; half-made stores of killed processes are cleared away."""
    first = start("--store", "fleet/fleet-1")
    until(first, "machine soft")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    half = tmp_path / "fleet" / f".fleet-0.{dead.pid}-0123abcd.unfinished"
    half.mkdir()
    process = start("--count", "2", "--store", "fleet", "--timeout", "1s", *own)
    said = "\n".join(until(process, "machines ended"))
    assert process.wait(60) == 1
    assert f"fleet-1: fleet/fleet-1: process {first.pid} writes this store" in said
    assert "rondo: 2 machines ended, 1 of them failed" in said
    assert f"process {dead.pid} was killed while it made that store" in said
    assert not half.exists()
    assert ends(tmp_path / "fleet" / "fleet-0") == ["timeout"]


def test_each_machine_writes_to_a_disk_of_its_own(tmp_path, capfd):
    """Made beside the name that was given, a number in each."""
    command = ["vmm", "--machine", "soft", "--duration", "1", "--count", "2", "--no-metrics", "--disk"]
    assert run([*command, str(tmp_path / "data.img")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-0.img", "data-1.img"]
    out = capfd.readouterr().out.splitlines()
    assert {"vmm-0: rondo-guest done", "vmm-1: rondo-guest done"} <= set(out)


@pytest.mark.parametrize("machine", ["soft", pytest.param("kvm", marks=pytest.mark.kvm)])
def test_a_further_machine_in_the_process_costs_little(tmp_path, machine):
    """One machine fits into 45 MB with all that its recording needs, its guest's own few pages with it; 8 more into 16."""
    said = {}
    for count in (1, 9):
        path = tmp_path / str(count)
        options = ["--machine", machine, "--count", str(count), "--stagger", "10ms", "--duration", "3", "--store", path]
        subprocess.run([sys.executable, "-m", "rondo_cli", "vmm", *options], check=True, capture_output=True)
        with StoreReader(path if count == 1 else path / f"{path.name}-8") as reader:
            (rss,) = reader.query("vmm_rss_bytes", tier=0)
            said[count] = max(rss.values)
    assert said[1] < 45e6
    assert said[9] - said[1] < 8 * 2e6


def test_a_machine_in_a_process_of_its_own_imports_nothing_to_record_and_fold(tmp_path):
    """All of it is there before the first fork, once for all; without an exporter numpy is not."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from rondo_cli.vmm_many import _ForkedVms\nfrom rondo_cli.vmm_run import VmRequest, VmRun\n"
        "from rondo_core.plugins import Config\nfrom rondo_vmm.config import VmConfig\n"
        "config = VmConfig(machine='soft', cmdline='workload_duration=1')\n"
        "request = VmRequest(config, Path(sys.argv[1]), Config())\n"
        "_ForkedVms([], request)\nbefore = set(sys.modules)\n"
        "status = VmRun(request, lambda data: None, '', on_recording=lambda path: None).run().exit_status\n"
        "more = sorted(each for each in set(sys.modules) - before if each.startswith('rondo_core'))\n"
        "print('loaded', status, more, 'numpy' in before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "vm")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.splitlines()[-1] == "loaded 0 [] False"
    with StoreReader(tmp_path / "vm") as reader:  # a window was folded, as the store closed
        assert reader.query("vcpu_exits_total{reason=io}", tier=1)[0].values[-1] > 100
