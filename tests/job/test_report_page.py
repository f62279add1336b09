"""A report's file opened in a browser that has no network, and the Markdown's charts drawn by Mermaid itself."""

import re
from pathlib import Path

import attrs
import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import NS_PER_S
from rondo_job.reports.content import Chart, ChartLine, Section, TextTable
from rondo_job.reports.making import make_report
from rondo_job.reports.markdown import mermaid, to_markdown
from rondo_job.reports.page import to_html

pytestmark = pytest.mark.chromium
MERMAID = Path(__file__).parents[2] / ".tools" / "mermaid" / "mermaid.min.js"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
HOSTILE = '</script><img src=x onerror="document.title=1">'
START_NS = 1_700_000_000 * NS_PER_S


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a program of two minutes, whose marks and series a stranger named."""
    path, clock = tmp_path_factory.mktemp("lives") / "s.rondo", ManualClock(START_NS)
    tiers = (Tier("1s", "10m"),)
    schemas = [Schema("counters", "counter", 8, tiers), Schema("gauges", "gauge", 8, tiers)]
    with Store(path, schemas, clock=clock, writer=HOSTILE, labels={"host": HOSTILE}) as store:
        cpu = store.counter("process_cpu_seconds_total", unit="seconds")
        memory = store.gauge("process_resident_memory_bytes", unit="bytes")
        other = store.gauge("queue", of=HOSTILE)
        for second in range(120):
            cpu.inc(0.5 + 0.4 * (second % 7 == 0))
            memory.set((64 + second) << 20)
            other.set(second)
            if second == 60:
                store.mark(HOSTILE)
            clock.advance(seconds=1)
            store.tick()
    made = make_report(path)
    (charts,) = [section for section in made.sections if section.charts]
    limited = [attrs.evolve(each, limit=each.lines[0].values.max() * 1.5) for each in charts.charts]
    sections = [attrs.evolve(each, charts=limited) if each is charts else each for each in made.sections]
    return attrs.evolve(made, sections=sections)


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.errors, page.asked, page.failed = [], [], []
        page.on("requestfailed", lambda request: page.failed.append((request.url, request.failure)))
        page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        browser.close()


def painted(page, index):
    """How many pixels of a chart have a colour of its lines."""
    return page.evaluate(
        """(index) => {
            const canvas = document.querySelectorAll(".uplot canvas")[index];
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] > 200 && Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]) > 80) count += 1;
            return count;
        }""",
        index,
    )


def picture(page, index):
    """A chart's canvas as a text."""
    return page.evaluate("(index) => document.querySelectorAll('.uplot canvas')[index].toDataURL()", index)


def test_the_charts_are_drawn_without_a_network_and_nothing_is_asked_for(report, page, tmp_path):
    """One file from a disk shows its charts, asks nobody, has no error, and takes no stranger's text for HTML."""
    file = tmp_path / "report.html"
    file.write_text(to_html(report))
    page.goto(file.as_uri())
    page.wait_for_selector(".uplot canvas")
    n_charts = sum(len(section.charts) for section in report.sections)
    assert page.locator(".uplot canvas").count() == n_charts == 2
    for index in range(n_charts):
        assert painted(page, index) > 300
    assert page.asked == [file.as_uri()]
    assert page.errors == []
    assert page.locator("img").count() == 0
    assert page.title() != "1"
    assert HOSTILE in page.locator("body").inner_text()


def test_on_a_phone_a_table_scrolls_and_no_word_is_broken_letter_by_letter(report, page, tmp_path):
    """The report is as wide as the screen, and a row of the table of processes as high as one line."""
    header = ("process", "pid", "began", "lasted", "CPU", "peak", "ended")
    row = ("python3", "10237", "+183 ms", "8.05 s", "10 ms", "127.3 MiB", "exit status 137")
    table = TextTable(header, [row], (False, True, True, True, True, True))
    file = tmp_path / "report.html"
    file.write_text(to_html(attrs.evolve(report, sections=[*report.sections, Section("Processes", 40, table=table)])))
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    cell = page.locator(".rows tbody td", has_text="python3")
    assert cell.evaluate("cell => cell.offsetHeight") < 60
    assert cell.evaluate("cell => cell.offsetWidth") > 60


def test_a_chart_is_zoomed_and_read_and_a_line_is_hidden(report, page, tmp_path):
    """What a pointer and the keys do on the page they do in the file."""
    file = tmp_path / "report.html"
    file.write_text(to_html(report))
    page.goto(file.as_uri())
    page.wait_for_selector(".uplot canvas")
    plot = page.locator("#chart-1 .plot")
    plot.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert "in use 66 MiB" in page.locator("#said").inner_text()
    before = painted(page, 1)
    page.locator("#chart-1 .legend button.series").first.click()
    page.wait_for_function("document.querySelector('#chart-1 .legend tr.off') !== null")
    assert painted(page, 1) < before
    page.mouse.move(0, 0)
    whole = picture(page, 0)
    box = page.locator("#chart-0 .u-over").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 50, steps=5)
    page.mouse.up()
    zoomed = picture(page, 0)
    assert zoomed != whole
    page.mouse.dblclick(box["x"] + 80, box["y"] + 50)
    page.mouse.move(0, 0)
    assert picture(page, 0) == whole
    assert page.errors == []


def test_the_policy_stops_what_was_put_into_the_file(report, page, tmp_path):
    """A script or an image that anyone adds to the file is not run and not loaded: the policy names the scripts."""
    text = to_html(report)
    added = '<script>document.title = "run"</script><img src="https://example.com/x.png"></main>'
    file = tmp_path / "report.html"
    file.write_text(text.replace("</main>", added))
    page.goto(file.as_uri())
    page.wait_for_selector(".uplot canvas")
    assert page.title() != "run"
    assert [failure for url, failure in page.failed if "example.com" in url] == ["csp"]


@pytest.mark.skipif(not MERMAID.exists(), reason="no mermaid; make tools")
def test_mermaid_draws_the_charts_of_the_markdown(report, page):
    """Each chart of the Markdown is parsed and drawn by Mermaid, with a line for each of its own."""
    charts = re.findall(r"```mermaid\n(.*?)```", to_markdown(report), re.DOTALL)
    gap = np.array([np.nan, 1e-9, 3.0, np.nan, 2e12] * 100)
    odd = Chart('a "quoted" [title]; 100 %', "", np.arange(500.0), 1.0, [ChartLine("a", gap), ChartLine("b", -gap)])
    one = Chart("one point", "bytes", np.array([0.0]), 1.0, [ChartLine("a", np.array([0.0]))])
    limited = attrs.evolve(odd, limit=5e12, limit_label='limit ("its")')
    charts += [re.sub(r"```(?:mermaid\n)?", "", mermaid(each)) for each in (odd, one, limited)]
    assert len(charts) == 5
    page.set_content("<main></main>")
    page.add_script_tag(path=str(MERMAID))
    for index, text in enumerate(charts):
        svg = page.evaluate(
            """async ([id, text]) => {
                mermaid.initialize({ startOnLoad: false, securityLevel: "strict" });
                const { diagramType } = await mermaid.parse(text);
                return diagramType + (await mermaid.render(id, text)).svg;
            }""",
            [f"drawn{index}", text],
        )
        assert svg.startswith("xychart")
        assert len(re.findall(r'class="line-plot-\d+"', svg)) == text.count("\n    line [")
