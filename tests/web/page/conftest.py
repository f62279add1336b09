"""A browser, and lives for it to show: of a directory that is made once, and one that is being written."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_web import Sidecar, listen

AXE = Path(__file__).parents[3] / ".tools" / "axe" / "axe.min.js"
# Debian's chromium runs as root without its sandbox only; the others keep it from asking anyone for anything.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
HOSTILE = '<img src=x onerror="document.title=1">'
LIFE_S = 120
LIVE = """
import sys
from rondo_core import Store
store = Store(sys.argv[1], writer="live")
for line in sys.stdin:
    name, number = line.split()
    store.gauge(name).set(float(number))
    store.mark("said", line=line.strip())
    store.tick()
    print("recorded", flush=True)
store.close()
"""


def schemas(max_series):
    return [
        Schema("counters", "counter", max_series, TIERS),
        Schema("gauges", "gauge", 16, TIERS, peaks=True),
        Schema("summaries", "summary", 4, TIERS, sketch=True),
    ]


def live_a_life(path, start_s, *, n_routes=3, writer="web"):
    """Record two minutes of a program that stalls for twenty seconds in the middle."""
    clock = ManualClock(start_s * NS_PER_S)
    with Store(path, schemas(n_routes + 8), clock=clock, writer=writer) as store:
        requests = [
            store.counter("http_requests_total", help="Requests.", route=f"/{each}") for each in range(n_routes)
        ]
        memory = store.gauge("process_resident_memory_bytes", unit="bytes", help=f"Memory {HOSTILE}")
        took = store.summary("took_seconds", unit="seconds")
        store.counter("odd_total", help="Odd names.", who=HOSTILE).inc()
        store.mark("deploy", version=HOSTILE)
        for second in range(LIFE_S):
            if not 50 <= second < 70:
                for index, each in enumerate(requests):
                    each.inc(n_routes - index)
                memory.set(5e7 + second * 1e5)
                memory.set(6e7 + second * 1e5)
                took.observe(0.1 + second / 1000)
                store.tick()
            clock.advance(1)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """A directory of five lives: one has 300 series, one 300 metrics, and one a hostile name."""
    root = tmp_path_factory.mktemp("lives") / "fleet"
    now_s = wall_ns() // NS_PER_S
    live_a_life(root / "web-1.rondo", now_s - 3600)
    live_a_life(root / "web-2.rondo", now_s - 1800)
    live_a_life(root / "wide.rondo", now_s - 7200, n_routes=300, writer=HOSTILE)
    clock = ManualClock((now_s - 9900) * NS_PER_S)
    with Store(root / "broad.rondo", [Schema("gauges", "gauge", 300, TIERS)], clock=clock) as store:
        gauges = [store.gauge(f"m{each:03}_level") for each in range(300)]
        for second in range(30):
            for each in gauges:
                each.set(second)
            clock.advance(1)
    live_a_life(root / "<i>odd&.rondo", now_s - 9000)
    return root


@pytest.fixture(scope="session")
def address(fleet):
    """Where the directory is served."""
    with Sidecar(fleet, listen("127.0.0.1", 0)) as sidecar:
        yield sidecar.url.removesuffix("metrics")


@pytest.fixture
def recorder(fleet):
    """What records in the life that goes on: call it with a name and a number."""
    command = [sys.executable, "-c", LIVE, str(fleet / "live.rondo")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def record(name, number):
            process.stdin.write(f"{name} {number}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "recorded\n"

        record.process = process
        yield record
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """A page in a browser of its own; at its end no error was written and nobody else was asked for anything."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.errors, page.asked = [], []
    page.on("console", lambda message: message.type in {"error", "warning"} and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()
    assert page.errors == []
    foreign = [url for url in page.asked if not url.startswith((address, f"blob:{address}"))]
    assert foreign == []
    assert page.asked
