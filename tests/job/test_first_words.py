"""What a person reads first of a red CI step, of a cron job that ran out of memory, of a build that got slower."""

import sys

import pytest

from rondo_cli.main import run
from rondo_job import LifeEnd
from tests.job.conftest import Lives

RED = "echo '::group::unit'; echo 'test_tax: 30 is not 31' >&2; exit 2"
BALLOON = "held = []\nwhile True: held.append(b'x' * 1000000)\n"
WORK = "import time\nwhile time.process_time() < {seconds}: pass\n"


def sections(text):
    """The headings of a Markdown report, in their order."""
    return [line.partition("<summary>")[2].partition("<")[0] for line in text.splitlines() if "<summary>" in line]


def test_a_red_step_says_how_it_ended_and_what_it_said_before_all_figures(lives):
    """In the step's summary, without a further command; the line at the end names the command that says more."""
    summary = lives.cwd / "summary.md"
    environment = {**lives.environment, "GITHUB_STEP_SUMMARY": str(summary)}
    done = lives.run("-q", "--name", "tests", "--", "bash", "-eo", "pipefail", "-c", RED, env=environment)
    assert done.returncode == 2
    said = summary.read_text()
    assert said.splitlines()[1] == "### ❌ tests: exit status 2"
    assert sections(said)[:2] == ["How it ended", "The end of what it said"]
    assert said.index("test_tax: 30 is not 31") < said.index("| CPU |")
    (last,) = [line for line in done.stderr.decode().splitlines() if line.startswith("rondo:")]
    assert last.endswith(f"see rondo autopsy {lives.life().path}")
    assert lives.run("-qq", "--", "false").stderr == b""
    assert lives.run("-q", "--", "true").stderr == b""


def test_a_cron_job_that_ran_out_of_memory_mails_that(lives, capsys):
    """`-q` is silent of the nights that went well, and of the one that did not it says what killed whom."""
    done = lives.run(
        "-q", "--memory-max", "64MiB", "--", "sh", "-c", f'{sys.executable} -c "$1"; exit $?', "sh", BALLOON
    )
    if b"no control group" in done.stderr:
        pytest.skip("no control group can be made here")
    life = lives.life()
    if not (isinstance(life.end, LifeEnd) and life.start.before.levels and life.start.before.levels[0].own):
        pytest.skip("no control group of a job's own can be made here")
    (mail,) = [line for line in done.stderr.decode().splitlines() if line.startswith("rondo:")]
    assert "1 of its processes killed for want of memory (limit 64.0 MiB)" in mail
    assert run(["report", str(life.path)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("proven: out of memory") < shown.index("duration")
    assert shown.index("memory ran out at the limit") < shown.index("duration")


def test_of_a_build_that_got_slower_the_first_line_says_by_how_much_and_a_later_one_whose(lives, capsys):
    """And a condition on the base fails it."""
    for seconds in (0.2, 0.2, 0.2, 0.2, 0.2, 0.4):
        job = ["sh", "-c", f'{sys.executable} -c "$1"; :', "sh", WORK.format(seconds=seconds)]
        assert lives.run("-q", "--name", "build", "--", *job).returncode == 0
    status = run(["compare", "--last", str(lives.directory), "--fail-if", "cpu_seconds > 1.2 * base"])
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[0].startswith("build: ")
    assert "CPU time more by " in lines[0]
    assert any(line.startswith("CPU by command: python") for line in lines)


def test_a_directory_of_lives_is_reported_a_line_each(lives, capsys):
    """The oldest first, with how it ended and what it took, and as JSON with every figure."""
    for status in (0, 3):
        lives.run("-q", "--name", f"life{status}", "--", "sh", "-c", f"exit {status}")
    assert run(["report", str(lives.directory)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0].partition("-")[0] for row in rows] == ["life0", "life3"]
    assert "exit status 3" in rows[1]
    assert run(["report", str(lives.directory), "--format", "json"]) == 0
    assert '"exit_status": 3' in capsys.readouterr().out
    assert run(["report", str(lives.directory), "--format", "html"]) == 2
    assert "is of one; name one, or give --last" in capsys.readouterr().err


def test_a_copy_of_a_life_is_a_life(lives, capsys):
    """What `rondo run` keeps beside the store goes with it: the autopsy of the copy says what that of the life does."""
    lives.run("-q", "--", "sh", "-c", "echo last words >&2; exit 3")
    life = lives.life()
    copy = lives.cwd / "copy.rondo"
    assert run(["copy", str(life.path), str(copy)]) == 0
    again = Lives(lives.cwd, lives.cwd).life()
    assert (again.start, again.end, again.children(), again.output()) == (
        life.start, life.end, life.children(), life.output()
    )  # fmt: skip
    capsys.readouterr()
    assert run(["autopsy", str(copy)]) == 0
    assert "last words" in capsys.readouterr().out
    assert run(["check", str(copy)]) == 0
