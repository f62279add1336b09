"""A receiver that answers badly never changes what the VM does, nor how the command ends."""

import re
import subprocess
import sys

import pytest

from rondo_core import StoreReader
from rondo_core.export.cursor import load_cursor
from rondo_core.testing import HttpReceiver

pytestmark = pytest.mark.emulator


STATUSES = [400, 401, 404, 429, 503]


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Run a machine a status, all at the same time, each beside a server that gives every request that answer."""
    servers, running, ended = [], {}, {}
    try:
        for status in STATUSES:
            folder = tmp_path_factory.mktemp(str(status))
            (folder / "rondo.toml").write_text("[exporters.prometheus]\ndeadline = '1s'\n")
            servers.append(HttpReceiver("/api/v1/write"))
            servers[-1].take = lambda *_, status=status: (status, {}, b"no")
            command = [sys.executable, "-m", "rondo_cli", "vmm", "--store", folder / "vm.rondo", "--machine", "soft"]
            command += ["--duration", "1", "--remote-write", servers[-1].url]
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder
            )
            running[status] = folder / "vm.rondo", process
        for status, (path, process) in running.items():
            ended[status] = path, process.communicate(timeout=60)[1], process.returncode
        yield ended
    finally:
        for _, process in running.values():
            process.kill()
            process.wait()
        for server in servers:
            server.close()


@pytest.mark.parametrize("status", STATUSES)
def test_the_vm_runs_on_and_the_failure_is_counted_and_shown(machines, status):
    """Whatever it answers: the VM's own exit status, every second recorded, the failure at the end, the cursor unmoved."""
    path, said, exit_status = machines[status]
    assert exit_status == 0, said
    assert re.search(r"rondo: prometheus: \d+ failed requests?, the last: ", said)
    assert "Traceback" not in said
    assert load_cursor(path, "prometheus").positions == {}
    with StoreReader(path) as reader:
        assert len(reader.query("vmm_uptime_seconds")[0]) >= 2
