"""The page in a browser: what a person sees and does. Each test ends with no error and no request to anyone else."""

import csv
import io
import json
import re
import urllib.parse

import pytest

from rondo_web import Sidecar, listen
from tests.web.page.conftest import AXE, HOSTILE

pytestmark = pytest.mark.chromium
DRAWN = ".sections article.panel[data-drawn]"


def view(address, **said):
    return f"{address}#{urllib.parse.urlencode(said)}"


def show(page, address, **said):
    page.goto(view(address, **said))
    page.wait_for_selector("main[aria-busy=false]")


def panel(page, title):
    found = page.locator("article.panel").filter(has=page.get_by_role("heading", name=title, exact=True))
    found.scroll_into_view_if_needed()
    found.locator("xpath=self::*[@data-drawn]").wait_for()
    return found


def legend(found):
    return {
        row.locator(".label").inner_text(): row.locator("td").all_inner_texts()
        for row in found.locator(".legend tbody tr").all()
    }


def where(page):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).fragment))


def test_home_lists_the_lives_and_how_each_ended(page, address, recorder):
    """The living and the dead, found by a word, each with a small chart, and a way to it."""
    recorder("level", 1)
    show(page, address)
    page.get_by_role("link", name="live.rondo").wait_for()
    rows = page.locator(".lives tbody tr")
    assert "live" in rows.first.inner_text()
    assert rows.filter(has_text="web-1.rondo").locator(".badge").inner_text().endswith("ended")
    line = rows.filter(has_text="web-1.rondo").locator("svg path.line")
    line.wait_for(state="attached")
    assert float(line.get_attribute("d").split("L")[0].split()[1]) < 4  # it begins with a whole rate, at the top
    page.keyboard.press("/")
    page.keyboard.type("wide")
    page.wait_for_function("() => document.querySelectorAll('.lives tbody tr').length === 1")
    assert where(page)["find"] == "wide"
    page.get_by_role("link", name="wide.rondo").click()
    page.get_by_role("heading", name="wide.rondo", level=1).wait_for()


def test_charts_are_made_by_kind(page, address):
    """A counter as a rate, a gauge with its extremes, a summary by mean and quantiles; each line with its figures."""
    show(page, address, life="web-1.rondo")
    rates = legend(panel(page, "http_requests_total"))
    assert list(rates) == ["/0", "/1", "/2"]
    assert [each[2] for each in rates.values()] == ["3 /s", "2 /s", "1 /s"]
    (memory,) = legend(panel(page, "process_resident_memory_bytes")).values()
    assert memory[0] == "47.7 MiB"  # the least, not that of the last values
    assert list(legend(panel(page, "took_seconds"))) == ["mean", "p50", "p90", "p99"]
    page.get_by_text("rondo", exact=True).last.click()  # what rondo says of itself is there, and closed at first
    panel(page, "rondo_samples_refused_total")


def test_a_gap_is_a_gap(page, address):
    """Where a gauge was not recorded the table has no row, and no line is drawn over it."""
    show(page, address, life="web-1.rondo")
    memory = panel(page, "process_resident_memory_bytes")
    memory.get_by_role("button", name="Table").click()
    times = memory.locator(".points tbody th").all_inner_texts()
    assert len(times) == 100  # of 120 seconds
    assert memory.get_by_role("button", name="Table").get_attribute("aria-pressed") == "true"


def test_a_chart_follows_what_is_recorded_until_its_life_ends(page, address, recorder):
    """What is recorded while one looks is drawn without being asked for; the end, and how, comes by itself."""
    recorder("level", 7)
    show(page, address, life="live.rondo")
    assert page.get_by_role("button", name="live").get_attribute("aria-pressed") == "true"
    level = panel(page, "level")
    for number in (42, 43):
        recorder("level", number)
        page.wait_for_function(
            "text => [...document.querySelectorAll('.legend td:last-child')].some(each => each.textContent === text)",
            arg=str(number),
        )
    assert next(iter(legend(level))) == "level"
    recorder("another", 5)
    panel(page, "another")  # a series that came later has its chart
    recorder.process.kill()
    page.locator(".state .badge.gone").wait_for()
    assert "gone without closing the store" in page.locator(".state").inner_text()


