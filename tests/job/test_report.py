"""rondo report: every face of a life, whatever it was, however it ended, and whatever strangers called it."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rondo_cli.main import run
from rondo_core import ManualClock, Plugins, Schema, Store, Tier, hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.errors import StoreNotFoundError
from rondo_job import hookspecs
from rondo_job.autopsy.examine import examine
from rondo_job.comparison.listing import measured_lives
from rondo_job.reports import making, page
from rondo_job.reports.bundle import bundled, digest
from rondo_job.reports.content import Chart, ChartLine, Report, Section, TextTable
from rondo_job.reports.drawing import bar, sparkline, thinned
from rondo_job.reports.machine_readable import to_junit, to_openmetrics
from rondo_job.reports.making import make_report
from rondo_job.reports.markdown import MAX_BYTES, append_summary, to_markdown
from rondo_job.reports.page import to_html
from rondo_job.reports.subject import Subject
from rondo_job.reports.terminal import TerminalReport
from tests.job.conftest import TOLD, Lives

BUSY = """
import subprocess, sys, time
kept = bytearray(64 << 20)
kept[::4096] = b"x" * len(kept[::4096])
end = time.process_time() + 0.4
while time.process_time() < end: pass
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.4: pass\\nraise SystemExit(5)"])
print("the last words", file=sys.stderr)
sys.exit(3)
"""
HOSTILE = '<b>|`"@all](x)\n\x1b[2J\u202e'


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A run of the real command that failed, with a child that did."""
    directory = tmp_path_factory.mktemp("state")
    lives = Lives(directory / "lives", directory)
    job = [sys.executable, "-c", BUSY]
    assert lives.run("--store", lives.directory, "--timeout", "60", "--name", "busy", "--", *job).returncode == 3
    return lives.life().path


def a_report(**facts):
    """A report of what a test says."""
    known = {
        "name": "n", "command": "c", "ended": "exit status 0", "outcome": "well", "start_ns": 0, "end_ns": NS_PER_S,
        "method": "tree", "path": "/lives/n.rondo", "labels": {}, "sections": (),
    }  # fmt: skip
    return Report(**{**known, **facts})


def test_a_run_that_failed_says_so_first_and_what_it_took_and_its_last_words(failed):
    """Status, CPU, memory, the child that failed and the end of standard error are on one screen."""
    text = TerminalReport(make_report(failed), width=100).text()
    lines = text.splitlines()
    assert lines[0] == "busy  ✗ exit status 3"
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    assert "the last words" in text
    assert re.search(r"CPU time +\d+ ms|CPU time +[123]", text)
    assert "60 s (--timeout)" in text
    peak = next(each.value for each in make_report(failed).measures if each.name == "memory_peak")
    assert 64 << 20 < peak < 192 << 20  # by tree, a look between a fork and its exec counts the parent's pages twice


def test_of_a_life_that_never_began_only_its_status_is_a_figure(lives):
    """Nothing of it ran: no share of a CPU, no duration, and no way of measuring is told, in no form and no list."""
    assert lives.run("--store", lives.directory, "--timeout", "60", "--", "no-such-command").returncode == 127
    report = make_report(lives.life().path)
    assert {each.name: each.value for each in report.measures} == {"exit_status": 127.0}
    assert not any(section.bars or section.charts for section in report.sections)
    assert not report.method
    assert "command not found" in to_markdown(report)
    (listed,) = measured_lives(lives.directory, pytest.fail)
    assert dict(listed.values) == {"exit_status": 127.0}


@pytest.mark.parametrize("stepped_s", [-3600, 56 * 365 * 86_400])
def test_a_duration_is_what_passed_whatever_the_clock_did(failed, tmp_path, stepped_s):
    """A machine that starts in 1970, or whose clock was ahead, gets its time while a job runs."""
    shutil.copytree(failed, tmp_path / failed.name)
    facts = json.loads((tmp_path / failed.name / "life.end").read_bytes())
    facts["ended_ns"] += stepped_s * NS_PER_S
    (tmp_path / failed.name / "life.end").write_text(json.dumps(facts))
    report, known = make_report(tmp_path / failed.name), make_report(failed)
    (lasted,) = [each.value for each in report.measures if each.name == "duration"]
    assert 0.4 < lasted < 60
    assert [lasted] == [each.value for each in known.measures if each.name == "duration"]
    assert ET.fromstring(to_junit(report)).get("time") == f"{lasted:.3f}"


