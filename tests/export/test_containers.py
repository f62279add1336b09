"""Stores inside of containers are found by /proc/PID/root: what is live in them is sent, and nothing leads out of them."""

import ctypes
import os
import secrets
import signal
import traceback
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.agent import Agent
from rondo_core.export.containers import in_containers
from rondo_core.plugins.config_file import read_config

SCHEMAS = [Schema("c", "counter", 2, (Tier("1s", "1m"),))]
_CLONE_NEWNS = 0x20000  # Source: unshare(2)
INSIDE = Path("/var/lib") / f"rondo-{secrets.token_hex(4)}"  # no other agent of this machine looks there
HERE = INSIDE.relative_to("/")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: no mount namespaces")


@pytest.fixture
def container():
    """Start processes in mount namespaces and roots of their own, as a container has them."""
    pids = []

    def start(root, record):
        ready, told = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                kept = record()  # noqa: F841 - a store that is live for as long as this process
                if ctypes.CDLL(None).unshare(_CLONE_NEWNS):
                    os.write(told, b"-")
                    os._exit(1)
                os.chroot(root)
                os.chdir("/")
                os.write(told, b"+")
                signal.pause()
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(1)
        pids.append(pid)
        os.close(told)
        said = os.read(ready, 1)
        os.close(ready)
        if said == b"-":
            pytest.skip("no mount namespaces may be made here")
        assert said == b"+"
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def agent(site, tmp_path):
    """An agent over the host's directory, and over INSIDE of each container."""
    (tmp_path / "host").mkdir(exist_ok=True)
    file = tmp_path / "rondo.toml"
    file.write_text(
        f'[agent]\nafter = "delete"\ncontainers = "{INSIDE}"\n[exporters.ledger]\npath = "{tmp_path}/ledger"\n'
    )
    made = Agent(tmp_path / "host", read_config(file))
    yield made
    made.close()


def record(path, *, close=False):
    """Record one sample, long ago."""
    store = Store(path, SCHEMAS, clock=ManualClock())
    store.counter("c_total").inc()
    if close:
        store.close()
    return store


def labels(ledger):
    """The instances that samples were sent under."""
    return {series.partition('instance="')[2].partition('"')[0] for request in ledger() for series, *_ in request}


def test_what_is_live_in_a_container_is_sent_under_its_name_and_stays(container, agent, tmp_path, ledger):
    """Beside the host's own; what has ended in one is sent to its end too, and is the container's to remove."""
    root = tmp_path / "root"
    below = root / HERE
    below.mkdir(parents=True)
    pid = container(root, lambda: (record(below / "live.rondo"), record(below / "ended.rondo", close=True)))
    record(tmp_path / "host/own.rondo", close=True)
    ((name, path),) = [each for each in in_containers(INSIDE)[0] if f"/{pid}/" in str(each.path)]
    assert (path / "live.rondo").samefile(root / HERE / "live.rondo")
    done = agent.run_once()
    assert (done.stores, done.live, done.deleted, done.failures) == (3, 1, 1, [])
    assert labels(ledger) == {"own", f"{name}/live", f"{name}/ended"}
    assert (root / HERE / "ended.rondo").is_dir()


def test_a_volume_of_the_host_that_a_container_has_too_is_sent_once(container, agent, tmp_path, ledger):
    """Under the name that it has on the host."""
    root = tmp_path / "root"
    (root / "var/lib").mkdir(parents=True)
    (tmp_path / "host").rename(root / HERE)
    agent.directory = root / HERE
    container(root, lambda: record(root / HERE / "one.rondo"))
    done = agent.run_once()
    assert (done.stores, done.failures) == (1, [])
    assert labels(ledger) == {"one"}


@pytest.mark.parametrize("link", ["", "../../../host"])
def test_a_link_in_a_container_leads_nowhere(container, agent, tmp_path, link):
    """Whoever is in one cannot have the agent look at another place of the host."""
    root = tmp_path / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "host").mkdir()
    record(tmp_path / "elsewhere/another.rondo", close=True)
    (root / HERE).symlink_to(link or tmp_path / "elsewhere")
    pid = container(root, lambda: record(root / "host/one.rondo"))
    assert not [each for each in in_containers(INSIDE)[0] if f"/{pid}/" in str(each.path)]
    assert agent.run_once().stores == 0
