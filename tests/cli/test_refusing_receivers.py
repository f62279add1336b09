"""A receiver that answers badly never changes what the VM does, nor how the command ends."""

import re
import subprocess
import sys

import pytest

from rondo_core import StoreReader
from rondo_core.export.cursor import load_cursor
from rondo_core.testing import HttpReceiver

pytestmark = pytest.mark.emulator


@pytest.fixture(params=[400, 401, 404, 429, 503])
def refusing(request):
    """A server on the loopback interface that answers every request with one status."""
    server = HttpReceiver("/api/v1/write")
    server.take = lambda *_: (request.param, {}, b"no")
    yield server.url
    server.close()


def test_the_vm_runs_on_and_the_failure_is_counted_and_shown(refusing, tmp_path):
    """Whatever it answers: the VM's own exit status, every second recorded, the failure at the end, the cursor unmoved."""
    path = tmp_path / "vm.rondo"
    (tmp_path / "rondo.toml").write_text("[exporters.prometheus]\ndeadline = '1s'\n")
    command = [sys.executable, "-m", "rondo_cli", "vmm", "--store", str(path), "--machine", "soft", "--duration", "1"]
    said = subprocess.run(
        [*command, "--remote-write", refusing], check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert said.returncode == 0, said.stderr
    assert re.search(r"rondo: prometheus: \d+ failed requests?, the last: ", said.stderr)
    assert "Traceback" not in said.stderr
    assert load_cursor(path, "prometheus").positions == {}
    with StoreReader(path) as reader:
        assert len(reader.query("vmm_uptime_seconds")[0]) >= 2