@pytest.mark.parametrize("damaged", ["life.stderr", "life.children", "events", "life.inbox.taken"])
def test_damage_to_one_file_of_a_life_takes_nothing_of_the_others(failed, tmp_path, damaged):
    """Figures and verdict are there as ever, in each form; the autopsy names what does not read, where it is asked."""
    life = tmp_path / failed.name
    shutil.copytree(failed, life)
    (life / damaged).write_bytes(b"\xff" * 8)
    report, whole = make_report(life), make_report(failed)
    assert (report.measures, report.left_out) == (whole.measures, [])
    assert "exit status 3" in next(each.output for each in report.sections if each.title == "How it ended")
    for written in (to_markdown, to_html, to_junit, to_openmetrics):
        assert written(report)
    found = examine(life)
    assert found.diagnosis.cause == "exit"
    assert [damaged in each for each in found.case.left_out] == ([] if damaged == "life.inbox.taken" else [True])


def test_a_limit_is_a_line_of_each_chart_that_is_held_against_it():
    """In the page and in Mermaid a line of its own at its height; on a screen what the most is told to be of."""
    times = np.arange(4.0)
    used = [ChartLine("in use", np.array([1.0, 3.0, 2.0, 1.0]) * (1 << 20))]
    chart = Chart("Memory", "bytes", times, 1.0, used, 4.0 * (1 << 20), "limit (its limit)")
    report = a_report(sections=[Section("Over its time", charts=[chart])], end_ns=4 * NS_PER_S, timeout_s=3.0)
    drawn = json.loads(re.search(r'id="points">(.*?)</script>', to_html(report))[1])
    *_, limit = drawn["charts"][0]["lines"]
    assert (limit["label"], limit["values"]) == ("limit (its limit)", [4 << 20] * 4)
    assert [each["at"] for each in drawn["instants"] if each.get("dashed")] == [3.0]
    assert "line [4, 4]" in to_markdown(report)
    assert "Memory: in use, limit (its limit)" in to_markdown(report)
    assert "3.0 MiB of 4.0 MiB at most" in TerminalReport(report, width=80).text()
    assert max(map(len, TerminalReport(report, width=80).text().splitlines())) <= 80


def test_the_processes_of_a_run_are_listed_with_how_each_ended(failed):
    """A child that failed is found by its status, whatever became of its parent, where the kernel tells it."""
    tables = [each.table for each in make_report(failed).sections if each.title == "Processes"]
    assert {row[-1] for row in tables[0].rows} == {"exit status 3", "exit status 5" if TOLD else "ended"}


