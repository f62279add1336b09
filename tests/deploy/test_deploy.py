"""What deploy/ holds is valid: alerts fire when they should, panels can be asked, manifests are what their source makes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "dashboards").glob("*.json"))
# What Grafana puts in for its variables when it asks.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool; install the package prometheus")


def panels(path):
    return json.loads(path.read_text())["panels"]


def expressions(path):
    for panel in panels(path):
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            yield panel["title"], text


def test_the_manifests_are_what_their_source_makes():
    """Dashboards and alerts have one source each; nothing in deploy/kubernetes was changed by hand."""
    command = [sys.executable, str(DEPLOY / "generate.py"), "--check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_a_manifest_holds_the_dashboards_as_they_are():
    """The ConfigMap's data and the GrafanaDashboards' json read back as the same dashboards."""
    (config_map,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "configmap.yaml").read_text())
    resources = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "grafanadashboard.yaml").read_text()))
    assert [json.loads(each) for each in config_map["data"].values()] == [
        json.loads(path.read_text()) for path in DASHBOARDS
    ]
    assert [json.loads(each["spec"]["json"])["uid"] for each in resources] == [
        json.loads(path.read_text())["uid"] for path in DASHBOARDS
    ]
    (rule,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "prometheusrule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((DEPLOY / "alerts.yaml").read_text())


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_every_panel_in_a_place_of_its_own(path):
    """Ids are unique, panels do not overlap, each has a title, a unit and something to ask."""
    shown = panels(path)
    assert len({panel["id"] for panel in shown}) == len(shown)
    taken = set()
    for panel in shown:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        assert panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]


@promtool
def test_every_panel_asks_what_prometheus_understands(tmp_path):
    """Each expression, its variables put in, is valid PromQL."""
    rules = [
        {"record": f"panel:{index}", "expr": text}
        for index, (_, text) in enumerate(each for path in DASHBOARDS for each in expressions(path))
    ]
    assert len(rules) > 30
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    said = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(rules)} rules found" in said.stdout


@promtool
def test_the_alerts_fire_when_they_should():
    """`promtool check rules` and the unit tests beside the alerts."""
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        said = subprocess.run(["promtool", *command], cwd=DEPLOY, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_the_archive_lies_on_the_mount_that_the_unit_gives_the_agent():
    """Each path of ReadWritePaths= is a mount: stores are moved within one of them."""
    (written,) = re.findall(r"^ReadWritePaths=(.+)$", (DEPLOY / "rondo-agent.service").read_text(), re.MULTILINE)
    (archive,) = re.findall(r'^archive = "(.+)"$', (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert Path(archive).is_relative_to(written)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze; install the package systemd")
def test_systemd_takes_the_unit_without_a_word():
    """`systemd-analyze verify` knows every setting of it, and finds nothing to say."""

    def verified(unit):
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
        )
        return said.returncode, said.stdout + said.stderr

    assert verified(DEPLOY / "rondo-agent.service") == (0, "")


def test_every_alert_is_tested_and_tells_what_to_do():
    """A summary, a description and a severity, and a place in the unit tests."""
    tested = (DEPLOY / "alerts.test.yaml").read_text()
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "description"}
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert f"alertname: {rule['alert']}\n" in tested, rule["alert"]


def test_panels_and_alerts_ask_for_series_that_rondo_has():
    """Each name that they use stands somewhere in the code that records or counts it."""
    root = DEPLOY.parent
    code = "".join(
        path.read_text() for package in ("rondo_core", "rondo_vmm") for path in (root / package).rglob("*.py")
    )
    asked = "".join(text for path in DASHBOARDS for _, text in expressions(path)) + (DEPLOY / "alerts.yaml").read_text()
    names = set(re.findall(r"\b(?:vm|vmm|vcpu|blk|rondo)_[a-z_]+[a-z]", asked))
    assert len(names) > 15
    for name in names:
        base = re.sub(r"_(?:count|sum|min|max)$", "", name)
        assert f'"{name}"' in code or f'"{base}"' in code, name


def test_the_config_that_the_readme_shows_is_a_config(tmp_path, monkeypatch, capsys):
    """`rondo config check` takes it as it is, and shows no secret."""
    from rondo_cli.main import run

    text = re.search(r"```toml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "rondo.toml").write_text(text)
    monkeypatch.setenv("PUSH_TOKEN", "s3cret")
    assert run(["config", "check", "--config", str(tmp_path / "rondo.toml")]) == 0
    said = capsys.readouterr().out
    assert "bearer_token" in said
    assert "s3cret" not in said


def test_services_and_units_name_files_and_commands_that_there_are():
    """What compose mounts lies beside it, and what a unit starts is a command of rondo."""
    from rondo_cli.main import COMMANDS

    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service.get("volumes", ()):
            assert (DEPLOY / volume.partition(":")[0]).exists(), volume
    for unit in DEPLOY.glob("*.service"):
        started = re.search(r"^ExecStart=/usr/bin/env rondo (\S+)", unit.read_text(), re.MULTILINE)
        assert started[1] in COMMANDS, unit


def agent_manifest(kind):
    """The one of that kind that the agent's manifest holds."""
    (found,) = [
        each for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "agent.yaml").read_text()) if each["kind"] == kind
    ]
    return found


def test_the_agent_of_a_node_starts_as_its_manifest_says(tmp_path, monkeypatch, capsys):
    """Its command is one of rondo's, its config is in order, and what it mounts, asks and is asked for is there."""
    from rondo_cli.agent import command
    from rondo_cli.main import run

    pod = agent_manifest("DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name, subcommand, *arguments = container["command"]
    given = command.make_context(subcommand, arguments).params
    assert name == "rondo"
    assert container["ports"][0]["containerPort"] == given["port"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod["volumes"]}
    assert str(given["directory"]) == mounts["stores"]
    assert given["config"].parent == Path(mounts["config"])
    assert given["token_file"].parent == Path(mounts["token"])
    (tmp_path / "rondo.toml").write_text(agent_manifest("ConfigMap")["data"][given["config"].name])
    for each, value in {
        "PUSH_URL": "http://push.example/api/v1/write",
        "PUSH_TOKEN": "s3cret",
        "NODE_NAME": "n1",
    }.items():
        monkeypatch.setenv(each, value)
    assert run(["config", "check", "--config", str(tmp_path / "rondo.toml")]) == 0
    assert "s3cret" not in capsys.readouterr().out
    endpoint = agent_manifest("PodMonitor")["spec"]["podMetricsEndpoints"][0]
    assert endpoint["port"] == container["livenessProbe"]["httpGet"]["port"] == container["ports"][0]["name"]
    assert endpoint["authorization"]["credentials"]["name"] == pod["volumes"][2]["secret"]["secretName"]


@pytest.mark.parametrize("kind", ["ConfigMap", "DaemonSet"])
def test_the_agents_manifest_is_what_kubernetes_takes(kind):
    """By Kubernetes's own schemas, no field beside those that they know."""
    validator = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate; make test-systems")
    validator.validate(agent_manifest(kind), "1.31", strict=True)
