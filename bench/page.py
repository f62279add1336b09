"""How soon the page paints its first chart once the points have come: 100 series over 600 s, in Chromium.

A store of 100 counters that were recorded for 600 s is served, and its page opened in a new browser each time, with all
100 lines asked for. Counted is from the last byte of the answer, as the browser's resource timing has it, to the frame
after the one in which the chart was drawn; and beside it what the page's main thread took of a CPU until then: to read
60,000 points, lay them on a grid, draw them, and write a legend of 100 lines.
"""

import sys

from harness import Report, finish, machine, options, temporary_folder

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_web import Sidecar, listen

N_SERIES, SECONDS, LIMIT_MS = 100, 600, 300.0
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WATCH = """
const isPainted = ({ target }) => target.dataset?.drawn && target.querySelector("h3").textContent === "jobs_total";
new MutationObserver((changes) => {
  if (window.painted || !changes.some(isPainted)) return;
  requestAnimationFrame(() => setTimeout(() => {
    const asked = performance.getEntriesByType("resource").filter(({ name }) => name.includes("query_range"));
    window.painted = performance.now() - Math.max(...asked.map(({ responseEnd }) => responseEnd));
  }));
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-drawn"] });
"""


def record(path):
    """Record 100 counters for 600 s."""
    clock = ManualClock(wall_ns() - (SECONDS + 60) * NS_PER_S)
    with Store(path, [Schema("jobs", "counter", N_SERIES, (Tier("1s", "20m"),))], clock=clock) as store:
        counters = [store.counter("jobs_total", worker=str(each)) for each in range(N_SERIES)]
        for second in range(SECONDS):
            for index, each in enumerate(counters):
                each.inc((second * (index + 7)) % 23)
            clock.advance(1)


def look(browser, address):
    """Open the page once: ms from the last byte to the paint, and ms of CPU of the main thread until then."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.add_init_script(WATCH)
    page.goto(f"{address}#read=jobs_total%3Arate%2C0")
    painted = page.wait_for_function("() => window.painted").json_value()
    if page.locator(".legend tbody tr").count() < N_SERIES:
        raise SystemExit("page: not all lines were drawn")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    context.close()
    return painted, metrics["TaskDuration"] * 1000


def main():
    """Open it as often as asked; the first time does not count."""
    from playwright.sync_api import sync_playwright

    asked = options(__doc__ or "", chromium={"default": "/usr/bin/chromium", "help": "the browser"})
    report = Report("page", asked, machine("rondo-tsdb", "playwright"), __doc__ or "")
    with temporary_folder() as folder, sync_playwright() as driver:
        store = folder / "jobs.rondo"
        record(store)
        with Sidecar(store, listen("127.0.0.1", 0)) as sidecar:
            browser = driver.chromium.launch(executable_path=asked.chromium, args=FLAGS)
            look(browser, sidecar.url.removesuffix("metrics"))
            found = [look(browser, sidecar.url.removesuffix("metrics")) for _ in range(asked.repeat)]
            browser.close()
    painted = [each for each, _ in found]
    report.case("last byte to paint", painted, "ms")
    report.case("main thread, from the page's start", [each for _, each in found], "ms CPU")
    report.save()
    median = sorted(painted)[len(painted) // 2]
    if median > LIMIT_MS:
        print(f"page: {median:.0f} ms from the last byte to the paint; at most {LIMIT_MS:.0f}", file=sys.stderr)
    return int(median > LIMIT_MS)


if __name__ == "__main__":
    finish(main)
