"""What the config may hold, and what it costs to have the plugin installed."""

import subprocess
import sys

import pytest

from rondo_core import Plugins
from rondo_core.errors import UsageError
from rondo_core.plugins.manager import EXPORTERS


def open_with(config):
    plugins = Plugins(config={"otlp": config})
    assert plugins.load(EXPORTERS, ["otlp"]) == ["otlp"]
    return plugins.open("rondo_exporter_open", "otlp")


def test_rondo_finds_the_plugin_by_its_entry_point():
    """Without a config it sends to a collector on this machine."""
    exporter = open_with({})
    assert repr(exporter) == "OtlpHttp('http://localhost:4318/v1/metrics')"
    exporter.close()


def test_the_plugin_is_cheap_to_import():
    """To list plugins imports no HTTP, no protobuf and no numpy."""
    code = (
        "import sys, rondo_exporter_otlp.plugin as p\n"
        "heavy = {'requests', 'urllib3', 'google.protobuf', 'opentelemetry', 'numpy', 'http.client'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": "http://x/"}, "otlp.url: no such key"),
        ({"endpoint": "localhost:4318"}, "endpoint: not an http"),
        ({"endpoint": "http://a:hunter2@x:port/"}, "endpoint: not an http"),
        ({"compression": "snappy"}, "otlp.compression: 'snappy': choose from gzip, none"),
        ({"histograms": "lowmemory"}, "otlp.histograms: 'lowmemory': choose from cumulative, delta"),
        ({"timeout": 0}, "otlp.timeout: 0 is not a duration"),
        ({"headers": {"X-Key": "hunter2\r\nHost: x"}}, "headers: the value of X-Key"),
        ({"headers": {"Content-Type": "x"}}, "headers: Content-Type is the protocol's own"),
        ({"headers": {"a": "hunter2", "A": "1"}}, "headers: A given twice"),
        ({"headers": {"X Key": "hunter2"}}, "headers: a name"),
        ({"headers": "hunter2"}, "otlp.headers: what it is given is not a table"),
        ({"headers": {"Authorization": "hunter2"}, "bearer_token": "hunter2"}, "bearer_token, headers: each holds"),
        ({"headers": {"authorization": "hunter2"}, "bearer_token_file": "/x"}, "bearer_token_file, headers: each"),
        ({"endpoint": "http://a:hunter2@x/", "bearer_token": "hunter2"}, "endpoint, bearer_token: each holds"),
        ({"endpoint": "http://a:hunter2@x/", "headers": {"Authorization": "hunter2"}}, "endpoint, headers: each holds"),
        ({"proxy": "socks5://a:hunter2@proxy:1080"}, "proxy: not an http"),
        ({"bearer_token": "hunter2\n"}, "bearer_token: holds what no header"),
        ({"bearer_token": "hunter2", "bearer_token_file": "/x"}, "bearer_token, bearer_token_file"),
        ({"bearer_token_file": "/no/such"}, "bearer_token_file: /no/such: No such file"),
        ({"ca_file": "/no/such"}, "ca_file: /no/such: No such file"),
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
