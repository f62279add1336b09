"""What the config may hold, and what it costs to have the plugin installed."""

import subprocess
import sys

import pytest
from rondo_exporter_prometheus.plugin import OPTIONS
from rondo_exporter_prometheus.plugin import read_settings as read_checked

from rondo_core import Plugins
from rondo_core.errors import UsageError
from rondo_core.plugins.manager import EXPORTERS
from rondo_core.plugins.options import read_options

URL = "http://localhost:9090/api/v1/write"


def read_settings(config):
    return read_checked(read_options("prometheus", OPTIONS, config))


def rondo_exporter_open(config):
    plugins = Plugins(config={"prometheus": config})
    plugins.load(EXPORTERS, ["prometheus"])
    return plugins.open("rondo_exporter_open", "prometheus")


def test_rondo_finds_the_plugin_by_its_entry_point():
    """The name `prometheus` opens the exporter; what is wrong with its config comes through as it is."""
    plugins = Plugins(config={"prometheus": {"url": URL}})
    assert plugins.load(EXPORTERS, ["prometheus"]) == ["prometheus"]
    exporter = plugins.open("rondo_exporter_open", "prometheus")
    assert repr(exporter) == f"RemoteWrite('{URL}')"
    exporter.close()
    exporter.close()
    plugins = Plugins(config={"prometheus": {}})
    plugins.load(EXPORTERS, ["prometheus"])
    with pytest.raises(UsageError, match="url: missing"):
        plugins.open("rondo_exporter_open", "prometheus")


