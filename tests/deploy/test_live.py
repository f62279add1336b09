"""Every panel and every alert finds data in a real Prometheus to which VMs have pushed what they recorded."""

import contextlib
import importlib.util
import json
import math
import re
import time
from pathlib import Path

import pytest
import yaml

from rondo_core import ManualClock, Plugins, Schema, Store, StoreReader, Tier, hookimpl
from rondo_core.errors import CapacityError
from rondo_core.export.runner import open_runner
from rondo_core.model.schema import SELF_MATCH, SELF_SCHEMA
from rondo_vmm import VmConfig, run_vm
from rondo_vmm.plugins import blockio
from rondo_vmm.schemas import schemas_for

pytestmark = [pytest.mark.prometheus, pytest.mark.emulator]

DEPLOY = Path(__file__).parents[2] / "deploy"
S = 10**9
MINUTE = (Tier("1s", "60s"),)
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def panels():
    for path in sorted((DEPLOY / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                text = target["expr"].removesuffix(" or vector(0)")  # which would answer without any data
                for name, value in VARIABLES.items():
                    text = text.replace(name, value)
                yield f"{path.stem}: {panel['title']}", text


def alerts():
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"].strip()


class Broken:
    """A recorder that fails in every tick."""

    @hookimpl
    def rondo_recorder_bind(self, declare):
        def tick(now_ns):
            raise ValueError("broken")

        return tick


def send(view, name, url, clock, count=None, instance="vm-2"):
    config = {"plugin": "prometheus", "url": url, "external_labels": {"instance": instance}}
    return open_runner(view, name, config, clock=clock, count=count)


def live_a_little(path):
    """Run a VM of the bundled guest for 3 s, recorded as `rondo vmm` records it."""
    config = VmConfig("soft", cmdline="workload_duration=3", balloon=True)
    with Store(path, schemas_for(config), writer="vmm") as store:
        result = run_vm(config, store)
    assert result.ended == "power-off"
    return path


def everything_goes_wrong(path, url, clock, seconds):
    """Record a disk, and make each of rondo's own counters count: refusals, failures, exports that fail or come late."""
    schemas = [Schema(f"{kind}s", kind, 64, MINUTE) for kind in ("counter", "summary")]
    schemas += [Schema("gauges", "gauge", 2, MINUTE), Schema(SELF_SCHEMA, "counter", 64, MINUTE, SELF_MATCH)]
    plugins = Plugins()
    plugins.register(Broken(), "broken")
    with Store(path, schemas, clock=clock) as store:
        store.bind_recorders(plugins)
        disk = blockio.rondo_vmm_block_bind(store, "vda")
        count = store.self_metrics.set_total
        runners = {
            name: send(store.view, name, to, clock, count, instance="vm-2" if name == "prometheus" else name)
            for name, to in (("prometheus", url), ("slow", url), ("away", "http://127.0.0.1:9/api/v1/write"))
        }
        gauge = store.gauge("steady")
        for second in range(seconds):
            disk(second % 2, 4096, 0, 50_000, 1, clock())
            gauge.set(1.0)
            gauge.set(2.0, clock() - 3600 * S)
            with contextlib.suppress(CapacityError):
                store.gauge("one_too_many", n=second)
            if second % 20 == 10:
                runners["prometheus"].send_now(0, 10)
                runners["away"].send_now(0, 0, retry=False)
            if second in (30, 130):  # longer than the store keeps
                runners["slow"].send_now(0, 10)
            store.tick()
            clock.advance(1)
        for runner in runners.values():
            runner.finish(0, 5 if runner is not runners["away"] else 0)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Give a function that asks a Prometheus, which two VMs have pushed to, at the newest second of both."""
    place = Path(__file__).parents[1] / "integration" / "conftest.py"
    specification = importlib.util.spec_from_file_location("receivers", place)
    receivers = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(receivers)
    directory = tmp_path_factory.mktemp("prometheus")
    server = receivers.Prometheus(directory)
    try:
        store = live_a_little(directory / "vm.rondo")
        now = int(time.time())
        with StoreReader(store) as reader:
            outcome = send(reader, "prometheus", server.write_url, time.time_ns, instance="vm-1").finish(0, 30)
        assert not outcome.error, outcome
        everything_goes_wrong(directory / "wrong.rondo", server.write_url, ManualClock((now - 150) * S), 150)
        yield lambda expression: server.query(expression, now - 1)
    finally:
        server.stop()


def numbers(found):
    return [value for each in found if math.isfinite(value := float(each["value"][1]))]


@pytest.mark.parametrize(("what", "expression"), [*panels()])
def test_a_panel_finds_data(ask, what, expression):
    """Asked as Grafana asks, there is a number."""
    assert numbers(ask(expression)), expression


@pytest.mark.parametrize(("what", "expression"), [*alerts()])
def test_an_alert_finds_what_it_looks_for(ask, what, expression):
    """Without its threshold there is a number; where the second VM gave cause, one beyond the threshold."""
    without, thresholds = re.subn(r" > [0-9.]+$", "", expression)
    assert thresholds == 1
    assert numbers(ask(without)), without
    if what in {"RondoSamplesRefused", "RondoSeriesRefused", "RondoExportLoss", "RondoPluginFailures"}:
        assert {each["metric"]["instance"] for each in ask(expression)} - {"slow"} == {
            "vm-2"
        }  # what another exporter says of that store
