"""The page of six programs: each is started as the page says, and its questions are answered as the page has it."""

import ast
import http.client
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import StoreReader, StoresReader
from rondo_core.maintain import plan_store
from rondo_core.units import format_size

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "programs.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
needs = {name: importlib.util.find_spec(name) is not None for name in ("gunicorn", "fastapi", "uvicorn")}


def blocks(section, language="python"):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```\n", SECTIONS[section] + "\n", re.DOTALL | re.MULTILINE)
    return [text for found, text in fenced if found == language]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty directory to work in; the stores go below `stores` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RONDO_DIR", str(tmp_path / "stores"))
    return tmp_path


def written(section, home):
    """Write the section's program under the name that its first line gives."""
    (program,) = blocks(section)
    path = home / program.partition("\n")[0].removeprefix("# ")
    path.write_text(program)
    return path


def answers(section):
    """Ask what the section asks, as a shell would; give each answer, its table's rows alone."""
    said = []
    for line in "".join(blocks(section, "")).splitlines():
        if line.startswith("rondo "):
            words = shlex.split(os.path.expandvars(line))
            done = subprocess.run(
                [sys.executable, "-m", "rondo_cli", *words[1:]], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            said.append(done.stdout.rpartition("---\n")[2])
    return said


def number(rows):
    """Add up what a table says, of one store or of each."""
    return sum(float(cell) for row in rows.splitlines() for cell in row.split()[1:])


def total(directory, selector):
    with StoresReader(directory) as reader:
        return sum(float(data.values[-1]) for data in reader.query(selector, fn="last", tier=0) if len(data))


class Connection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


def ask(path="/"):
    connection = Connection("sock")
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


class Server:
    """A server of a section's program, started by the words that the page starts it with."""

    def __init__(self, command, ready, *more):
        self._command, self._ready = [sys.executable, "-m", *command, *more], ready

    def __enter__(self):
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if self._ready in line:
                return self
        self.__exit__()
        raise AssertionError("".join(self.said))

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.said.append(self.process.communicate(timeout=60)[0])
        finally:
            self.process.kill()
            self.process.wait()


def command_of(section):
    """Give the words that start the program."""
    return shlex.split(blocks(section, "")[0])


@pytest.mark.skipif(not needs["gunicorn"], reason="needs the package gunicorn")
def test_workers_that_retire_and_are_killed_lose_no_request(home):
    """What all stores together say is what was served, exactly, though workers retire, are killed, and are folded."""
    written("gunicorn", home)
    command = [{"10000": "12", "4": "2"}.get(word, word) for word in command_of("gunicorn")]
    with Server(command, "Booting worker", "--bind", "unix:sock") as server:
        pids = [int(ask()) for _ in range(30)]
        os.kill(pids[-1], signal.SIGKILL)
        pids += [int(ask()) for _ in range(30)]
    assert server.process.returncode == 0, "".join(server.said)
    shop = home / "stores" / "shop"
    assert len(set(pids)) >= 4
    assert total(shop, "http_requests_total") == 60
    listed, grown, p99 = answers("gunicorn")
    lives = listed.splitlines()[:-1]
    assert sum("exit status 0" in row for row in lives) == len(lives) - 1
    assert sum(" gone " in row for row in lives) == 1
    assert number(grown) == 60
    assert 0 < number(p99) < 60
    pruned = [sys.executable, "-m", "rondo_cli", "prune", str(shop), "--keep-last", "1"]
    subprocess.run(pruned, check=True, capture_output=True)
    assert {path.name for path in shop.glob("*.rondo")} >= {"ended.rondo"}
    assert len([*shop.glob("*.rondo")]) == 2
    assert total(shop, "http_requests_total") == 60
    assert number(answers("gunicorn")[1]) == 60


@pytest.mark.skipif(not (needs["fastapi"] and needs["uvicorn"]), reason="needs the packages fastapi and uvicorn")
def test_an_asgi_service_is_recorded_by_its_routes(home):
    """Every request is there by its template, and the store is closed though the server ends by a signal."""
    written("FastAPI", home)
    with Server(command_of("FastAPI"), "Uvicorn running", "--uds", "sock") as server:
        for each in range(5):
            assert ask(f"/orders/{each}") == b'{"number":%d}' % each
    api = home / "stores" / "api"
    assert total(api, 'http_requests_total{route="/orders/{number}",status=200}') == 5, "".join(server.said)
    answers("FastAPI")
    (store,) = api.glob("*.rondo")
    with StoreReader(store) as reader:
        assert reader.runs()[-1].ended == "closed"


def test_a_pool_counts_every_task(home):
    """Whichever of its processes did it, and though none of them closes its store."""
    program = written("A pool of processes", home)
    said = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert int(said.stdout) == sum(range(100))
    assert total(home / "stores" / "resize", "images_total") == 100
    assert [number(line) for line in answers("A pool of processes")] == [100]


def test_runs_of_cron_that_overlap_record_beside_each_other(home):
    """The first goes on in the store, the second beside it; both are read as one, and the next one has the store."""
    program = written("cron", home)
    command = [sys.executable, program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "recording into nightly.rondo\n"
        second = subprocess.run(command, input="a\nb\n", capture_output=True, text=True, check=True)
        assert re.fullmatch(r"recording into \S*nightly-\d+-\S+\.rondo\n", second.stdout)
        assert f"process {first.pid} writes this store" in second.stderr
        first.communicate("a\nb\nc\n", timeout=60)
    third = subprocess.run(command, input="a\n", capture_output=True, text=True, check=True)
    assert third.stdout == "recording into nightly.rondo\n"
    assert total(home, "nightly_runs_total") == 3
    assert total(home, "nightly_lines_total") == 6
    grown, last = answers("cron")
    assert number(grown) == 6
    assert "closed" in last
    assert sum(file.stat().st_size for file in (home / "nightly.rondo").iterdir()) <= 4 << 20


def test_an_asyncio_service_is_timed_to_the_end_of_its_coroutines(home):
    """Each message once, however the loop interleaves them; with the table of the page the loop's own series are there."""
    program = written("asyncio", home)
    (home / "rondo.toml").write_text(blocks("asyncio", "toml")[0])
    subprocess.run([sys.executable, "-W", "error", program], check=True, timeout=60)
    feed = home / "stores" / "feed"
    assert total(feed, "messages_total{outcome=done}") == 100
    (store,) = feed.glob("*.rondo")
    with StoreReader(store) as reader:
        (seconds,) = reader.query("message_duration_seconds", fn="count", tier=0)
        assert seconds.values.sum() == 100
        (waiting,) = reader.query("messages_in_progress", fn="last", tier=0)
        assert waiting.values[-1] == 0
        assert reader.series("asyncio_loop_lag_seconds")
    assert 0 < number(answers("asyncio")[0]) < 60


def of_kernels(*turns):
    """What the cells of each turn show in a real kernel, which is restarted in between, the last time by a kill."""
    pytest.importorskip("ipykernel")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kernel_process.py")],
        input=json.dumps(turns),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cells_of_a_notebook_run_twice_and_share_a_store(home):
    """In a real kernel: a result is shown as a table, a plot as a picture, and each kernel leaves the store of its life."""
    cells = blocks("A notebook")
    assert isinstance(ast.parse(cells[-1]).body[-1], ast.Expr)
    first, second, third = of_kernels([*cells, *cells, "store.query('loss').plot()"], cells, cells[:1])
    plotted = first.pop()
    assert [sorted(output) for output in plotted] == [["text/plain"], ["image/png", "text/plain"]], plotted
    assert [[sorted(output) for output in outputs] for outputs in first] == 2 * [[], [], [["text/html", "text/plain"]]]
    assert "epochs_total" in first[-1][0]["text/html"]
    assert (second[:2], third) == ([[], []], [[]])
    training = home / "stores" / "training"
    stores = [StoreReader(path) for path in training.glob("*.rondo")]
    (one, *none), (two, *other), (last, *_) = sorted(
        (store.runs() for store in stores), key=lambda runs: runs[0].opened_ns
    )
    assert (one.ended, none, two.ended, other) == ("returned", [], "", [])  # the second was killed
    assert last.ended == "returned"
    marks = [event.text for store in stores for event in store.events() if event.text == "trained"]
    for store in stores:
        store.close()
    assert len(marks) == 3
    assert total(training, "epochs_total") == 9


def test_every_program_of_the_table_has_its_section():
    """And each of its links to another page leads somewhere."""
    linked = re.findall(r"\]\(#([a-z-]+)\)", PAGE)
    assert linked == [name.lower().replace(" ", "-") for name in SECTIONS]
    assert len(linked) == 7


def test_a_programs_own_tests_pass(home):
    """The tests that the first page shows: each of its functions, called as pytest does."""
    started = (DOCS / "getting-started.md").read_text()
    (test,) = re.findall(r"```python\n(# test_shop.py\n.*?)```", started, re.DOTALL)
    calls = "from pathlib import Path\ntest_a_request_is_counted()\ntest_what_a_minute_comes_to(Path.cwd())\n"
    assert test.count("def test_") == 2
    subprocess.run([sys.executable, "-W", "error", "-c", test + calls], check=True)


def test_what_a_small_store_has_room_for_is_what_the_page_says():
    """Row by row of the table of costs."""
    started = (DOCS / "getting-started.md").read_text()
    rows = re.findall(r"^  \| (\d+ MiB|none given) \| (.*) \|$", started, re.MULTILINE)
    assert len(rows) == 4
    for bound, said in rows:
        plan = plan_store(None, bound if bound[0].isdigit() else None)
        room = {schema.name: schema.max_series for schema in plan.schemas}
        gauges = room["gauges"] + room.get("peaks", 0)
        told = [room["counters"], gauges, room["summaries"], room.get("quantiles", 0), format_size(plan.total_bytes)]
        assert said == " | ".join(map(str, told))