def test_the_plugin_is_cheap_to_import():
    """To list plugins imports no HTTP, no protobuf, no snappy and no numpy."""
    code = (
        "import sys, rondo_exporter_prometheus.plugin as p\n"
        "heavy = {'requests', 'urllib3', 'google.protobuf', 'snappy', 'cramjam', 'numpy', 'http.client'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_key_is_read_from_code_or_from_text():
    """Mappings and the texts of a command line mean the same."""
    typed = read_settings(
        {
            "url": URL,
            "external_labels": {"b": "1", "a": "x"},
            "timeout": 2.5,
            "headers": {"X-Key": "7"},
            "max_bytes": 1024,
        }
    )
    text = read_settings(
        {"url": URL, "external_labels": "b=1, a=x,", "timeout": "2500ms", "headers": "X-Key=7", "max_bytes": "1KiB"}
    )
    assert typed == text
    assert typed.external_labels == (("a", "x"), ("b", "1"))
    assert (typed.endpoint.timeout_s, typed.headers, typed.max_bytes) == (2.5, {"X-Key": "7"}, 1024)
    plain = read_settings({"url": URL})
    assert (plain.endpoint.timeout_s, plain.protocol, plain.endpoint.insecure) == (10, "auto", False)
    assert read_settings({"url": URL, "tenant": "7"}).headers == {"X-Scope-OrgID": "7"}


def test_credentials_in_the_url_are_taken_out_of_it():
    """user:password@ becomes username and password, percent-decoded; neither URL holds them."""
    settings = read_settings({"url": "https://us%40er:p%3Aw@host.example:8443/w?tenant=9#frag"})
    assert (settings.username, settings.password) == ("us@er", "p:w")
    assert settings.endpoint.url.geturl() == "https://host.example:8443/w?tenant=9"
    assert settings.endpoint.shown_url == "https://host.example:8443/w"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "prometheus.url: missing"),
        ({"url": "localhost:9090"}, "url: not an http"),
        ({"url": "ftp://hunter2@x/"}, "url: not an http"),
        ({"url": "http://"}, "url: not an http"),
        ({"url": "http://a:hunter2@x:port/"}, "url: not an http"),
        ({"url": "http://x/ y"}, "url: not an http"),
        ({"url": "http://x/\n"}, "url: not an http"),
        ({"url": ["hunter2"]}, "prometheus.url: what it is given is not text"),
        ({"url": "http://[::1/"}, "url: not an http"),
        ({"urls": URL}, "prometheus.urls: no such key; did you mean url?"),
        ({"url": URL, "protocol": "3.0"}, "prometheus.protocol: '3.0': choose from auto, 1.0, 2.0"),
        ({"url": URL, "external_labels": "a"}, "prometheus.external_labels: 'a' is not a table"),
        ({"url": URL, "external_labels": ["a"]}, "prometheus.external_labels: ['a'] is not a table"),
        ({"url": URL, "external_labels": {"__name__": "x"}}, "external_labels: '__name__'"),
        ({"url": URL, "external_labels": {"a-b": "x"}}, "external_labels: 'a-b'"),
        ({"url": URL, "timeout": 0}, "prometheus.timeout: 0 is not a duration"),
        ({"url": URL, "timeout": "soon"}, "prometheus.timeout: 'soon' is not a duration"),
        ({"url": URL, "max_bytes": "many"}, "prometheus.max_bytes: 'many' is not a size"),
        ({"url": URL, "headers": {"User-agent": "x"}}, "headers: User-agent is the protocol's own"),
        ({"url": URL, "headers": {"content-type": "x"}}, "headers: content-type is the protocol's own"),
        ({"url": URL, "headers": {"X-Prometheus-Remote-Write-Version": "2"}}, "headers: X-Prometheus"),
        ({"url": URL, "headers": {"Host": "x"}}, "headers: Host is the protocol's own"),
        ({"url": URL, "headers": {"Authorization": "Bearer hunter2"}}, "headers: Authorization is set by"),
        ({"url": URL, "headers": {"X-Key": "hunter2\r\nHost: x"}}, "headers: the value of X-Key"),
        ({"url": URL, "headers": {"X Key": "hunter2"}}, "headers: a name"),
        ({"url": URL, "headers": "A=1,a=2"}, "headers: a given twice"),
        ({"url": URL, "headers": "hunter2"}, "prometheus.headers: what it is given is not a table"),
        ({"url": URL, "headers": "x-scope-orgid=1", "tenant": "2"}, "headers: x-scope-orgid given twice"),
        ({"url": URL, "tenant": "a\nb"}, "tenant: holds what no header"),
        ({"url": URL, "password": "hunter2"}, "password: given without a username"),
        ({"url": URL, "bearer_token": "hunter2", "username": "me"}, "bearer_token, bearer_token_file, username"),
        ({"url": URL, "bearer_token": "hunter2\n"}, "bearer_token: holds what no header"),
        ({"url": URL, "bearer_token": b"hunter2"}, "prometheus.bearer_token: what it is given is not text"),
        ({"url": URL, "bearer_token_file": "/no/such", "bearer_token": "hunter2"}, "bearer_token, bearer_token_file"),
        ({"url": "http://a:hunter2@x/", "username": "me"}, "url: it holds credentials"),
        ({"url": "http://a:hunter2@x/", "bearer_token": "t"}, "bearer_token, bearer_token_file, username"),
        ({"url": URL, "proxy": "a:hunter2@proxy"}, "proxy: not an http"),
        ({"url": URL, "proxy": "socks5://a:hunter2@proxy:1080"}, "proxy: not an http"),
        ({"url": URL, "proxy": "https://a:hunter2@proxy:1080"}, "proxy: only http proxies"),
        ({"url": URL, "proxy": "http://a:hunter2@proxy/path"}, "proxy: only http proxies"),
        ({"url": URL, "username": "a:b", "password": "hunter2"}, "username: holds a colon"),
        ({"url": URL, "bearer_token_file": "/no/such"}, "bearer_token_file: /no/such: No such file"),
        ({"url": "https://x/", "ca_file": "/no/such"}, "ca_file: /no/such: No such file"),
        ({"url": "https://x/", "ca_file": __file__}, f"ca_file: {__file__}: not PEM"),
        ({"url": "https://x/", "client_certificate": "/no/such"}, "client_certificate: /no/such: No such file"),
        ({"url": "https://x/", "client_key": "/no/such"}, "client_key: given without a client_certificate"),
        ({"url": URL, "ca_file": "/no/such"}, "url: http, and ca_file"),
        ({"url": "https://x/", "ca_file": "/no/such", "insecure": True}, "insecure: it trusts any"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_without_secrets(config, said):
    """The message names the key and what is wrong; a password or a token is in none."""
    with pytest.raises(UsageError) as caught:
        rondo_exporter_open(config)
    message = str(caught.value)
    assert message.startswith(said)
    assert "\n" not in message
    assert "hunter2" not in message
    assert "hunter2" not in repr(caught.value)


def test_settings_show_no_secret():
    """The settings' repr holds no credential, no header's value and no query."""
    shown = repr(read_settings({"url": "http://somebody:hunter2@x/w?k=hunter2", "headers": {"X-Key": "hunter2"}}))
    assert "hunter2" not in shown
    assert "somebody" not in shown
    assert "hunter2" not in repr(read_settings({"url": URL, "bearer_token": "hunter2"}))