def test_every_form_is_written_by_its_name_or_the_end_of_the_file(failed, tmp_path, capsys):
    """-o says the form; without it --format does."""
    beginnings = {
        "a.html": "<!doctype html>",
        "a.md": "### ❌ busy",
        "a.json": "{",
        "a.xml": "<?xml",
        "a.txt": "# TYPE rondo",
    }
    for name, begins in beginnings.items():
        assert run(["report", str(failed), "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(begins)
    assert run(["report", "--last", str(failed.parent), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ended"], told["figures"]["exit_status"]) == ("exit status 3", 3)
    assert run(["report", str(tmp_path)]) == 1
    assert "not a store" in capsys.readouterr().err


def test_openmetrics_is_what_its_parser_takes(failed):
    """Every figure is a gauge with the unit in its name; the text ends as it has to."""
    families = {each.name: each for each in text_string_to_metric_families(to_openmetrics(make_report(failed)))}
    assert families["rondo_life_exit_status"].samples[0].value == 3
    assert families["rondo_life_memory_peak_bytes"].unit == "bytes"
    assert families["rondo_life_cpu_seconds"].samples[0].labels == {"life": "busy"}


def test_junit_has_the_figures_as_properties_and_the_failure(failed):
    """A CI system reads figures and failure from one file."""
    root = ET.fromstring(to_junit(make_report(failed)))
    properties = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert float(properties["rondo.cpu_seconds"]) > 0.3
    assert root.find(".//failure").get("message") == "exit status 3"
    assert "the last words" in root.find(".//failure").text
    assert root.get("failures") == "1"


class Links(HTMLParser):
    """All that a file of HTML could load, and its inline scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.inline, self._kind = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.loaded += [value for key, value in attributes if key in {"src", "href", "action", "srcset", "data"}]
        self._kind = tag if tag in {"script", "style"} and known.get("type") != "application/json" else None

    def handle_data(self, text):
        if self._kind:
            self.inline.append(text)

    def handle_endtag(self, _tag):
        self._kind = None


def test_the_file_of_html_names_nothing_to_load_and_its_policy_names_its_scripts(failed):
    """No link, no source; each inline script and style by its digest, and no other."""
    text = to_html(make_report(failed))
    found = Links(text)
    assert found.loaded == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert sorted(re.findall(r"'sha256-[^']*'", policy)) == sorted(map(digest, found.inline))
    assert len(found.inline) == 3
    assert len(text.encode()) <= page.MAX_BYTES


def test_a_report_that_is_too_large_gets_smaller_and_says_what_is_left_out():
    """However much plugins say, HTML stays below 1 MB and Markdown below 64 KiB."""
    times = np.arange(2500.0)
    lines = [ChartLine(f"line {index}", np.random.default_rng(index).random(2500)) for index in range(8)]
    charts = [Chart(f"chart {index}", "bytes", times, 1.0, lines) for index in range(8)]
    rows = [["x" * 200] * 3] * 2000
    sections = [Section("charts", 1, charts=charts), Section("a table", 2, table=TextTable(["a", "b", "c"], rows))]
    report = a_report(sections=sections)
    html, markdown = to_html(report), to_markdown(report)
    assert len(html.encode()) <= page.MAX_BYTES
    assert "Left out: a table" in html
    assert len(markdown.encode()) <= MAX_BYTES
    assert "What did not fit is left out" in markdown
    assert to_markdown(a_report(command="c" * 10**6)).encode().__len__() <= MAX_BYTES


def test_what_strangers_wrote_is_text_in_every_form():
    """No name, mark or output ends a table, opens a tag, steers a terminal or mentions anybody."""
    table = TextTable([HOSTILE], [[HOSTILE]])
    section = Section(HOSTILE, 1, table=table, lines=[HOSTILE], output=f"```\n{HOSTILE}", advice=[HOSTILE])
    report = a_report(name=HOSTILE, command=HOSTILE, ended=HOSTILE, labels={"host": HOSTILE}, sections=[section])
    text = TerminalReport(report, width=80).text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    html = to_html(report)
    assert "<b>" not in html.replace("`<b>", "")
    assert "\u202e" not in html
    markdown = to_markdown(report)
    outside = re.sub(r"````text.*?````", "", markdown, flags=re.DOTALL)
    assert "<b>" not in outside.replace("`<b>", "")
    assert "@all" not in re.sub(r"`[^`]*`", "", outside)
    assert "\x1b" not in markdown
    ET.fromstring(to_junit(report))
    assert list(text_string_to_metric_families(to_openmetrics(report))) == []


def test_the_summary_of_a_step_gets_a_run_by_itself_and_each_life_once(lives, tmp_path, monkeypatch, capsys):
    """rondo run appends its report; rondo report of the same life adds nothing; what was there stays."""
    summary = tmp_path / "summary.md"
    summary.write_text("before")
    environment = {**lives.environment, "GITHUB_STEP_SUMMARY": str(summary)}
    done = lives.run("--store", lives.directory, "--name", "step", "--", "true", env=environment)
    assert done.returncode == 0
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert run(["report", str(lives.life().path)]) == 0
    text = summary.read_text()
    assert text.startswith("before\n<!-- rondo report step-")
    assert text.count("### ✅ step: exit status 0") == 1
    summary.write_bytes(b"x" * ((1 << 20) - 10))
    assert "has no room" in append_summary(make_report(lives.life().path), summary)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary.md"))
    capsys.readouterr()
    assert run(["report", str(lives.life().path)]) == 0
    assert "the report is not in the step's summary" in capsys.readouterr().err


def test_a_summary_that_cannot_be_written_leaves_a_run_its_status(lives, tmp_path):
    """A run whose report goes nowhere ends as its job did."""
    environment = {**lives.environment, "GITHUB_STEP_SUMMARY": str(tmp_path / "none" / "summary.md")}
    done = lives.run("--store", lives.directory, "--", "sh", "-c", "exit 7", env=environment)
    assert done.returncode == 7
    assert b"No such file" in done.stderr


@pytest.fixture
def machine(path):
    """The store of a machine, as the monitor's recorders leave it."""
    clock = ManualClock(1_700_000_000 * NS_PER_S)
    schemas = [
        Schema("counters", "counter", 8, (Tier("1s", "10m"),)),
        Schema("gauges", "gauge", 8, (Tier("1s", "10m"),)),
    ]
    with Store(path, schemas, clock=clock, writer="vmm") as store:
        exits = store.counter("vcpu_exits_total", reason="io")
        memory = store.gauge("vmm_rss_bytes", unit="bytes")
        for second in range(30):
            exits.inc(100 + second)
            memory.set(1 << 24)
            clock.advance(1)
            store.tick()
        store.gauge("own_depth").set(7)
    return path


def test_any_life_has_a_report(machine):
    """A machine's store has its exits and memory, and what it declares itself."""
    report = make_report(machine)
    figures = {each.name: each.value for each in report.measures}
    assert figures["vcpu_exits"] == sum(100 + second for second in range(30))
    assert figures["memory_peak"] == 1 << 24
    assert figures["duration"] == pytest.approx(30, abs=1.5)
    assert report.outcome == "well"
    charts = [chart for section in report.sections for chart in section.charts]
    assert {each.title for each in charts} == {"Memory", "Exits of virtual CPUs"}
    own = next(each.table for each in report.sections if each.title == "What it recorded itself")
    assert own.rows[0][0] == "own_depth"
    with pytest.raises(StoreNotFoundError):
        make_report(machine.parent / "none.rondo")


def test_hook_rondo_report_define(machine):
    """A plugin gives sections of a life, which stand by their order; one that has nothing to say gives none."""

    class Mine:
        @hookimpl
        def rondo_report_define(self, subject):
            return [Section("Mine", 5, lines=[subject.name])] if subject.has("vcpu_exits_total") else []

    plugins = Plugins(hookspecs)
    plugins.register(Mine(), "mine")
    with Subject(machine) as subject:
        ((name, sections),) = plugins.bind("rondo_report_define", subject=subject)
    assert (name, sections[0].lines) == ("mine", ["store"])


def test_a_plugin_that_fails_is_left_out_and_named(machine, monkeypatch):
    """The other sections are there, and the report says whose are not."""
    broken = type("Broken", (), {"rondo_report_define": hookimpl(lambda self, subject: 1 / 0)})
    odd = type("Odd", (), {"rondo_report_define": hookimpl(lambda self, subject: [3])})

    class WithBroken(Plugins):
        def load(self, group, names=None):
            loaded = super().load(group, names)
            self.register(broken(), "broken")
            self.register(odd(), "odd")
            return loaded

    monkeypatch.setattr(making, "Plugins", WithBroken)
    report = make_report(machine)
    assert report.left_out == ["broken: its sections are left out", "odd: its sections are left out"]
    assert report.measures
    assert "left out: broken" in TerminalReport(report).text()


def test_advice_is_given_for_what_was_asked_and_not_used(lives):
    """Who asks SLURM for 8 CPUs and 64 GiB and uses a little of one is told what would do."""
    environment = {**lives.environment, "SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_NODE": "65536"}
    assert lives.run("--store", lives.directory, "--", "sleep", "0.3", env=environment).returncode == 0
    report = make_report(lives.life().path)
    assert any(
        re.match(r"Asked for 64\.0 GiB of memory, used .*: 64\.0 MiB would do\.", each) for each in report.advice
    )
    assert any(each.note.endswith("of 8 CPUs (SLURM)") for section in report.sections for each in section.bars)


def test_few_points_keep_every_peak():
    """However few points are kept, the least and the greatest are among them."""
    values = np.sin(np.arange(10_000.0))
    values[1234], values[8765] = 50.0, -50.0
    kept = thinned(values, 120)
    assert len(kept) <= 120
    assert (kept.max(), kept.min()) == (50.0, -50.0)
    assert thinned(values[:100], 120) is not None
    assert len(thinned(np.full(1000, np.nan), 120)) == 120


def test_bars_and_sparklines_are_as_wide_as_they_are_said_to_be():
    """Of nought nothing is full, of the least something is drawn, of all everything is."""
    assert bar(0, 10) == "░" * 10
    assert bar(1, 10) == bar(7.5, 10) == "█" * 10
    assert bar(1e-9, 10)[0] != "░"
    assert {len(bar(share / 100, 13)) for share in range(101)} == {13}
    assert sparkline(np.array([0.0, np.nan, 7.0]), 10) == "▁ █"
    assert len(sparkline(np.arange(1000.0), 40)) == 40
    assert sparkline(np.array([]), 10) == sparkline(np.full(3, np.nan), 10) == ""


def test_modules_are_put_together_in_the_order_of_their_imports():
    """Each is there once, those imported before; a form that is not known is refused rather than broken."""
    known = {
        "a.js": 'import { b as x, c } from "./b.js";\nimport { c as d } from "./c.js";\nx();',
        "b.js": 'import { c } from "./c.js";\nexport const b = () => c;',
        "c.js": "export const c = 1;",
    }
    text = bundled("a.js", known.__getitem__)
    assert [text.index(f'modules["{name}"] = ') for name in ("c.js", "b.js", "a.js")] == sorted(
        text.index(f'modules["{name}"] = ') for name in known
    )
    assert text.count('modules["c.js"] = ') == 1
    assert 'const { b: x, c } = modules["b.js"];' in text
    for bad in ('import "./b.js";', "export default 1;", 'import { a } from "./a.js";'):
        with pytest.raises(ValueError, match=r"a\.js"):
            bundled("a.js", {"a.js": bad}.__getitem__)


def test_the_ci_files_ask_for_options_that_there_are():
    """What the action and the GitLab snippet call is what the commands take."""
    from rondo_cli.main import cli

    folder = Path(__file__).parents[2] / "deploy" / "ci"
    calls = re.findall(
        r"bin/rondo\"? (\w+)((?: .*)?)$", "".join(each.read_text() for each in folder.glob("*.yml")), re.MULTILINE
    )
    assert {name for name, _ in calls} == {"run", "report", "compare"}
    for name, words in calls:
        options = {
            option for each in cli.get_command(None, name).params for option in (*each.opts, *each.secondary_opts)
        }
        given = re.findall(r"(?<= )--?[a-z][a-z-]*", words.split(" -- ")[0])
        assert set(given) <= options, (name, given)


def test_a_life_that_did_not_end_well_has_the_verdict_on_its_end(failed):
    """What `rondo autopsy` says of it, and what proves it, stand before its last words."""
    report = make_report(failed)
    titles = [each.title for each in report.sections]
    assert titles.index("How it ended") < titles.index("The end of what it said")
    (section,) = [each for each in report.sections if each.title == "How it ended"]
    assert section.output.splitlines()[0].startswith("proven: it ended by itself, exit status 3")