def test_dragging_zooms_all_charts_and_the_way_back(page, address):
    """A drag over one chart shows that span in all, in the address too; back is the browser's way back."""
    show(page, address, life="web-1.rondo")
    found = panel(page, "http_requests_total")
    before = page.locator(".shown").inner_text()
    box = found.locator(".u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
    page.mouse.up()
    page.wait_for_function("() => location.hash.includes('from=')")
    said = where(page)
    assert 25_000 < int(said["to"]) - int(said["from"]) < 35_000
    assert page.locator(".shown").inner_text() != before
    page.go_back()
    page.wait_for_function("text => document.querySelector('.shown').innerText === text", arg=before)
    page.keyboard.press("+")
    page.wait_for_function("() => location.hash.includes('from=')")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.hash.includes('from=')")


def test_cursors_move_in_step_and_by_the_keyboard(page, address):
    """All legends show the values at the instant that is pointed at; the arrows go from point to point, and say them."""
    show(page, address, life="web-1.rondo")
    first, second = panel(page, "http_requests_total"), panel(page, "took_seconds")
    first.scroll_into_view_if_needed()
    first.locator(".plot").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    time = first.locator(".legend thead th.at").inner_text()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    assert second.locator(".legend thead th.at").inner_text() == time
    assert page.locator("#said").inner_text().startswith(time)


def test_an_expression_is_completed_and_charted(page, address):
    """Names, labels, their values and functions are offered where they may stand; what is asked lies in the address."""
    show(page, address)
    page.keyboard.press("e")
    box = page.get_by_role("combobox", name="Expression in PromQL")

    def complete(text, wanted):
        box.press_sequentially(text)
        option = page.get_by_role("option").filter(has=page.get_by_text(wanted, exact=True))
        option.wait_for()
        while option.get_attribute("aria-selected") != "true":
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")

    complete("su", "sum")
    assert box.input_value() == "sum()"
    box.press_sequentially(" by (")
    box.evaluate("each => { each.value = 'sum by (rou'; each.setSelectionRange(11, 11); }")
    complete("t", "route")
    complete(") (rat", "rate")
    complete("http_re", "http_requests_total")
    complete("{rou", "route")
    complete("/", "/1")
    assert box.input_value() == 'sum by (route) (rate(http_requests_total{route="/1")'
    box.fill('sum by (route) (rate(http_requests_total{route=~"/[12]"}[10s]))')
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Chart").click()
    page.get_by_role("button", name="all", exact=True).click()
    found = panel(page, 'sum by (route) (rate(http_requests_total{route=~"/[12]"}[10s]))')
    assert sorted(legend(found)) == ["/1", "/2"]
    assert where(page)["q"].startswith("sum by")
    box.focus()
    page.keyboard.press("ArrowUp")
    assert box.input_value().startswith("sum by")
    page.go_back()
    page.go_back()
    page.wait_for_function("() => !document.querySelector('.questions .panel')")


def test_an_expression_is_of_the_life_that_is_shown_unless_all_are_asked(page, address):
    """Which lives are asked stands beside the box and above the chart, and lies in the address; completion follows."""
    show(page, address, life="web-1.rondo", q='count by (route) (last_over_time(http_requests_total{route="/1"}[3h]))')
    page.get_by_role("button", name="all", exact=True).click()
    found = panel(page, 'count by (route) (last_over_time(http_requests_total{route="/1"}[3h]))')
    assert found.locator(".help").inner_text() == "of web-1.rondo"
    assert {each[2] for each in legend(found).values()} == {"1"}
    box = page.get_by_role("combobox", name="Expression in PromQL")
    box.press_sequentially("http_re")
    option = page.get_by_role("option").filter(has=page.get_by_text("http_requests_total", exact=True))
    option.wait_for()
    option.click()
    assert box.input_value() == "http_requests_total"
    page.get_by_label("Of which lives to ask").select_option("of all lives")
    found = panel(page, 'count by (route) (last_over_time(http_requests_total{route="/1"}[3h]))')
    found.locator(".help").get_by_text("of all lives", exact=True).wait_for()
    page.wait_for_function(
        "() => document.querySelector('.questions .legend tbody tr td:nth-of-type(3)')?.textContent >= '3'"
    )
    assert where(page)["of"] == "all"
    box.fill("")
    box.press_sequentially("m000_le")
    page.get_by_role("option").filter(has=page.get_by_text("m000_level", exact=True)).wait_for()


def test_fingers_zoom_a_chart(chromium, address):
    """One that is drawn across chooses a span, two that spread show less of it; a double tap leads back."""
    context = chromium.new_context(viewport={"width": 400, "height": 800}, has_touch=True)
    page = context.new_page()
    show(page, address, life="web-1.rondo")
    plot = panel(page, "http_requests_total").locator(".u-over")
    box = plot.bounding_box()
    session = context.new_cdp_session(page)
    middle = box["y"] + box["height"] / 2

    def touch(kind, *places):
        points = [{"x": box["x"] + box["width"] * each, "y": middle, "id": at} for at, each in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def span():
        page.wait_for_function("() => location.hash.includes('from=')")
        return int(where(page)["to"]) - int(where(page)["from"])

    touch("touchStart", 0.25)
    for each in (0.3, 0.4, 0.5, 0.6, 0.75):
        touch("touchMove", each)
    touch("touchEnd")
    drawn = span()
    assert 55_000 < drawn < 66_000  # half of two minutes
    panel(page, "http_requests_total")
    before = page.url
    touch("touchStart", 0.4, 0.6)
    for each in (0.05, 0.1, 0.15, 0.2):
        touch("touchMove", 0.4 - each, 0.6 + each)
    touch("touchEnd", 0.2)
    touch("touchEnd")
    page.wait_for_function("before => location.href !== before", arg=before)
    assert drawn / 3.4 < span() < drawn / 2.6  # what lay in a fifth of the chart lies in three fifths
    context.close()


def test_a_wrong_expression_says_what_is_wrong_beside_the_others(page, address):
    """The server's words stand where the chart would; nothing else changes."""
    show(page, address, life="web-1.rondo", q="sum(")
    page.locator(".questions .message.error").wait_for()
    panel(page, "http_requests_total")
    assert len(page.errors) == 1  # the browser's own line for the status 400
    page.errors.clear()


def test_an_address_shows_the_same_again(page, address):
    """Life, span, expressions, search and readings are in the address: copied, it shows the same."""
    show(page, address, life="web-1.rondo")
    panel(page, "http_requests_total").get_by_label("How to read http_requests_total").select_option("total")
    panel(page, "http_requests_total").get_by_role("button", name="PromQL").click()
    page.get_by_role("button", name="Chart").click()
    page.get_by_role("button", name="1m", exact=True).click()
    page.get_by_role("searchbox").fill("requests")
    page.wait_for_function("() => location.hash.includes('find=')")

    def seen():
        page.wait_for_function(
            "() => [...document.querySelectorAll('article.panel')].filter(each => each.offsetParent && each.dataset.drawn).length === 2"
        )
        return [
            page.locator(".shown").inner_text(), page.get_by_role("searchbox").input_value(),
            [each.inner_text() for each in page.locator("article.panel:visible h3").all()],
            legend(panel(page, "http_requests_total")),
        ]  # fmt: skip

    before, address_now = seen(), page.url
    page.goto("about:blank")
    page.goto(address_now)
    assert seen() == before
    assert before[2] == ['last_over_time(http_requests_total{rondo_store="web-1.rondo"}[1s])', "http_requests_total"]


def test_two_lives_are_laid_over_each_other_from_their_starts(page, address):
    """Two that are picked have a line each in every chart that both have, over the time since their starts."""
    show(page, address)
    for name in ("web-1.rondo", "web-2.rondo"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare these two").click()
    rates = legend(panel(page, "http_requests_total"))
    assert list(rates) == ["web-1.rondo", "web-2.rondo"]
    assert [rates[each][2] for each in rates] == ["6 /s", "6 /s"]  # the sum of three routes
    assert where(page) == {"life": "web-1.rondo", "with": "web-2.rondo"}
    assert page.locator(".shown").inner_text().startswith("start ")


def test_points_are_saved_as_csv_and_json(page, address):
    """What a chart shows can be taken along, with its labels and the expressions behind it."""
    show(page, address, life="web-1.rondo")
    found = panel(page, "http_requests_total")
    with page.expect_download() as download:
        found.get_by_role("button", name="CSV").click()
    with download.value.path().open() as file:
        head, *rows = csv.reader(io.StringIO(file.read()))
    assert head == ["time", "rfc3339", 'route="/0"', 'route="/1"', 'route="/2"']
    assert {row[2] for row in rows[60:]} <= {"0", "3", "1.5"}
    with page.expect_download() as download:
        found.get_by_role("button", name="JSON").click()
    with download.value.path().open() as file:
        told = json.load(file)
    assert told["expressions"] == ['rate(http_requests_total{rondo_store="web-1.rondo"}[2s])']
    assert [each["labels"] for each in told["series"]] == [
        {"rondo_store": "web-1.rondo", "route": f"/{each}"} for each in range(3)
    ]


def test_many_series_are_shown_the_largest_first(page, address):
    """Of 300 series a chart has eight, the largest, and says so; all are a click away, and what is not looked at is not asked for."""
    show(page, address, life="wide.rondo")
    found = panel(page, "http_requests_total")
    assert list(legend(found)) == [f"/{each}" for each in range(8)]
    assert "8 of 300 series" in found.locator(".note").inner_text()
    found.get_by_role("button", name="show all").click()
    page.wait_for_function("() => document.querySelectorAll('.legend tbody tr').length >= 300")
    assert where(page)["read"] == "http_requests_total:rate,0"


def test_many_metrics_are_drawn_as_they_are_looked_at(page, address):
    """Of 300 charts those near the window are asked for; a search finds one among them."""
    show(page, address, life="broad.rondo")
    panel(page, "m000_level")
    assert page.locator("article.panel").count() >= 300
    asked = [url for url in page.asked if "query_range" in url]
    assert len(asked) < 60
    page.get_by_role("searchbox").fill("m277")
    panel(page, "m277_level")
    assert page.locator("article.panel:visible").count() == 1


def test_what_strangers_wrote_is_text(page, address):
    """Labels, help, marks, names of stores and writers that are HTML are shown as they are, and do nothing."""
    show(page, address)
    page.get_by_role("link", name="<i>odd&.rondo").wait_for()
    page.get_by_role("row").filter(has_text=HOSTILE).first.wait_for()
    page.get_by_role("link", name="<i>odd&.rondo").click()
    panel(page, "process_resident_memory_bytes").get_by_text(f"Memory {HOSTILE}").wait_for()
    page.locator(".timeline summary").click()
    page.locator(".events").get_by_text(f"deploy version={HOSTILE}").wait_for()
    panel(page, "odd_total").get_by_role("button", name="Table").click()
    page.keyboard.press("e")
    box = page.get_by_role("combobox", name="Expression in PromQL")
    box.press_sequentially('odd_total{who="')
    page.get_by_role("option").filter(has_text=HOSTILE).wait_for()
    assert page.locator("main img, main i, main [onerror]").count() == 0
    assert page.title() == "<i>odd&.rondo · rondo"


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_people_out_and_nothing_overflows(page, address, width, theme):
    """axe finds nothing serious in any view, dark or light, wide or narrow; no view is wider than its window."""
    if not AXE.exists():
        pytest.skip("no axe-core; make tools fetches it where npm is")
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    for said in ({}, {"life": "web-1.rondo", "q": "up or vector(1)"}, {"life": "web-1.rondo", "with": "web-2.rondo"}):
        show(page, address, **said)
        if said:
            page.wait_for_function("() => document.querySelectorAll('article.panel[data-drawn]').length > 1")
        else:
            page.locator(".lives svg path.line").first.wait_for(state="attached")
        page.evaluate(AXE.read_text())
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        bad = [
            (each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"])
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
        ]
        assert bad == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_moves_while_charts_come(page, address):
    """Room is left for what is being loaded: the browser counts next to no shift of the layout."""
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(each => { if (!each.hadRecentInput) window.shift += each.value; })).observe({type: 'layout-shift', buffered: true});"
    )
    show(page, address, life="web-1.rondo")
    page.wait_for_function("() => document.querySelectorAll('.sections article.panel[data-drawn]').length >= 4")
    assert page.evaluate("window.shift") < 0.02


def test_a_token_is_asked_for_and_kept_for_the_tab(page, fleet, address, tmp_path):
    """Where the server wants one the page says so, and takes it; nothing of a store was told before."""
    token = tmp_path / "token"
    token.write_text("a-token-of-many-letters")
    with Sidecar(fleet, listen("127.0.0.1", 0), token_file=token) as sidecar:
        page.goto(sidecar.url.removesuffix("metrics"))
        page.get_by_label("Token").fill("a-token-of-many-letters")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("link", name="web-1.rondo").click()
        panel(page, "http_requests_total")
        page.goto("about:blank")
        assert not [url for url in page.asked if "a-token" in url]
        own = sidecar.url.removesuffix("metrics")
        page.asked[:] = [address + url.removeprefix(own) for url in page.asked if url.startswith(own)] + [
            url for url in page.asked if not url.startswith(own)
        ]
        assert len(page.errors) == 1  # the browser's own line for the status 401
        page.errors.clear()


def test_the_theme_is_kept_and_keys_are_told(page, address):
    """Dark or light can be chosen, and stays chosen; `?` says which keys there are."""
    show(page, address)
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.wait_for_selector("main[aria-busy=false]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("find lives or charts").wait_for()
    page.keyboard.press("Escape")


def test_the_list_and_its_expressions_are_of_the_last_lives_of_a_job(page, address):
    """By two choices that lie in the address; an empty chart says in its middle why it is."""
    show(page, address, last=1, job="web", q="count by (rondo_store) (http_requests_total)")
    rows = page.locator(".lives tbody tr")
    assert [each.locator("a").inner_text() for each in rows.all()] == ["web-2.rondo"]
    found = panel(page, "count by (rondo_store) (http_requests_total)")
    assert list(legend(found)) == ['{rondo_store="web-2.rondo"}']
    page.get_by_label("How many lives").select_option("")
    page.wait_for_function("() => document.querySelectorAll('.lives tbody tr').length === 3")
    assert where(page)["job"] == "web"
    assert "last" not in where(page)
    page.get_by_label("Of which job").select_option("")
    page.wait_for_function("() => document.querySelectorAll('.lives tbody tr').length >= 5")
    show(page, address, q="sum(http_requests_totl)")
    found = panel(page, "sum(http_requests_totl)")
    assert "nearest: http_requests_total" in found.locator(".picture .message").inner_text()
