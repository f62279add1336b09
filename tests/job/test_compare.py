"""rondo compare: which lives are compared, what conditions say, and what a CI step gets for it."""

import json

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S
from rondo_core.errors import UsageError
from rondo_job.comparison.conditions import read_fail_if
from rondo_job.comparison.groups import read_expression
from rondo_job.comparison.statistics import compare_runs

UNITS = {"duration": "seconds", "cpu_seconds": "seconds", "memory_peak": "bytes", "open_files_peak": ""}
START_NS = 1_700_000_000 * NS_PER_S
SCHEMAS = [
    Schema(f"{kind}s", kind, 8, (Tier("1s", "10m"),)) for kind in ("counter", "gauge")
]  # fmt: skip


def program(path, *, cpu_s=10.0, memory=100 << 20, seconds=20, began=0, ended=None):
    """A program's own store, as it is when that has ended."""
    clock = ManualClock(START_NS + began * NS_PER_S)
    with Store(path, SCHEMAS, clock=clock) as store:
        cpu = store.counter("process_cpu_seconds_total", unit="seconds")
        resident = store.gauge("process_resident_memory_bytes", unit="bytes")
        depth = store.gauge("queue_depth")
        for second in range(seconds):
            cpu.inc(cpu_s / seconds)
            resident.set(memory)
            depth.set(second)
            clock.advance(1)
            store.tick()
        if ended:
            store.close(ended)


@pytest.fixture
def groups(tmp_path):
    """Five runs before and five after, which take a fifth more CPU, with 1 % of noise."""
    for index in range(5):
        noise = 1 + 0.01 * (index - 2)
        program(tmp_path / "base" / f"b{index}.rondo", cpu_s=10 * noise, began=100 * index)
        program(tmp_path / "new" / f"n{index}.rondo", cpu_s=12 * noise, began=1000 + 100 * index)
    return tmp_path / "base", tmp_path / "new"


