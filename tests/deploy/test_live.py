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
from rondo_web import Sidecar, listen

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
    with Store(path, schemas_for(config), writer="vmm", labels={"instance": "vm-1"}) as store:
        result = run_vm(config, store)
    assert result.ended == "power-off"
    return path


def everything_goes_wrong(path, url, clock, seconds):
    """Record a disk, and make each of rondo's own counters count: refusals, failures, exports that fail or come late."""
    schemas = [Schema(f"{kind}s", kind, 64, MINUTE) for kind in ("counter", "summary")]
    schemas += [Schema("gauges", "gauge", 2, MINUTE), Schema(SELF_SCHEMA, "counter", 64, MINUTE, SELF_MATCH)]
    plugins = Plugins()
    plugins.register(Broken(), "broken")
    with Store(path, schemas, clock=clock, labels={"instance": "vm-2"}) as store:
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
                runners["prometheus"].send_now(0, 60)
                runners["away"].send_now(0, 0, retry=False)
            if second in (30, 130):  # longer than the store keeps
                runners["slow"].send_now(0, 60)
            store.tick()
            clock.advance(1)
        for runner in runners.values():
            runner.finish(0, 60 if runner is not runners["away"] else 0)


def receivers():
    """The module that starts real servers for the tests."""
    place = Path(__file__).parents[1] / "integration" / "conftest.py"
    specification = importlib.util.spec_from_file_location("receivers", place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The stores of two VMs, which have pushed to a Prometheus, and the newest second of both."""
    directory = tmp_path_factory.mktemp("prometheus")
    server = receivers().Prometheus(directory)
    stores = directory / "stores"
    stores.mkdir()
    try:
        store = live_a_little(stores / "vm.rondo")
        now = int(time.time())
        with StoreReader(store) as reader:
            outcome = send(reader, "prometheus", server.write_url, time.time_ns, instance="vm-1").finish(0, 30)
        assert not outcome.error, outcome
        everything_goes_wrong(stores / "wrong.rondo", server.write_url, ManualClock((now - 150) * S), 150)
        yield server, stores, now - 1
    finally:
        server.stop()


@pytest.fixture(scope="module")
def ask(recorded):
    """Give a function that asks the Prometheus that was pushed to."""
    server, _, newest_s = recorded
    return lambda expression: server.query(expression, newest_s)


@pytest.fixture(scope="module")
def ask_both(recorded, tmp_path_factory):
    """Give a function that asks `rondo serve` over both stores, and a Prometheus that reads them there with its engine.

    That one takes both ends of a range, and rondo, as Prometheus since 3.0, the later: so no sample lies on an end.
    """
    _, stores, newest_s = recorded
    kind = receivers().Prometheus
    with Sidecar(stores, listen("127.0.0.1", 0)) as sidecar:
        ours = kind.__new__(kind)
        ours.url = sidecar.url.removesuffix("/metrics")
        kind.config = json.dumps({"remote_read": [{"url": f"{ours.url}/api/v1/read", "read_recent": True}]})
        theirs = kind(tmp_path_factory.mktemp("reading"))
        try:
            yield lambda expression: [each.query(expression, newest_s - 0.5) for each in (ours, theirs)]
        finally:
            theirs.stop()


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


def told(found):
    """An answer, whatever the order of its series."""
    return {json.dumps(each["metric"], sort_keys=True): float(each["value"][1]) for each in found}


@pytest.mark.parametrize(("what", "expression"), [*panels(), *alerts()])
def test_rondo_answers_what_prometheus_does(ask_both, what, expression):
    """Every panel and every alert, its threshold too, over the stores themselves: the same series and the same values."""
    ours, theirs = map(told, ask_both(expression))
    assert ours == pytest.approx(theirs, rel=1e-12, nan_ok=True), expression
    assert ours or " > " in expression, expression
