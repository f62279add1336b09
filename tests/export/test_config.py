"""rondo.toml: what is wrong is named with what is allowed; what is right is used by every command."""

import json
import re

import pytest

from rondo_core import ManualClock, Option, Plugins, Schema, Store, hookimpl
from rondo_core.errors import HookError, UsageError
from rondo_core.export.options import runner_options
from rondo_core.maintain.config_check import check_config
from rondo_core.plugins.config_file import read_config


@pytest.fixture
def toml(tmp_path):
    def write(text):
        (tmp_path / "rondo.toml").write_text(text)
        return tmp_path / "rondo.toml"

    return write


@pytest.fixture
def demo(tmp_path):
    """A store of twenty seconds, closed."""
    clock = ManualClock()
    with Store(tmp_path / "demo.rondo", [Schema("g", "gauge", 2), Schema("c", "counter", 2)], clock=clock) as store:
        for second in range(20):
            store.gauge("g").set(second)
            store.counter("c_total").inc()
            store.tick()
            clock.advance(1)
    return store.path


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[exporter.x]\n", r"exporter: no such table; did you mean exporters\?"),
        ("exporters = 3\n", r"exporters: not a table; write \[exporters\]"),
        ("[exporters]\nx = 3\n", r"exporters\.x: not a table"),
        ('[exporters."a/b"]\n', r"exporters\.a/b: letters, digits, _ and - only"),
        ("[agent]\nafterwards = 1\n", r"agent\.afterwards: no such key; did you mean after\?"),
        ("[agent]\ninterval = 'soon'\n", r"agent\.interval: 'soon' is not a duration"),
        ("[", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused(toml, text, what):
    """The message names the file, the key, and what is allowed."""
    with pytest.raises(UsageError, match=what):
        read_config(toml(text))


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("pat = 'x'", r"exporters\.ledger\.pat: no such key; did you mean path\? it has mode, path, token"),
        ("mode = 'plain'", r"exporters\.ledger\.path: missing; where to write"),
        ("path = 'x'\nmode = 'odd'", r"exporters\.ledger\.mode: 'odd': choose from plain, broken, raising"),
        ("path = 'x'\ntoken = '${NOT_THERE}'", r"token: the environment has no variable NOT_THERE; set it"),
        ("path = 'x'\ntier = -1", r"exporters\.ledger\.tier: -1: at least 0"),
        ("path = 'x'\nfn = ['avg', 'nonsense']", r"exporters\.ledger\.fn: 'nonsense': choose from .*avg"),
        ("path = 'x'\nmatch = '{'", r"exporters\.ledger\.match: "),
        ("path = 'x'\nplugin = 'nowhere'", r"nowhere: no such plugin in rondo\.exporters; installed: "),
    ],
)
def test_every_key_of_a_plugin_and_of_the_runner_is_checked(site, toml, table, what):
    """Nothing is opened; the problem names table, key and what is allowed."""
    _, problems = check_config(read_config(toml(f"[exporters.ledger]\n{table}\n")))
    assert len(problems) == 1
    with pytest.raises(UsageError, match=what):
        raise UsageError(problems[0])


def test_a_check_shows_what_will_be_used_and_no_secret(toml, rondo, monkeypatch):
    """Defaults are filled in; a secret is masked, wherever it comes from; problems end with status 2."""
    monkeypatch.setenv("TOKEN", "hush-hush")
    toml("[exporters.ledger]\npath = 'x'\ntoken = '${TOKEN}'\ntier = 1\nfn = ['avg', 'max']\n")
    said = rondo("config", "check").stdout
    assert "hush" not in said
    for line in ("exporters.ledger  token   (secret)", "exporters.ledger  fn      avg max", "in order"):
        assert " ".join(line.split()) in " ".join(said.split())
    toml("[exporters.ledger]\npath = 'x'\ntoken = 3\n")
    failed = rondo("config", "check", status=2)
    assert "exporters.ledger.token: what it is given is not text; write it in quotes" in failed.stderr
    toml("")
    (toml("").parent / "rondo.toml").unlink()
    assert "no rondo.toml here" in rondo("config", "check", status=2).stderr


def test_the_runners_keys_are_taken_out_of_the_plugins_table():
    """Durations become seconds, a list may be a text; what is left is the plugin's."""
    mine, rest = runner_options("x", {"interval": "5s", "fn": "avg,max", "url": "u", "backfill": True})
    assert mine == {"plugin": "x", "interval_s": 5.0, "fn": ["avg", "max"], "backfill": True}
    assert rest == {"url": "u"}


