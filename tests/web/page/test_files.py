"""The page's files: what a browser is given, and what nobody is."""

import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from rondo_core import Store
from rondo_promql.evaluation import evaluator
from rondo_promql.functions import elementwise, native, ranges, rates
from rondo_web import Sidecar, listen
from rondo_web.page.files import STATIC, names

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-many-letters"
TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a small store is served to who has a token."""
    place = tmp_path_factory.mktemp("page")
    (place / "token").write_text(TOKEN)
    with (
        Store(place / "small.rondo") as store,
        Sidecar(store.path, listen("127.0.0.1", 0), token_file=place / "token") as sidecar,
    ):
        yield sidecar.url.removesuffix("/metrics")


def get(address, **headers):
    request = urllib.request.Request(address, headers={each.replace("_", "-"): text for each, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_every_file_is_sent_as_what_it_is(address):
    """With its type, a policy that lets a browser ask this server alone, and no guessing of another type."""
    for name in names():
        status, headers, body = get(f"{address}/page/{name}")
        assert status == 200
        assert body == (STATIC / name).read_bytes()
        assert headers["content-type"].startswith(TYPES[name.rpartition(".")[2].rpartition("/")[2]])
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    _, headers, body = get(f"{address}/")
    assert body == (STATIC / "index.html").read_bytes()
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_a_file_that_a_browser_has_is_not_sent_again(address):
    """A browser asks whether its copy is still good, and is told so."""
    _, headers, _ = get(f"{address}/page/app.js")
    status, again, body = get(f"{address}/page/app.js", if_none_match=headers["etag"])
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])


@pytest.mark.parametrize(
    "path",
    [
        "../files.py",
        "..%2ffiles.py",
        "%2e%2e/files.py",
        "uplot/../../files.py",
        "/etc/passwd",
        "",
        "uplot",
        "nope.js",
        "app.js/",
        "app.js%00.css",
    ],
)
def test_no_other_file_is_sent(address, path):
    """Whatever a path says, what is sent is one of the page's files or an error."""
    status, headers, body = get(f"{address}/page/{path}")
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert body.startswith(b'{"error"')


def test_the_files_need_no_token_and_what_they_show_does(address):
    """A browser can open the page, which then asks for the token; nothing of a store is told without it."""
    assert get(f"{address}/")[0] == 200
    for path in ("api/v1/rondo/lives", "api/v1/rondo/life", "api/v1/labels", "metrics", "page", "pages/app.js"):
        assert get(f"{address}/{path}")[0] == 401, path
    assert get(f"{address}/api/v1/rondo/lives", authorization=f"Bearer {TOKEN}")[0] == 200


def test_every_file_that_is_named_is_there():
    """What the page and its modules load lies beside them, and everything that lies there is loaded, but for a licence."""
    found = {"index.html", "uplot/LICENSE"}
    for name in names():
        text = (STATIC / name).read_text()
        if name.endswith(".html"):
            found |= set(re.findall(r'(?:href|src)="page/([^"]+)"', text))
        elif name.endswith(".js") and not name.startswith("uplot/"):
            found |= set(re.findall(r'^import .* from "\./([^"]+)";$', text, re.MULTILINE))
    assert found == names()


def test_nothing_of_the_page_is_from_elsewhere():
    """No file names another host, but where a comment, a licence or a namespace does; none writes HTML."""
    for name in names():
        text = (STATIC / name).read_text()
        hosts = set(re.findall(r"https?://[^\s\"')`]+", text)) - {"http://www.w3.org/2000/svg"}
        if name.startswith("uplot/"):
            hosts -= {"https://github.com/leeoniya/uPlot"}
        else:
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
            ), name
            assert len(text.splitlines()) <= 500, name
        assert not hosts, name


def test_the_wheel_brings_every_file(tmp_path, monkeypatch):
    """Who installs rondo has the page."""
    from hatchling.builders.wheel import WheelBuilder

    monkeypatch.setenv("RONDO_PURE", "1")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        there = {each.removeprefix("rondo_web/page/static/") for each in archive.namelist()}
    assert names() <= there


def test_completion_offers_every_function_that_the_engine_answers():
    """A function that is added to a table of the engine is completed on the page too, and no other is."""
    text = (STATIC / "completion.js").read_text()
    offered = set(" ".join(re.findall(r'const (?:WITH_RANGE|PLAIN) = "([^"]+)"', text)).split())
    answered = {
        *evaluator._CALLS,
        *elementwise.VALUE_FUNCTIONS,
        *native.HISTOGRAM_VALUES,
        *ranges.RANGE_FUNCTIONS,
        *rates.RATE_FUNCTIONS,
    }
    of_their_own = {"absent_over_time", "pi", "scalar", "time"}
    assert offered == answered | of_their_own
