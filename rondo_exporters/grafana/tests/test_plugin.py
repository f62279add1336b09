"""What the config may hold, and what it costs to have the plugin installed."""

import subprocess
import sys

import pytest

from rondo_core import Plugins
from rondo_core.errors import ExportError, UsageError
from rondo_core.export import EventRequest
from rondo_core.plugins import EXPORTERS
from rondo_core.storage import Event
from rondo_core.testing import HttpReceiver


def open_with(config):
    plugins = Plugins(config={"grafana": config})
    assert plugins.load(EXPORTERS, ["grafana"]) == ["grafana"]
    return plugins.open("rondo_exporter_open", "grafana")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/api/annotations"),
        ("https://a:hunter2@x/grafana/", "https://x/grafana/api/annotations"),
        ("http://x/api/annotations?key=hunter2", "http://x/api/annotations"),
    ],
)
def test_the_url_is_grafanas_as_a_browser_has_it(url, shown):
    """Below whatever path; the repr holds no credential."""
    exporter = open_with({"url": url})
    assert repr(exporter) == f"GrafanaAnnotations({shown!r})"
    exporter.close()


def test_the_plugin_is_cheap_to_import():
    """To list plugins imports no HTTP and no numpy."""
    code = (
        "import sys, rondo_exporter_grafana.plugin as p\n"
        "print(sorted({'requests', 'urllib3', 'numpy', 'http.client'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"endpoint": "http://x/"}, "grafana.endpoint: no such key"),
        ({"url": "localhost:3000"}, "url: not an http"),
        ({"tags_bytes": 0}, "grafana.tags_bytes: 0"),
        ({"headers": {"Authorization": "hunter2"}, "token": "hunter2"}, "token, headers: each holds"),
        ({"url": "http://a:hunter2@x/", "token": "hunter2"}, "url, token: each holds"),
        ({"token": "hunter2\n"}, "token: holds what no header"),
        ({"token_file": "/no/such"}, "token_file: /no/such: No such file"),
        ({"external_labels": {"0": "x"}}, "external_labels: "),
        ({"client_key": "/no/such"}, "client_key: given without"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_without_secrets(config, said):
    """The message names the key and what is wrong; a credential is in none."""
    with pytest.raises(UsageError) as caught:
        open_with(config)
    message = str(caught.value)
    assert message.startswith(said)
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_server_that_is_no_grafana_has_acknowledged_nothing():
    """One that takes whatever it is sent, and answers with something else, is told by its answer."""
    receiver = HttpReceiver()
    try:
        exporter = open_with({"url": receiver.url})
        with pytest.raises(ExportError, match="answered 200, but not as Grafana does; check url"):
            exporter.send_event(EventRequest(Event(10**18, "note", "x", {}, 1, 1), "a store"))
        exporter.close()
    finally:
        receiver.close()