def test_an_export_without_to_goes_through_every_exporter_of_the_config(demo, toml, rondo, ledger, tmp_path):
    """Each on its own: two tables may use one plugin, and one that is broken fails alone."""
    toml(
        f"[exporters.raw]\nplugin = 'ledger'\npath = '{tmp_path}/raw'\n"
        f"[exporters.rolled]\nplugin = 'ledger'\npath = '{tmp_path}/rolled'\ntier = 1\nfn = 'avg'\nmatch = 'g'\n"
        f"[exporters.bad]\nplugin = 'ledger'\nmode = 'broken'\npath = '{tmp_path}/bad'\n"
    )
    failed = rondo("export", demo, status=1)
    assert "bad: ZeroDivisionError: a bug" in failed.stderr
    raw = {(series, stamp): value for request in ledger("raw") for series, stamp, value in request}
    assert [raw["g", (1_700_000_000 + second) * 10**9] for second in range(20)] == [*range(20)]
    rolled = [each for request in ledger("rolled") for each in request]
    assert [each for each in rolled if each[1] != "ended"] == [
        ["g_avg", 1_700_000_000 * 10**9, 4.5],
        ["g_avg", 1_700_000_010 * 10**9, 14.5],
    ]
    again = rondo("export", demo, "--to", "raw").stderr
    assert again.startswith("0 samples sent")


def test_the_status_shows_each_cursor_how_far_it_lags_and_what_failed(demo, rondo, tmp_path):
    """Of a store, and of all below a directory; as a table and as JSON."""
    assert rondo("export-status", demo).stdout == "no exporter has a cursor here\n"
    (tmp_path / "down").touch()
    rondo("export", demo, "--to", "ledger", "-o", f"path={tmp_path}/ledger", "--deadline", "1ms", status=1)
    behind = json.loads(rondo("export-status", demo, "--format", "json").stdout)[0]
    assert (behind["exporter"], behind["samples"], behind["error"], behind["running"]) == ("ledger", 0, "503", False)
    assert behind["error_ns"] > 0
    (tmp_path / "down").unlink()
    rondo("export", demo, "--to", "ledger", "-o", f"path={tmp_path}/ledger")
    said = rondo("export-status", demo).stdout
    assert "complete" in said
    assert "last failure" in said
    whole = json.loads(rondo("export-status", tmp_path, "--format", "json").stdout)[0]
    assert (whole["lag_ns"], whole["ended"], whole["samples"] >= 40) == (0, True, True)
    assert rondo("export-status", tmp_path).stdout.splitlines()[2].startswith("demo.rondo  ledger")


def test_a_plugin_shows_what_it_can_be_told(rondo):
    """`rondo plugins NAME` lists its options, with what they allow."""
    said = rondo("plugins", "ledger").stdout
    assert "plain|broken|raising" in said
    assert "required" in said
    assert "(secret)" in said
    assert "not installed; there is" in rondo("plugins", "nowhere", status=1).stderr


def test_hook_rondo_options_check_is_asked_before_anything_is_opened():
    """With the table in its types; what it raises of rondo's own is said as it is, anything else names the plugin."""

    seen = []

    class Strict:
        @hookimpl
        def rondo_options_define(self):
            return [Option("level", "integer", default=3)]

        @hookimpl
        def rondo_options_check(self, config):
            seen.append(config)
            if config["level"] > 5:
                raise UsageError(f"level: {config['level']}: at most 5")
            return 1 / config["level"]

        @hookimpl
        def rondo_exporter_open(self):
            raise AssertionError("opened")

    for table, error, said in (
        ({"level": "9"}, UsageError, "level: 9: at most 5"),
        ({"level": 0}, HookError, "plugin strict: rondo_options_check: ZeroDivisionError"),
        ({"lefel": 1}, UsageError, "exporters.strict.lefel: no such key; did you mean level?"),
    ):
        plugins = Plugins(config={"strict": table}, where={"strict": "exporters.strict"})
        plugins.register(Strict(), "strict")
        with pytest.raises(error, match=re.escape(said)):
            plugins.check("strict")
    plugins = Plugins()
    plugins.register(Strict(), "strict")
    plugins.check("strict")
    assert seen == [{"level": 9}, {"level": 0}, {"level": 3}]
