"""A usual mistake at the command line is answered with what to do, and leaves nothing behind."""

import contextlib
import io
import subprocess

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Store

S = 10**9
START_NS = 1_700_000_000 * S


def rondo(*arguments, status=None):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        given = run([*map(str, arguments)])
    assert status is None or given == status, err.getvalue()
    return subprocess.CompletedProcess(arguments, given, out.getvalue(), err.getvalue())


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Two finished stores of 30 s below `stores`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        clock = ManualClock(START_NS)
        with Store(f"stores/{name}", clock=clock) as store:
            for second in range(30):
                store.gauge("level").set(second)
                store.tick()
                clock.advance(1)
            store.summary("never_seconds")
    return tmp_path / "stores"


@pytest.mark.parametrize(
    "command",
    [
        ("repair", "stores", "new"),
        ("migrate", "stores", "--schema", "x.toml"),
    ],
)
def test_a_directory_of_stores_is_answered_with_the_stores_in_it(stores, tmp_path, command):
    """Where one is asked for: the message names them."""
    (tmp_path / "x.toml").write_text('[[schema]]\nname = "g"\nkind = "gauge"\n')
    before = sorted(tmp_path.rglob("*"))
    said = rondo(*command, status=2).stderr
    assert said.startswith("rondo: stores: no store, but 2 stores lie below it: stores/a, stores/b; name one")
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert "check the path" in rondo("info", tmp_path / "nowhere", status=1).stderr


@pytest.mark.parametrize("form", ["table", "csv", "json", "plot"])
def test_a_range_without_points_says_which_has_some(stores, form):
    """On standard error, as a range that --range takes; what is on standard output is as ever."""
    done = rondo("query", "stores/a", "level", "--range", "0..1", "--format", form, status=0)
    said = next(line for line in done.stderr.splitlines() if "points lie in" in line)
    assert said == "rondo: their points lie in 2023-11-14T22:13:20Z..2023-11-14T22:13:50Z, which --range takes"
    span = said.partition("lie in ")[2].partition(",")[0]
    again = rondo("query", "stores/a", "level", "--range", span, "--format", "csv", status=0)
    assert len(again.stdout.splitlines()) == 31
    assert "points lie" not in again.stderr
    assert "no point at all" in rondo("query", "stores/a", "never_seconds", "--fn", "max", status=0).stderr


def test_a_query_without_a_selector_says_where_the_series_are(stores):
    """Instead of how the command is called."""
    assert "rondo info stores/a lists the series" in rondo("query", "stores/a", status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--to", "promethus"), 1, "plugin promethus: no such plugin"),
        (("--to", "csv", "-o", "pth=x"), 2, "exporters.csv.pth: no such key; did you mean path?"),
        (("--to", "csv", "-o", "path=/proc/none/x"), 2, "path: /proc/none/x: "),
        (("--to", "prometheus"), 2, "exporters.prometheus.url: missing"),
        (("--to", "prometheus", "--url", "foo"), 2, "not an http or https URL"),
        (("--to", "csv", "--tier", "7"), 2, "tier 7: the store has tiers 0 to 2"),
        (("--to", "csv", "--fn", "mean"), 2, "'mean': choose from avg"),
        (("--to", "csv", "--match", "x{"), 2, "match: x{: at character 3"),
        (("--config", "rondo.toml"), 1, "plugin cvs: no such plugin"),
        (("--config", "rondo.toml", "--to", "csw"), 1, "plugin csw: no such plugin"),
    ],
)
def test_a_mistyped_exporter_or_option_leaves_nothing_in_the_store(stores, tmp_path, arguments, status, said):
    """No cursor, which would be listed for ever; through several exporters nothing is sent before all are known."""
    (tmp_path / "rondo.toml").write_text('[exporters.csv]\npath = "out.csv"\n[exporters.cvs]\n')
    before = {path: path.read_bytes() for path in (stores / "a").iterdir()}
    assert said in rondo("export", "stores/a", *arguments, status=status).stderr
    left = {path for path in (stores / "a").iterdir() if path not in before and path.suffix != ".lock"}
    assert left == set()
    assert {path: path.read_bytes() for path in before} == before
    assert rondo("export-status", "stores/a").stdout == "no exporter has a cursor here\n"
    out = tmp_path / "out.csv"
    assert not out.exists() or not out.read_bytes()


def test_what_an_export_leaves_is_no_stranger_to_check(stores):
    """Cursors and their locks are a store's own files."""
    rondo("export", "stores/a", "--to", "csv", "-o", "path=out.csv", status=0)
    assert list((stores / "a").glob("cursor_*.lock"))
    assert rondo("check", "stores/a", status=0).stdout == "stores/a: sound\n"
    (stores / "a" / "cursor_csv.lock").unlink()
    (stores / "a" / "cursor_csv.lock").symlink_to("meta")
    assert "symbolic link" in rondo("check", "stores/a", status=1).stdout
    (stores / "a" / "cursor_csv.lock").unlink()
    (stores / "a" / "cursor_csv.txt").touch()
    assert "not a file of this store" in rondo("check", "stores/a", status=0).stdout


