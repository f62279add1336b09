"""Options: what a plugin can be told is declared, and a config is checked before the plugin sees it."""

import pytest

from rondo_core import Option, Plugins, hookimpl
from rondo_core.errors import HookError, UsageError
from rondo_core.plugins.options import read_options

OPTIONS = [
    Option("url", required=True, help="where to send"),
    Option("interval", "duration", default=10.0),
    Option("max_bytes", "size"),
    Option("fn", "list", choices=("avg", "max", "last")),
    Option("labels", "table"),
    Option("gzip", "flag", default=True),
    Option("tier", "integer"),
    Option("share", "number"),
    Option("token", secret=True),
    Option("port", "integer", secret=True),
]


def read(**config):
    return read_options("exporters.x", OPTIONS, {"url": "u", **config}, {"TOKEN": "s3cret"})


def test_values_come_in_their_types_with_defaults():
    """What TOML and a command line write differently is the same to the plugin."""
    assert read() == {"url": "u", "interval": 10.0, "gzip": True}
    typed = read(interval="1m30s", max_bytes="4KiB", fn="avg,max", labels="a=b,c=d", gzip="no", tier="1", share="0.5")
    assert typed == read(
        interval=90, max_bytes=4096, fn=["avg", "max"], labels={"a": "b", "c": "d"}, gzip=False, tier=1, share=0.5
    )
    assert typed["labels"] == {"a": "b", "c": "d"}


def test_secrets_may_stand_in_the_environment():
    """ "${NAME}" is replaced, also in a table; a missing variable is named."""
    assert read(token="${TOKEN}", labels={"k": "${TOKEN}"})["labels"] == {"k": "s3cret"}
    with pytest.raises(UsageError, match=r"exporters\.x\.token: the environment has no variable NOPE; set it"):
        read(token="${NOPE}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"urll": "x"}, r"exporters\.x\.urll: no such key; did you mean url\? it has "),
        ({"url": None}, r"exporters\.x\.url: missing; where to send"),
        ({"interval": "soon"}, r"exporters\.x\.interval: 'soon' is not a duration above 0"),
        ({"interval": 0}, r"exporters\.x\.interval: 0 is not a duration"),
        ({"interval": True}, r"exporters\.x\.interval: True is not a duration"),
        ({"max_bytes": "many"}, r"max_bytes: 'many' is not a size"),
        ({"fn": ["avg", "median"]}, r"fn: \['avg', 'median'\]: choose from avg, max, last"),
        ({"fn": [1]}, r"fn: \[1\] is not a list of texts"),
        ({"labels": "a"}, r"labels: 'a' is not a table of texts"),
        ({"gzip": "maybe"}, r"gzip: 'maybe' is not true or false"),
        ({"tier": 1.5}, r"tier: 1\.5 is not a whole number"),
        ({"share": "nan"}, r"share: 'nan' is not a number"),
        ({"url": 7}, r"url: 7 is not text"),
        ({"port": "s3cret"}, r"port: what it is given is not a whole number$"),
    ],
)
def test_an_error_names_the_key_and_what_is_allowed(config, message):
    """One line, and nothing of a secret."""
    with pytest.raises(UsageError, match=message):
        read(**config)


class Exporter:
    """Gives its config back as the exporter."""

    @hookimpl
    def rondo_options_define(self):
        return OPTIONS

    @hookimpl
    def rondo_exporter_open(self, config):
        return config


def test_hook_rondo_options_define():
    """The plugin is given checked values; a wrong key is an error before it is called."""
    plugins = Plugins(config={"x": {"url": "u", "interval": "5s"}})
    plugins.register(Exporter(), "x")
    assert [option.name for option in plugins.options("x")][:2] == ["url", "interval"]
    assert plugins.open("rondo_exporter_open", "x") == {"url": "u", "interval": 5.0, "gzip": True}
    wrong = Plugins(config={"x": {"urll": "u"}})
    wrong.register(Exporter(), "x")
    with pytest.raises(UsageError, match="urll"):
        wrong.open("rondo_exporter_open", "x")


def test_a_plugin_that_declares_nonsense_is_named():
    """What is no Option is the plugin's fault, and said so."""

    class Odd:
        @hookimpl
        def rondo_options_define(self):
            return ["url"]

        @hookimpl
        def rondo_exporter_open(self, config):
            return config

    plugins = Plugins()
    plugins.register(Odd(), "odd")
    with pytest.raises(HookError, match="plugin odd: rondo_options_define"):
        plugins.open("rondo_exporter_open", "odd")