def compare(capsys, *words):
    status = run(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_what_changed_is_told_and_what_did_not_is_the_same(groups, capsys):
    """A fifth more CPU is more; duration and memory are the same; without a condition the status is 0."""
    status, out, _ = compare(capsys, *groups, "--format", "json")
    figures = json.loads(out)["figures"]
    verdicts = {name: each["verdict"] for name, each in figures.items()}
    assert verdicts == {"duration": "same", "cpu_seconds": "more", "memory_peak": "same"}
    assert figures["cpu_seconds"]["ratio"] == pytest.approx(1.2, rel=0.01)
    assert figures["cpu_seconds"]["base"] == pytest.approx(10.0)
    assert status == 0


def test_of_a_run_that_ended_badly_that_is_said_before_its_figures(groups, capsys, tmp_path):
    """A build that failed at once took less of everything, and is no improvement."""
    program(tmp_path / "failed.rondo", cpu_s=0.1, seconds=2, began=9000, ended="exit status 2")
    _, out, _ = compare(capsys, groups[0], tmp_path / "failed.rondo")
    assert out.startswith("failed: it ended badly, exit status 2, and its figures go no further; ")


def test_of_a_run_that_goes_on_that_is_said_before_its_figures(groups, capsys, tmp_path):
    """What it has taken by now is not what it will take; as one of several it is counted."""
    with Store(tmp_path / "now.rondo", SCHEMAS) as store:
        store.counter("process_cpu_seconds_total", unit="seconds").inc(1)
        store.tick()
        _, out, _ = compare(capsys, groups[0], tmp_path / "now.rondo")
        assert out.startswith("now: it is still running, and its figures go on; ")
        assert "new   1 life of now in" in out
        assert out.split("\n")[2].endswith("now.rondo, still running")


def test_a_band_says_what_a_small_change_is_held_against(capsys, tmp_path):
    """Two milliseconds of CPU and three are the same by what they are apart, not by a share."""
    for name, cpu_s in (("a", 0.002), ("b", 0.003)):
        program(tmp_path / f"{name}.rondo", cpu_s=cpu_s)
    _, out, _ = compare(capsys, tmp_path / "a.rondo", tmp_path / "b.rondo")
    (line,) = [each for each in out.split("\n") if each.startswith("cpu_seconds")]
    assert line.endswith("± 20 ms  same")


def test_a_condition_that_is_met_is_the_exit_status_and_named(groups, capsys):
    """Of two conditions the one that is met fails, and says by how much."""
    status, out, _ = compare(
        capsys, *groups, "--fail-if", "cpu_seconds > 1.1 * base", "--fail-if", "memory_peak > 1GiB"
    )
    assert status == 1
    assert "FAILS   cpu_seconds > 1.1 * base: 12 s, and the bound is 11 s" in out
    assert "ok      memory_peak > 1GiB: 100.0 MiB, and the bound is 1.0 GiB" in out


def test_a_figure_of_ones_own_is_compared(groups, capsys):
    """An expression of PromQL is a figure, and a condition can speak of it."""
    asked = ("--figure", "depth=max_over_time(queue_depth[$life])", "--fail-if", "depth > base + 1")
    status, out, _ = compare(capsys, *groups, *asked, "--format", "json")
    told = json.loads(out)
    assert told["figures"]["depth"]["new"] == 19
    assert [each["outcome"] for each in told["conditions"]] == ["holds"]
    assert status == 0


def test_without_a_base_a_limit_is_a_limit(tmp_path, capsys):
    """One life is held against numbers alone."""
    program(tmp_path / "one.rondo", memory=300 << 20)
    assert compare(capsys, tmp_path / "one.rondo", "--fail-if", "memory_peak > 200MiB")[0] == 1
    assert compare(capsys, tmp_path / "one.rondo", "--fail-if", "memory_peak > 400MiB")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BASE", "NEW", "--fail-if", "cpu > 1"], "no figure cpu; there are cpu_seconds, "),
        (["BASE", "NEW", "--fail-if", "memory_peak > 4 apples"], "is not a size, such as 4GiB"),
        (["BASE", "NEW", "--fail-if", "much"], "not a condition; write 'memory_peak > 4GiB'"),
        (["NEW", "--fail-if", "cpu_seconds > base"], "there is no base here; give --against DIR, or a number"),
        (["NEW"], "nothing to compare it with; give BASE too, --against DIR, or --fail-if"),
        (["BASE", "NEW", "NEW"], "too many lives"),
        (["BASE", "NEW", "--figure", "x"], "write NAME=EXPRESSION"),
        (["BASE", "NEW", "--figure", "duration=1"], "duration is a figure of rondo's own"),
        (["BASE", "NEW", "--figure", "x=sum("], "--figure x=sum("),
        (["BASE", "NEW", "--figure", 'x={__name__=~".+"}'], "series; say which number of them counts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(groups, capsys, words, said):
    """A command line that is wrong is one line with the mend, and status 2."""
    places = {"BASE": groups[0], "NEW": groups[1]}
    status, out, err = compare(capsys, *(places.get(each, each) for each in words))
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_first_run_has_nothing_before_it_and_does_not_fail(lives, capsys):
    """A CI job's first run with a condition on the base is said to have none, and passes; its second is compared."""
    condition = ("--fail-if", "processes_peak > 3 * base", "--fail-if", "exit_status != 0")
    assert lives.run("--store", lives.directory, "--name", "job", "--", "true").returncode == 0
    status, out, err = compare(capsys, "--last", lives.directory, *condition)
    assert status == 0
    assert "nothing to compare it with yet" in err
    assert "unknown processes_peak > 3 * base: no base has it" in out
    assert lives.run("--store", lives.directory, "--name", "other", "--", "true").returncode == 0
    assert lives.run("--store", lives.directory, "--name", "job", "--", "sh", "-c", "exit 3").returncode == 3
    status, out, err = compare(capsys, "--last", lives.directory, *condition)
    assert status == 1
    assert "base  1 life of job in" in out
    assert "FAILS   exit_status != 0: 3" in out
    assert err == ""


def test_only_a_change_that_is_more_than_noise_meets_a_bound_of_the_base():
    """Ten percent more of runs that differ by as much from each other is no reason to fail."""
    noisy = compare_runs([10, 11.5, 9, 10, 12], [11, 12.8, 10, 11, 13])
    quiet = compare_runs([10, 10.1, 9.9, 10, 10], [11, 11.1, 10.9, 11, 11])
    condition = read_fail_if("cpu_seconds > 1.05 * base", UNITS)
    assert condition.judged(noisy).outcome == "noise"
    assert condition.judged(quiet).outcome == "fails"
    assert read_fail_if("cpu_seconds > 10.5s", UNITS).judged(noisy).outcome == "fails"


@pytest.mark.parametrize(
    ("text", "factor", "offset"),
    [
        ("cpu_seconds > 1.2 * base", 1.2, 0),
        ("cpu_seconds>=base*2", 2, 0),
        ("memory_peak > base + 64MiB", 1, 64 << 20),
        ("duration < base - 1m", 1, -60),
        ("duration > 90s", 0, 90),
        ("open_files_peak == 0", 0, 0),
        ("duration > 0", 0, 0),
    ],
)
def test_conditions_are_read_as_they_are_written(text, factor, offset):
    """A bound is a number with its unit, or a part of the base and something more."""
    condition = read_fail_if(text, UNITS)
    assert (condition.factor, condition.offset) == (factor, offset)


def test_an_expression_of_bytes_or_seconds_is_written_in_them():
    """The unit of a figure of one's own is the end of its name."""
    assert read_expression("a_bytes = max(x)").unit == "bytes"
    assert read_expression("b_seconds=x").unit == "seconds"
    with pytest.raises(UsageError, match="NAME=EXPRESSION"):
        read_expression("1x=y")
