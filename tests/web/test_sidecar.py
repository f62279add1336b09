"""The sidecar: a child that serves this process's stores, and ends with it."""

import json
import os
import select
import socket
import subprocess
import sys
import urllib.request

import pytest

from rondo_core import Store
from rondo_web import Sidecar, listen


def test_the_api_ends_with_the_process_that_started_it(path):
    """Also where that one is killed: no process and no listening port is left."""
    code = f"""
import os, sys
from rondo_core import Schema, Store, Tier
from rondo_web import Sidecar, listen
store = Store({str(path)!r})
sidecar = Sidecar(store.path, listen("127.0.0.1", 0))
print(sidecar._child.pid, sidecar.url, flush=True)
os.kill(os.getpid(), 9)
"""
    process = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert process.returncode == -9
    child = int(process.stdout.split()[0])
    port = int(process.stdout.split(":")[-1].split("/")[0])
    try:
        descriptor = os.pidfd_open(child)
    except ProcessLookupError:
        pass
    else:
        waiting = select.poll()  # which takes descriptors of any number
        waiting.register(descriptor, select.POLLIN)
        assert waiting.poll(30_000), "it still runs"
        os.close(descriptor)
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


def test_each_store_has_a_port_of_its_own(tmp_path, monkeypatch):
    """Also those whose names look like options; one process serves them all, and close() leaves no port open."""
    monkeypatch.chdir(tmp_path)
    places = []
    for name in ("-a", "--token-file", "c d"):
        with Store(name) as store:
            store.gauge("level").set(float(len(name)))
        places.append((store.path, listen("127.0.0.1", 0)))
    ports = [listening.getsockname()[1] for _, listening in places]
    with Sidecar(*places[0], places[1:]) as sidecar:
        assert sidecar.url == f"http://127.0.0.1:{ports[0]}/metrics"
        for (path, _), port in zip(places, ports, strict=True):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/query?series=level", timeout=30) as answer:
                (found,) = json.load(answer)
            assert [value for _, value in found["points"]] == [len(path.name)]
    for port in ports:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))


def test_a_store_that_cannot_be_served_is_one_line(tmp_path, capfd):
    """The child says so on standard error and ends; the process that records goes on, and close() waits for nothing."""
    with Sidecar(tmp_path / "nope\x1b[2J", listen("127.0.0.1", 0)) as sidecar:
        assert sidecar._child.wait(60) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rondo: ")
    assert "nope\\x1b[2J" in line
