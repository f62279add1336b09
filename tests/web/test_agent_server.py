"""The pages of an agent: what a probe and a scraper are told, whom nothing is told, and that nobody keeps it waiting."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import RetryableExportError
from rondo_core.export import AgentStatus, exporter_thread
from rondo_core.export import agent as agents
from rondo_core.export import agent_status as module
from rondo_core.plugins import Config
from rondo_web import AgentServer, listen

ROOT = Path(__file__).parents[2]
TOKEN = b"0123456789abcdef"
OPENMETRICS = {"Accept": "application/openmetrics-text"}


class Receiver:
    """Takes what it is sent once `goes_on` is set."""

    def __init__(self):
        self.goes_on, self.asked = threading.Event(), threading.Event()
        self.goes_on.set()

    def send(self, batch):
        self.asked.set()
        assert self.goes_on.wait(60)

    def close(self):
        pass


@pytest.fixture
def receiver(monkeypatch):
    made = Receiver()
    monkeypatch.setattr(exporter_thread, "open_exporter", lambda *_: made)
    monkeypatch.setattr(agents, "check_exporters", lambda *_: None)
    return made


@pytest.fixture
def agent(tmp_path, receiver):
    """An agent over one store that has ended."""
    clock = ManualClock()
    with Store(tmp_path / "one.rondo", [Schema("c", "counter", 2, (Tier("1s", "1m"),))], clock=clock) as store:
        store.counter("c_total").inc()
        clock.advance(2)
    made = agents.Agent(tmp_path, Config(exporters={"out": {}}, agent={"deadline": 5.0}))
    yield made
    receiver.goes_on.set()
    made.close()


@pytest.fixture
def ask(agent):
    """Ask the agent's server, with a token where one is set."""
    server = AgentServer(agent.status, listen("127.0.0.1", 0), token=TOKEN, names=["agent.example"])

    def ask(path, token=TOKEN, **headers):
        sent = {**headers, **({"Authorization": f"Bearer {token.decode()}"} if token else {})}
        try:
            with urllib.request.urlopen(urllib.request.Request(server.url + path, headers=sent), timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    ask.address = server._listening.getsockname()
    yield ask
    server.close()


def test_a_scraper_is_told_what_the_walks_have_done(agent, ask):
    """In OpenMetrics, as Prometheus's own parser reads it."""
    agent.run_once()
    agent.run_once()
    status, text = ask("/metrics", **OPENMETRICS)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {
        (each.name, each.labels.get("exporter", each.labels.get("state", ""))): each.value
        for family in families.values()
        for each in family.samples
    }
    assert status == 200
    assert values["rondo_agent_samples_total", "out"] >= 1
    assert values["rondo_agent_walk_seconds_count", ""] == 2
    assert values["rondo_agent_stores", "ended"] == 1
    assert values["rondo_agent_pending_stores", "out"] == 0
    assert values["process_open_fds", ""] > 3


def test_a_probe_is_told_without_a_token_and_nobody_else_anything(agent, ask):
    """/health is the orchestrator's; the metrics want the token, a name that nobody allowed is refused."""
    assert json.loads(ask("/health", token=b"")[1])["status"] == "starting"
    agent.run_once()
    assert json.loads(ask("/health", token=b"")[1])["status"] == "ok"
    assert [ask("/metrics", token=token)[0] for token in (b"", b"fedcba9876543210", TOKEN)] == [401, 401, 200]
    assert [ask("/health", Host=host)[0] for host in ("evil.example", "agent.example")] == [421, 200]
    assert ask("/else")[0] == 404


def test_a_receiver_that_is_away_is_told_and_is_no_reason_to_start_the_agent_again(agent, ask, receiver):
    """What a restart does not mend is not unhealthy."""

    def refuse(batch):
        raise OSError("no route")

    receiver.send = refuse
    agent.run_once()
    status, text = ask("/health")
    facts = json.loads(text)
    assert (status, facts["status"]) == (200, "failing")
    assert "no route" in facts["failures"][0]


def test_a_receiver_that_asked_to_be_left_alone_is_told_meanwhile(agent, ask, receiver):
    """429 with Retry-After: the walks until then ask for nothing, and are no walks without a failure."""
    asked = []

    def refuse(batch):
        asked.append(batch)
        raise RetryableExportError("answered 429: Too Many Requests", retry_after_s=3600.0)

    receiver.send = refuse
    for _ in range(3):
        agent.run_once()
        status, text = ask("/health")
        facts = json.loads(text)
        assert (status, facts["status"]) == (200, "failing")
        assert "answered 429: Too Many Requests" in facts["failures"][0]
    assert len(asked) == 1


def test_an_exporter_that_hangs_and_walks_that_do_not_end_are(agent, ask, receiver, monkeypatch):
    """What only a restart mends is a 503, and the exporter is named."""
    receiver.goes_on.clear()
    monkeypatch.setattr(exporter_thread.Runner, "hangs", lambda self, _limit_s: receiver.asked.is_set())
    agent.run_once(0.1)
    assert receiver.asked.wait(60)
    status, text = ask("/health")
    assert (status, json.loads(text)["hanging"]) == (503, ["out"])
    receiver.goes_on.set()
    later = AgentStatus([], 30.0)
    assert later.health().well
    monkeypatch.setattr(module, "monotonic_ns", lambda: later._ended_ns + 91 * 10**9)
    assert later.health() == (False, later.health().facts)
    assert later.health().facts["status"] == "stuck"


def test_connections_that_ask_nothing_keep_nobody_waiting(ask):
    """A hundred clients that say nothing, and one that begins a head and stops: the next is answered all the same."""
    silent = [socket.create_connection(ask.address) for _ in range(100)]
    silent[0].sendall(b"GET /health HTTP/1.1\r\nHost: ")
    assert ask("/health")[0] == 200
    for each in silent:
        each.close()


def test_the_command_answers_until_it_is_told_to_end(tmp_path):
    """It says where, a probe is answered, and SIGTERM ends it well."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "rondo.toml").write_text(f'[exporters.csv]\npath = "{tmp_path}/out.csv"\n')
    command = [sys.executable, "-m", "rondo_cli", "agent", "stores", "--config", "rondo.toml", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as running:
        try:
            url = re.search(r"http://\S+/health", running.stderr.readline())[0]
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert json.load(answer)["status"] in {"starting", "ok"}
            running.terminate()
            assert running.wait(60) == 0
        finally:
            running.kill()
