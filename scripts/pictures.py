"""Picture the page of `rondo serve` for docs/page.md, in Chromium: each life is recorded by a process of its own."""

from __future__ import annotations

import argparse
import io
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_web import Sidecar, listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

PICTURES = Path(__file__).parent.parent / "docs" / "page"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TIERS = (Tier("1s", "30m"), Tier("10s", "6h"))
SCHEMAS = (
    Schema("counters", "counter", 32, TIERS),
    Schema("gauges", "gauge", 16, TIERS, peaks=True),
    Schema("summaries", "summary", 4, TIERS, sketch=True),
)
# Name, writer, minutes since the start, seconds that it lasted, how it ends.
LIVES = (
    ("web-2", "gunicorn web", 31, 900, "killed"),
    ("web-1", "gunicorn web", 44, 900, "closed"),
    ("ci-build-419", "pytest", 58, 300, "closed"),
    ("ci-build-418", "pytest", 92, 240, "raised"),
    ("worker", "celery worker", 130, 400, "exit status"),
    ("etl-nightly", "cron etl", 430, 1400, "closed"),
)
LIVE = "api"


def main() -> int:
    """Record the lives, serve them, and write the pictures; 1 where there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("life", nargs="*", help="of a process that this program starts: record it, and end so")
    life = parser.parse_args().life
    if life:
        path, writer, start_s, length_s, end = life
        record(Path(path), writer, int(start_s), int(length_s), end)
        return 0
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("pictures: playwright is not installed; make test-systems installs it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        fleet, now_s = Path(root) / "fleet", wall_ns() // NS_PER_S
        for name, writer, ago_min, length_s, end in LIVES:
            started(fleet / name, writer, now_s - 60 * ago_min, length_s, end).wait()
        live = started(fleet / LIVE, "api server", now_s - 1500, 0, "")
        stack.callback(live.wait)
        stack.callback(live.terminate)
        while not (fleet / f"{LIVE}.rondo" / "meta").exists():
            time.sleep(0.1)
        sidecar = stack.enter_context(Sidecar(fleet, listen("127.0.0.1", 0)))
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        stack.callback(browser.close)
        picture(browser, sidecar.url.removesuffix("metrics"))
    return 0


def started(path: Path, writer: str, start_s: int, length_s: int, end: str) -> subprocess.Popen[bytes]:
    """Start a process that records a life."""
    words = [os.path.relpath(__file__), f"{path}.rondo", writer, str(start_s), str(length_s), end]
    return subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)  # noqa: S603 - this program


def record(path: Path, writer: str, start_s: int, length_s: int, end: str) -> None:
    """Record so many seconds of a service, and end in the way that is asked; a web server stalls for fifty.

    Where there is no length it goes on: all that has passed at once, and then each second.
    """
    clock = ManualClock(start_s * NS_PER_S)
    store = Store(path, SCHEMAS, clock=clock, writer=writer)
    sample, second = service(store, random.Random(path.name)), 0  # noqa: S311 - it is to be the same each time
    while second < length_s or not length_s:
        if not 120 <= second < 170 or not writer.startswith("gunicorn"):
            sample(second)
            store.tick()
        if second == (length_s // 3 or 1320):
            store.mark("deploy", version="2.4.1")
        second += 1
        clock.advance(1)
        while not length_s and clock.now_ns > wall_ns() - NS_PER_S:
            time.sleep(0.1)
    if end == "killed":
        os.kill(os.getpid(), 9)
    elif end == "raised":
        exec(compile("raise ValueError('order 4217 has no customer')", "orders.py", "exec"))  # noqa: S102 - as named
    elif end == "exit status":
        sys.exit(3)
    store.close()


def service(store: Store, chance: random.Random) -> Callable[[int], None]:
    """Declare the series of a service, and give what samples them at a second of its life."""
    requests = [
        store.counter("http_requests_total", help="Requests that were answered.", route=route)
        for route in ("/", "/login", "/api/items")
    ]
    cpu = store.counter("process_cpu_seconds_total", help="CPU time of the process.", unit="seconds")
    memory = store.gauge("process_resident_memory_bytes", help="Resident memory.", unit="bytes")
    queue = store.gauge("queue_depth", help="Jobs that wait.")
    took = store.summary("http_request_duration_seconds", help="Time to answer.", unit="seconds")
    phase, growth = chance.uniform(0, 6), chance.uniform(0, 4e4)

    def sample(second: int) -> None:
        swing = math.sin(second / 45 + phase)
        for index, each in enumerate(requests):
            each.inc(max(0, chance.gauss(24 - 6 * index + 6 * swing, 2)))
        cpu.inc(max(0, 0.3 + 0.2 * swing + chance.gauss(0, 0.02)))
        memory.set(1e8 + growth * second + 8e6 * swing)
        for _ in range(3):
            queue.set(max(0, 6 + 4 * swing + chance.gauss(0, 0.8)))
        for _ in range(8):
            took.observe(chance.lognormvariate(-4 + 0.5 * swing, 0.5))

    return sample


def picture(browser: Browser, address: str) -> None:
    """Write the pictures of docs/page.md."""
    write(shown(browser, address, 1400, 760), "home")
    page = shown(browser, f"{address}#life={LIVE}.rondo&range=5m", 1400, 1180, "dark")
    page.locator(".u-over").first.hover(position={"x": 400, "y": 60})
    write(page, "life")
    write(shown(browser, f"{address}#life=web-1.rondo&with=web-2.rondo", 1400, 900), "compare")
    write(shown(browser, f"{address}#life={LIVE}.rondo&range=5m", 400, 860), "narrow")


def shown(browser: Browser, address: str, width: int, height: int, scheme: str = "light") -> Page:
    """Open the page and wait until all that is in sight is drawn."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.locator(".u-over, .spark svg").first.wait_for()
    page.wait_for_function("() => !document.querySelector('.loading')")
    page.wait_for_timeout(2000)  # small charts and transitions
    return page


def write(page: Page, name: str) -> None:
    """Save what is in sight as a picture of 256 colours."""
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as whole:
        whole.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
