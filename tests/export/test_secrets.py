"""Credentials stay where they were put: in nothing that is printed, logged, listed, kept in a store, or shown by `ps`."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store
from rondo_core.testing import HttpReceiver

SECRETS = ("hidden-token", "hidden-user", "hidden-password", "hidden-header", "hidden-key")


class Echo(HttpReceiver):
    """Refuses everything, repeats what it was sent, and keeps a request waiting until it is told to go on."""

    def __init__(self):
        self.came, self.go = threading.Event(), threading.Event()
        super().__init__("/w")

    def take(self, path, headers, body):
        self.came.set()
        self.go.wait(30)
        return 401, {}, f"{path} {headers['Authorization']} {headers['X-Key']}".encode()


@pytest.fixture
def echo():
    receiver = Echo()
    yield receiver
    receiver.go.set()
    receiver.close()


@pytest.fixture
def demo(tmp_path):
    clock = ManualClock()
    with Store(tmp_path / "demo.rondo", [Schema("g", "gauge", 2)], clock=clock) as store:
        store.gauge("g").set(1.0)
    return store.path


def family(pid):
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def start(tmp_path, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "rondo_cli", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def check(running, echo, tmp_path, *, on_command_line=False):
    """While a request is under way look at the processes' titles; then let it end, and look at all that was left."""
    try:
        assert echo.came.wait(60), running.communicate(timeout=5)
        for pid in family(running.pid):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            assert on_command_line or not any(secret in title for secret in SECRETS), title
            assert "rondo_cli" in title or pid != running.pid
        echo.go.set()
        said = "".join(running.communicate(timeout=60))
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    said += subprocess.run(
        [sys.executable, "-m", "rondo_cli", "plugins", "--store", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    kept = "".join(
        path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".toml"
    )
    assert "answered 401" in said
    assert ("a credential on the command line" in said) == on_command_line
    for secret in SECRETS:
        assert secret not in said
        assert secret not in kept


@pytest.mark.parametrize("plugin", ["prometheus", "otlp"])
def test_of_a_config_nothing_is_shown(plugin, echo, demo, tmp_path):
    """Token in the environment, header in the file: a failed export, its cursor, `rondo plugins`, the process's title."""
    pytest.importorskip(f"rondo_exporter_{plugin}")
    key = "url" if plugin == "prometheus" else "endpoint"
    (tmp_path / "rondo.toml").write_text(
        f"[exporters.{plugin}]\n{key} = '{echo.url}?k=hidden-key'\nbearer_token = '${{TOKEN}}'\n"
        "headers = {X-Key = 'hidden-header'}\n"
    )
    check(start(tmp_path, "export", demo, TOKEN="hidden-token"), echo, tmp_path)


def test_of_a_command_line_nothing_is_shown_but_by_ps_and_that_is_said(echo, demo, tmp_path):
    """Neither in what it says nor in what it leaves; that others see the command line while it runs is a warning."""
    pytest.importorskip("rondo_exporter_prometheus")
    url = echo.url.replace("//", "//hidden-user:hidden-password@") + "?k=hidden-key"
    running = start(tmp_path, "export", demo, "--to", "prometheus", "--url", url, "-o", "headers=X-Key=hidden-header")
    check(running, echo, tmp_path, on_command_line=True)


def test_a_credential_in_the_environment_is_not_on_the_command_line(echo, demo, tmp_path):
    """A value that is as a whole ${NAME} is read from there, and `ps` shows the name."""
    pytest.importorskip("rondo_exporter_prometheus")
    arguments = ("--to", "prometheus", "--url", echo.url, "-o", "bearer_token=${TOKEN}")
    check(start(tmp_path, "export", demo, *arguments, TOKEN="hidden-token"), echo, tmp_path)


@pytest.mark.emulator
def test_of_a_machine_that_sends_nothing_is_shown(echo, tmp_path):
    """Neither by the machine's process nor by that of its API."""
    pytest.importorskip("rondo_exporter_prometheus")
    pytest.importorskip("uvicorn")
    url = echo.url.replace("//", "//hidden-user:hidden-password@")
    arguments = ("vmm", "--machine", "soft", "--duration", "1", "--store", "vm.rondo", "--api-port", "0")
    check(start(tmp_path, *arguments, "--remote-write", url), echo, tmp_path, on_command_line=True)