IMPOSSIBLE = """
[store]
path = "{file}/store"
schemas = "nowhere.toml"
[agent]
after = "archive"
archive = "{file}"
[exporters.prometheus]
url = "http://:1/x"
[exporters.port]
plugin = "prometheus"
url = "http://host:99999/"
[exporters.certified]
plugin = "prometheus"
url = "https://host/"
ca_file = "/nowhere/ca.pem"
[exporters.token]
plugin = "prometheus"
url = "https://host/"
bearer_token_file = "/nowhere/token"
[exporters.otlp]
endpoint = "localhost:4318"
[exporters.lake]
plugin = "parquet"
directory = "{file}/lake"
instance = "vm1"
[exporters.lines]
plugin = "csv"
path = "/nowhere/x.csv"
[exporters.pages]
plugin = "openmetrics"
port = 99999
[exporters.cvs]
"""


def test_config_check_finds_what_cannot_be(tmp_path, monkeypatch):
    """URLs, ports, certificates, tokens' files and places to write, of the store, the agent and each exporter."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "rondo.toml").write_text(IMPOSSIBLE.format(file=tmp_path / "file"))
    before = sorted(tmp_path.rglob("*"))
    said = rondo("config", "check", status=2).stderr
    problems = [line.removeprefix("rondo: rondo.toml: ") for line in said.splitlines()]
    assert [problem.partition(": ")[0] for problem in problems] == [
        "store.path",
        "agent.archive",
        "store.schemas",
        *(
            f"exporters.{name}"
            for name in ["prometheus", "port", "certified", "token", "otlp", "lake", "lines", "pages", "cvs"]
        ),
    ]
    for what, problem in zip(
        (
            "is a file, not a directory",
            "is a file, not a directory",
            "nowhere.toml",
            "url: not an http or https URL",
            "url: not an http or https URL",
            "ca_file: /nowhere/ca.pem: No such file",
            "bearer_token_file: /nowhere/token: No such file",
            "endpoint: not an http or https URL",
            "directory: ",
            "path: /nowhere/x.csv: there is no /nowhere; make it",
            "port: 99999 is no port",
            "no such plugin",
        ),
        problems,
        strict=True,
    ):
        assert what in problem
    assert sorted(tmp_path.rglob("*")) == before


def test_config_check_takes_what_can_be(tmp_path, monkeypatch):
    """Directories and files that are still to be made, and credentials; it makes none of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "rondo.toml").write_text(
        '[store]\npath = "new/store"\n[agent]\nafter = "archive"\narchive = "new/done"\n'
        '[exporters.prometheus]\nurl = "https://host:1/"\nbearer_token_file = "token"\n'
        '[exporters.parquet]\ndirectory = "new/lake"\ninstance = "vm1"\n'
        '[exporters.csv]\npath = "new.csv"\n[exporters.jsonl]\n[recorders.process]\n'
    )
    assert "rondo.toml: in order" in rondo("config", "check", status=0).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rondo.toml", "token"]


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(tmp_path):
    """Or with where they are listed."""
    assert "no command 'chexk'; did you mean check?" in rondo("chexk", status=2).stderr
    assert "no command 'zzz'; rondo --help lists them" in rondo("zzz", status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("query", "stores/a", "level[5m]"), 2, "ranges and functions are given beside it (--range, --fn)"),
        (("query", "stores/a", "rate(level)"), 2, "ranges and functions are given beside it (--range, --fn)"),
        (("query", "stores/a", "level", "--fn", "AVG"), 2, "did you mean avg? choose avg, count"),
        (("query", "stores/a", "level", "--fn", "maxx"), 2, "did you mean max?"),
        (("plan", "stores/a/meta"), 2, "stores/a/meta: not TOML, which is text in UTF-8"),
        (("config", "check", "--config", "stores/a/meta"), 2, "stores/a/meta: not TOML, which is text in UTF-8"),
        (("plugins", "--store", "nowhere"), 1, "nowhere: no such store, or directory of stores"),
    ],
)
def test_what_was_meant_is_said(stores, arguments, status, said):
    """Words of other tools' languages, other letters, a file of another kind."""
    assert said in rondo(*arguments, status=status).stderr


def test_config_check_names_every_wrong_key_of_an_exporter(tmp_path, monkeypatch):
    """Not only the first of a table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rondo.toml").write_text('[exporters.csv]\nfn = ["mean"]\ninterval = "x"\ntier = -1\n')
    said = rondo("config", "check", status=2).stderr
    assert [f"exporters.csv.{key}: " in said for key in ("fn", "interval", "tier")] == [True] * 3
    own = "url = 5\ntimeout = 'x'\nurll = 'y'\nauthorization = 'Bearer s3cret'\nbearer = 's3cret'\n"
    (tmp_path / "rondo.toml").write_text(f"[exporters.prometheus]\n{own}")
    said = rondo("config", "check", status=2).stderr
    assert [f"exporters.prometheus.{key}: " in said for key in ("url", "timeout", "urll", "bearer")] == [True] * 4
    assert "s3cret" not in said


def test_the_store_of_a_machine_is_named_as_the_reference_does(tmp_path):
    """--metrics-store is --store."""
    said = rondo("vmm", "--help", status=0).stdout
    assert "--store, --metrics-store" in said
    (tmp_path / "file").touch()
    told = rondo("vmm", "--metrics-store", tmp_path / "file", "--duration", "1", status=1).stderr
    assert f"{tmp_path / 'file'}: " in told
