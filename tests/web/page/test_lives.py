"""What the page asks beside PromQL: the lives, and what is known of one."""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Store
from rondo_web import Sidecar, listen

START_MS = 1_700_000_000_000


def get(address, path):
    try:
        with urllib.request.urlopen(f"{address}/api/v1/rondo/{path}", timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def serve(path):
    return Sidecar(path, listen("127.0.0.1", 0))


@pytest.fixture
def fleet(tmp_path, small_schemas):
    """A directory of lives: one that closed, one that raised, two levels down, and one that goes on."""
    clock = ManualClock(START_MS * 10**6)
    root = tmp_path / "fleet"
    with Store(root / "first.rondo", small_schemas, clock=clock, writer="job <b>1</b>") as store:
        store.counter("jobs_total", help="Jobs done.", queue="mail").inc()
        store.mark("deploy", version="1.4.2")
        store.tick()
        clock.advance(5)
    with (
        pytest.raises(ValueError, match="no such row"),
        Store(root / "ci" / "second.rondo", small_schemas, clock=clock),
    ):
        raise ValueError("no such row")
    with Store(root / "third.rondo", small_schemas, clock=clock) as live:
        live.gauge("level", unit="ratio").set(0.5)
        yield root, live


def test_the_list_is_as_long_as_is_asked_for(fleet):
    """The living come first, however old; how many there are is said; of one job, or the last, likewise."""
    root, _ = fleet
    with serve(root) as sidecar:
        address = sidecar.url.removesuffix("/metrics")
        found = {
            asked: get(address, f"lives?{asked}") for asked in ("limit=1", "last=2", "job=job*", "job=x", "last=x")
        }
    for asked, n_lives, names in (
        ("limit=1", 3, ["third.rondo"]),
        ("last=2", 2, ["third.rondo", "ci/second.rondo"]),
        ("job=job*", 1, ["first.rondo"]),
    ):
        data = found[asked][1]["data"]
        assert (data["n_lives"], [each["store"] for each in data["lives"]]) == (n_lives, names), asked
    assert (found["job=x"][0], found["last=x"][0]) == (400, 400)
    assert "no store here has a writer of this name; there are job <b>1</b>" in found["job=x"][1]["error"]


def test_the_list_says_of_each_life_whose_it_is_and_how_it_ended(fleet, capsys):
    """The living first, the others by their age; the words for an end are those of `rondo ls` and `rondo info`."""
    root, _ = fleet
    with serve(root) as sidecar:
        status, told = get(sidecar.url.removesuffix("/metrics"), "lives")
    assert (status, told["status"]) == (200, "success")
    data = told["data"]
    assert (data["place"], data["directory"], data["n_lives"], data["left_out"]) == ("fleet", True, 3, [])
    third, second, first = data["lives"]
    assert [each["store"] for each in data["lives"]] == ["third.rondo", "ci/second.rondo", "first.rondo"]
    assert (third["outcome"], third["ended"], third["end_ms"]) == ("live", "writing now", None)
    assert second["outcome"] == "failed"
    assert second["ended"].startswith("raised ValueError: no such row (")
    assert (first["outcome"], first["ended"], first["writer"]) == ("well", "closed", "job <b>1</b>")
    assert (first["start_ms"], first["end_ms"]) == (START_MS, START_MS + 5000)
    assert first["telling"] == {"name": "jobs_total", "kind": "counter"}
    assert first["matchers"] == {"rondo_store": "first.rondo"}
    assert run(["ls", str(root), "--format", "json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["first.rondo"]["ended"] == first["ended"]
    assert {each["name"]: each["bytes"] for each in listed.values()}["third.rondo"] == third["size_bytes"]


def test_a_life_tells_its_runs_marks_tiers_and_series(fleet):
    """All that charts are made from without being asked, with the help and unit of each series."""
    root, live = fleet
    with serve(root) as sidecar:
        address = sidecar.url.removesuffix("/metrics")
        _, told = get(address, "life?store=first.rondo")
        life = told["data"]
        assert [(each["number"], each["outcome"], each["ended"]) for each in life["runs"]] == [(1, "well", "closed")]
        (event,) = life["events"]
        assert event == {"time_ms": START_MS, "kind": "mark", "text": "deploy", "facts": {"version": "1.4.2"}, "run": 1}
        (series,) = [each for each in life["series"] if each["name"] == "jobs_total"]
        assert series == {
            "name": "jobs_total", "labels": {"queue": "mail"}, "kind": "counter", "unit": "", "help": "Jobs done.", "schema": "counters",
        }  # fmt: skip
        (schema,) = [each for each in life["schemas"] if each["name"] == "counters"]
        assert schema["tiers"][0] == {"interval_ms": 1000, "retention_ms": 60_000}
        live.gauge("later").set(1.0)
        _, told = get(address, "life?store=third.rondo")
        assert {"level", "later"} <= {each["name"] for each in told["data"]["series"]}


NO_LIVES = ("", "nope", "..", "../fleet/first.rondo", "/etc", "ci", "first.rondo/", "ci/../first.rondo")


def test_only_a_name_of_the_list_is_a_life(fleet):
    """A name is looked up among the lives there are: no path leads to anything else."""
    root, _ = fleet
    with serve(root) as sidecar:
        for name in NO_LIVES:
            status, told = get(sidecar.url.removesuffix("/metrics"), f"life?store={urllib.parse.quote(name)}")
            assert (status, told["status"], told["errorType"]) == (400, "error", "bad_data"), name
            assert "no such life here" in told["error"]


def test_a_store_that_is_served_alone_is_the_only_life(fleet):
    """Its series have no label of a directory, and it needs no name."""
    root, _ = fleet
    with serve(root / "first.rondo") as sidecar:
        address = sidecar.url.removesuffix("/metrics")
        (only,) = get(address, "lives")[1]["data"]["lives"]
        assert (only["store"], only["name"], only["matchers"]) == ("", "first.rondo", {})
        assert get(address, "life")[1]["data"]["id"] == only["id"]


def test_a_life_that_goes_on_under_its_name_is_told_as_it_is(fleet, small_schemas):
    """What is remembered of a dead store is dropped when it is opened again."""
    root, _ = fleet
    with serve(root) as sidecar:
        address = sidecar.url.removesuffix("/metrics")

        def outcome():
            found = {each["store"]: each["outcome"] for each in get(address, "lives")[1]["data"]["lives"]}
            return found["first.rondo"]

        assert outcome() == "well"
        with Store(root / "first.rondo", small_schemas, clock=ManualClock(START_MS * 10**6 + 10**10)):
            assert outcome() == "live"
        assert outcome() == "well"


def test_what_cannot_be_read_is_said_and_keeps_no_other_from_being_told(fleet):
    """A damaged store is a line beside the list."""
    root, _ = fleet
    (root / "ci" / "second.rondo" / "runs").write_bytes(b"x" * 100)
    with serve(root) as sidecar:
        _, told = get(sidecar.url.removesuffix("/metrics"), "lives")
    assert [each["store"] for each in told["data"]["lives"]] == ["third.rondo", "first.rondo"]
    (line,) = told["data"]["left_out"]
    assert "second.rondo" in line
