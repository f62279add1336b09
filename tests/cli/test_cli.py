"""The command line, run as users run it: what it prints, and one line for every wrong input."""

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys

import click
import pytest

from rondo_cli.main import COMMANDS, cli, run
from rondo_core import ManualClock, Schema, Store

RONDO = [sys.executable, "-m", "rondo_cli"]


def spawn(*arguments):
    """Run the command in a process of its own."""
    command = [*RONDO, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def rondo(*arguments):
    """Run the command in this process, and give what a process of its own would be: its status and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = run([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished store: 30 s, two series of one counter, one gauge, one summary."""
    path = tmp_path_factory.mktemp("cli") / "demo.rondo"
    clock = ManualClock(1_700_000_000 * 10**9)
    with Store(path, clock=clock) as store:
        io_exits, mmio = (
            store.counter("vcpu_exits_total", reason="io"),
            store.counter("vcpu_exits_total", reason="mmio"),
        )
        gauge = store.gauge("vmm_rss_bytes", help="Resident memory.", unit="bytes")
        summary = store.summary("latency_ns")
        for second in range(30):
            io_exits.inc(2)
            mmio.inc()
            gauge.set(second / 4)
            summary.observe(second)
            store.tick()
            clock.advance(1)
    return path


@pytest.mark.parametrize(
    "selector", ["vcpu_exits_total{reason=io}", 'vcpu_exits_total{reason="io"}', "vcpu_exits_total{reason=~'i.'}"]
)
def test_a_selector_works_with_and_without_quotes(demo, selector):
    """The same series, however its label is written; every second of it."""
    said = spawn("query", demo, selector, "--range", "all")
    assert said.returncode == 0
    rows = said.stdout.splitlines()[2:]
    assert len(rows) == 30
    assert rows[0].split() == ["2023-11-14T22:13:20Z", "2"]
    assert rows[-1].split() == ["2023-11-14T22:13:49Z", "60"]


def test_all_matching_series_are_shown(demo):
    """Two series: both named, both with their values."""
    said = rondo("query", demo, "vcpu_exits_total").stdout
    assert '[1] vcpu_exits_total{reason="io"} (last)' in said
    assert '[2] vcpu_exits_total{reason="mmio"} (last)' in said
    assert said.splitlines()[-1].split()[1:] == ["60", "30"]


def test_a_relative_range_on_a_finished_store_ends_at_its_newest_sample(demo):
    """It says so on standard error, and the data is there."""
    said = rondo("query", demo, "vmm_rss_bytes", "--range", "5s")
    assert len(said.stdout.splitlines()) == 2 + 5
    assert "ends with its newest sample, at 2023-11-14T22:13:50Z" in said.stderr


def test_an_absolute_range(demo):
    """START..END by ISO 8601 or seconds since the epoch; END itself is outside."""
    for span in ("2023-11-14T22:13:30Z..2023-11-14T22:13:33Z", "1700000010..1700000013"):
        rows = rondo("query", demo, "vmm_rss_bytes", "--range", span).stdout.splitlines()[2:]
        assert [row.split()[1] for row in rows] == ["2.5", "2.75", "3"]


def test_a_directory_of_stores_is_read_together(demo):
    """Every store below it; a label tells them apart."""
    said = rondo("query", demo.parent, "vmm_rss_bytes{rondo_store=demo.rondo}", "--range", "3s")
    assert 'vmm_rss_bytes{rondo_store="demo.rondo"}' in said.stdout
    assert len(said.stdout.splitlines()) == 2 + 3


def test_formats_carry_exact_values(demo):
    """CSV and JSON give what was recorded, to the bit; plot draws."""
    rows = list(csv.DictReader(io.StringIO(rondo("query", demo, "vmm_rss_bytes", "--format", "csv").stdout)))
    assert [float(row["value"]) for row in rows] == [second / 4 for second in range(30)]
    assert rows[0]["timestamp_ns"] == str(1_700_000_000 * 10**9)
    (series,) = json.loads(rondo("query", demo, "vmm_rss_bytes", "--format", "json").stdout)
    assert series["points"][3] == [1_700_000_003 * 10**9, 0.75]
    assert (series["name"], series["unit"], series["kind"]) == ("vmm_rss_bytes", "bytes", "gauge")
    assert "vmm_rss_bytes (avg)" in rondo("query", demo, "vmm_rss_bytes", "--format", "plot").stdout


def test_tiers_and_consolidators(demo):
    """A coarse tier's maximum, and a rate per second."""
    rows = rondo("query", demo, "vmm_rss_bytes", "--tier", "1", "--fn", "max").stdout.splitlines()[2:]
    assert [row.split()[1] for row in rows] == ["2.25", "4.75", "7.25"]
    rows = rondo("query", demo, "vcpu_exits_total{reason=io}", "--fn", "rate").stdout.splitlines()[2:]
    assert {row.split()[1] for row in rows} == {"2"}


def test_a_quantile_says_how_far_it_may_be_off(tmp_path):
    """In the table's head, in CSV and in JSON; a reading that is exact says nothing."""
    path, clock = tmp_path / "s", ManualClock(1_700_000_000 * 10**9)
    with Store(path, [Schema("s", "summary", 1, sketch=True)], clock=clock) as store:
        for value in range(1, 101):
            store.summary("s").observe(value)
    said = rondo("query", path, "s", "--fn", "p99").stdout.splitlines()
    assert re.fullmatch(r"time +s \(p99 within \d\.\d %\)", said[0])
    (row,) = csv.DictReader(io.StringIO(rondo("query", path, "s", "--fn", "p99", "--format", "csv").stdout))
    (plain,) = json.loads(rondo("query", path, "s", "--fn", "p99", "--format", "json").stdout)
    assert 0 < plain["error"] == float(row["error"]) < 0.03
    assert abs(float(row["value"]) - 99) <= 99 * plain["error"]
    assert "(max)" in rondo("query", path, "s", "--fn", "max").stdout


def test_one_value_for_a_whole_range_and_for_all_workers(tmp_path):
    """A p99 of a run, and of all runs below a directory: one row, of all that was observed."""
    clock = ManualClock(1_700_000_000 * 10**9)
    for worker in range(2):
        with Store(tmp_path / f"w{worker}", [Schema("s", "summary", 1, sketch=True)], clock=clock) as store:
            for value in range(1, 101):
                store.summary("s", quantiles=True).observe(value + 100 * worker)
                clock.advance(1)
    rows = {}
    for name in ("w0", "w1", "."):
        said = rondo("query", tmp_path / name, "s", "--fn", "p99", "--agg", "--format", "csv").stdout
        (rows[name],) = csv.DictReader(io.StringIO(said))
    assert [row["series"] for row in rows.values()] == ["s", "s", "s"]
    for name, exact in (("w0", 99), ("w1", 199), (".", 198)):
        assert abs(float(rows[name]["value"]) - exact) <= exact * float(rows[name]["error"])
    (row,) = csv.DictReader(
        io.StringIO(rondo("query", tmp_path, "s", "--fn", "count", "--agg", "--format", "csv").stdout)
    )
    assert row["value"] == "200.0"


def test_info_says_what_is_there(demo):
    """Size, tiers, who wrote it and how that ended, every series with unit and help."""
    said = rondo("info", demo).stdout
    for expected in (
        "MiB, fixed",
        "1s/10m 10s/6h 5m/7d",
        "closed 2023-11-14",
        "Resident memory.",
        "bytes",
        "latency_ns",
    ):
        assert expected in said
    assert re.search(r"vmm_rss_bytes +gauge +30 +30s", said)


def test_plugins_lists_what_is_installed():
    """rondo's own plugins stand in the same list as anyone's, with their version."""
    said = rondo("plugins").stdout
    for name in ("standard", "process", "vcpu_exits", "vmm_uptime"):
        assert re.search(rf"{name} +rondo-tsdb +\d", said)


def one_line(said, status):
    assert said.returncode == status, said
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    lines = said.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_wrong_input_is_one_line_and_a_status(demo, tmp_path):
    """Each names the input, what is wrong and the mend; 2 for usage, 1 for failure; never a traceback."""
    (tmp_path / "file").write_text("x")
    newer = tmp_path / "newer"
    Store(newer).close()
    with (newer / "meta").open("r+b") as file:
        file.seek(8)
        file.write((7).to_bytes(4, "little"))
    short = tmp_path / "short"
    Store(short).close()
    os.truncate(short / "gauges.0.slab", 5000)
    cases = [
        (("query", tmp_path / "none", "x"), 1, "no such store"),
        (("query", tmp_path / "file", "x"), 1, "a file, not a store"),
        (("info", newer), 1, "format version 7"),
        (("query", short, "x"), 1, "gauges.0.slab: 5000 bytes where its header says"),
        (("query", demo, "vcpu_exit_total"), 1, "no such series; nearest: vcpu_exits_total"),
        (("query", demo, "vcpu_exits_total{reason}"), 2, "at character 24: expected =, !=, =~ or !~"),
        (("query", demo, 'x{a="b'), 2, "at character 5: this quote is not closed"),
        (("query", demo, "x{a=~'('}"), 2, "not a regular expression"),
        (("query", demo, "vmm_rss_bytes", "--range", "soon"), 2, "not a range"),
        (("query", demo, "vmm_rss_bytes", "--range", "5..4"), 2, "ends before it starts"),
        (("query", demo, "vmm_rss_bytes", "--range", "9e99..x"), 2, "not an instant"),
        (("query", demo, "vmm_rss_bytes", "--tier", "9"), 2, "tier '9': schema gauges has 0 (1s/10m), 1"),
        (("query", demo, "vmm_rss_bytes", "--fn", "p99"), 2, "fn p99: not for a gauge; choose avg"),
        (("query", demo, "vmm_rss_bytes", "--fn", "rate"), 2, "fn rate: not for a gauge"),
        (("export", demo, "--to", "nowhere"), 1, "no such plugin in rondo.exporters"),
        (("vmm", "--kernel", tmp_path / "file", "--store", tmp_path / "s"), 1, "not a kernel"),
        (("vmm", "--memory-mib", "0", "--no-metrics"), 2, "memory 0 MiB"),
    ]
    for arguments, status, what in cases:
        assert what in one_line(rondo(*arguments), status), arguments
    for arguments, status, what in (cases[0], cases[5]):
        assert what in one_line(spawn(*arguments), status), arguments


@pytest.mark.parametrize("group", [(), ("config",), ("plugin",), ("watch",)])
def test_a_group_without_a_command_shows_its_help(group):
    """The same lines that --help gives, each a line: what commands there are is what is missing."""
    said, asked = rondo(*group), rondo(*group, "--help")
    assert (said.stdout or said.stderr).rstrip() == asked.stdout.rstrip()
    assert len(asked.stdout.splitlines()) > 5


def test_no_permission_on_dev_kvm_is_one_line(monkeypatch, capsys):
    """Asked for by name, a /dev/kvm that may not be opened is an error with the mend; auto takes the software CPU."""
    real = os.open

    def forbidden(path, *arguments, **options):
        if path == "/dev/kvm":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", forbidden)
    assert run(["vmm", "--machine", "kvm", "--no-metrics"]) == 1
    assert "rondo: /dev/kvm: Permission denied; join the group kvm, or use --machine soft" in capsys.readouterr().err


@pytest.mark.emulator
def test_the_vmm_command_records_and_says_how_it_ended(tmp_path):
    """The console on standard output, a summary on standard error, the store readable at once."""
    path = tmp_path / "vm.rondo"
    said = spawn("vmm", "--store", path, "--machine", "soft", "--duration", "1")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == "rondo-guest 1 workload_duration=1"
    assert f"machine soft: asked for; recording to {path}" in said.stderr
    assert "power-off after" in said.stderr
    assert "vmm_uptime_seconds" in rondo("info", path).stdout


@pytest.mark.emulator
def test_a_refused_remote_write_never_stops_the_vm(tmp_path):
    """Nobody listens at the URL: the VM runs to its end with its own status, the failure is counted and shown."""
    pytest.importorskip("rondo_exporter_prometheus")
    path = tmp_path / "vm.rondo"
    url, config = "http://me:secret@127.0.0.1:9/api/v1/write", tmp_path / "rondo.toml"
    config.write_text("[exporters.prometheus]\ndeadline = '1s'\n")
    command = ("vmm", "--store", path, "--machine", "soft", "--duration", "1", "--config", config)
    said = spawn(*command, "--remote-write", url)
    assert said.returncode == 0
    assert "failed requests, the last:" in said.stderr
    assert "is still in the store: rondo export" in said.stderr
    assert "secret" not in said.stderr + said.stdout


def test_importing_the_core_loads_only_what_it_needs():
    """`import rondo_core` loads neither click, requests, protobuf nor rich; recording needs no numpy."""
    code = (
        "import sys, rondo_core, tempfile; from rondo_core import *; import rondo_core.store\n"
        "s = rondo_core.Store(tempfile.mkdtemp() + '/s'); s.counter('c_total').inc(); s.tick()\n"
        "print([m for m in ('click', 'requests', 'google.protobuf', 'rich', 'pandas', 'plotext') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_plan_says_what_a_store_will_take(demo, tmp_path):
    """The same bytes for numbers, for the file that they were written to, and for the store made from it."""
    numbers = ["--counters", 20, "--gauges", 10, "--summaries", 2, "--tier", "1s/10m", "--tier", "10s/6h"]
    said = rondo("plan", *numbers)
    assert said.returncode == 0, said.stderr
    assert "export may fail for 9m58s and loses nothing; after that queries still have 10s for 6h." in said.stdout
    file = tmp_path / "schemas.toml"
    file.write_text(rondo("plan", *numbers, "--format", "toml").stdout)
    assert rondo("plan", file).stdout == said.stdout
    plain = json.loads(rondo("plan", file, "--format", "json").stdout)
    code = f"from rondo_core import Store, read_schemas\nStore({str(tmp_path / 's')!r}, read_schemas({str(file)!r})).close()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert plain["files"] == {each.name: each.stat().st_size for each in (tmp_path / "s").iterdir()}
    assert f"{plain['total_bytes']} bytes" in said.stdout
    assert rondo("plan", tmp_path / "s").stdout == said.stdout
    assert json.loads(rondo("plan", demo, "--format", "json").stdout) == json.loads(
        rondo("plan", "--format", "json").stdout
    )
    assert json.loads(rondo("plan", "--vmm", "--format", "json").stdout)["total_bytes"] <= 1_500_000


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--counters", 3, "--vmm"], "give one of them"),
        (["--counters", 0], "room for no series"),
        (["--tier", "1s"], "--tier 1s: no retention"),
        (["--tier", "1s/10q"], "'10q': not a duration"),
        (["nowhere"], "nowhere: No such file or directory; check the path"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused_in_one_line(arguments, what):
    """The input, what is wrong with it, the mend."""
    said = rondo("plan", *arguments)
    assert said.returncode in {1, 2}
    assert what in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert said.stdout == ""


def test_the_plan_of_the_default_store_shows_all_of_it():
    """Without arguments: every schema, what has sketches among them, its reserve, and all of it in at most 24 MiB."""
    lines = rondo("plan").stdout.splitlines()
    assert [line.split()[:4] for line in lines if line.partition(" ")[0] in {"counters", "gauges", "summaries"}][:3] == [
        ["counters", "counter", "100", "5"], ["gauges", "gauge", "20", "2"], ["summaries", "summary", "20", "2"]
    ]  # fmt: skip
    assert (
        next(line for line in lines if line.startswith("quantiles"))
        .rstrip()
        .rpartition("totals, ")[2]
        .startswith("sketch")
    )
    (size,) = [int(line.split()[0]) for line in lines if "on disk, room for" in line]
    assert size <= 24 << 20


def test_a_store_is_migrated_by_a_file_that_was_planned(demo, tmp_path):
    """Plan, change, look, migrate: the points are as before, and the room is what was asked for."""
    import shutil

    path, file = tmp_path / "moved.rondo", tmp_path / "schemas.toml"
    shutil.copytree(demo, path)
    before = rondo("query", path, "vcpu_exits_total").stdout
    file.write_text(rondo("plan", path, "--format", "toml").stdout.replace("max_series = 100", "max_series = 120"))
    said = rondo("migrate", path, "--schema", file, "--dry-run")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1].startswith("nothing was written; ")
    assert re.search(r"counters +1s/10m +30 +0 +\d+", said.stdout)
    assert rondo("plan", path).stdout == rondo("plan", demo).stdout
    said = rondo("migrate", path, "--schema", file)
    assert f"{path} has been migrated" in said.stdout
    assert rondo("plan", path).stdout == rondo("plan", file).stdout
    assert rondo("query", path, "vcpu_exits_total").stdout == before
    assert "already; nothing to do" in rondo("migrate", path, "--schema", file).stdout
    file.write_text('[[schema]]\nname = "counters"\nkind = "counter"\nmax_series = 1\n')
    said = rondo("migrate", path, "--schema", file)
    assert said.returncode == 2
    assert "no schema takes this gauge" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_coverage_is_shown_where_it_is_asked_for(demo):
    """Beside each value, for one series and for several; points with too little of it can be left out."""
    said = rondo("query", demo, "vmm_rss_bytes", "--tier", 1, "--coverage").stdout.splitlines()
    assert said[0].split()[-1] == "coverage"
    assert [row.split()[-1] for row in said[2:]] == ["10/10"] * 3
    said = rondo("query", demo, "vcpu_exits_total", "--tier", 2, "--coverage").stdout.splitlines()
    assert [row.split()[2::2] for row in said[-1:]] == [["30/300", "30/300"]]
    assert "no points" in rondo("query", demo, "vcpu_exits_total", "--tier", 2, "--xff", 0.5).stdout
    said = rondo("query", demo, "vcpu_exits_total", "--coverage", "--format", "plot")
    assert said.returncode == 2
    assert "choose table, csv or json" in said.stderr


def test_the_list_of_commands_says_what_each_does():
    """`rondo --help` imports no command, and has the first sentence of each one's own help, whole, in order of their names."""
    listed = rondo("--help").stdout.partition("Commands:\n")[2]
    assert " ".join(listed.split()) == " ".join(
        f"{name} {' '.join(words.split())}" for name, words in sorted(COMMANDS.items())
    )
    with click.Context(cli) as ctx:
        for name, words in COMMANDS.items():
            assert words == cli.get_command(ctx, name).get_short_help_str(200), name
