"""Requests to ASGI applications: Starlette, FastAPI, Django and bare ones; called in process, without a server."""

import asyncio
import logging
import subprocess
import sys

import pytest

from rondo_bridges.asgi import AsgiMiddleware
from rondo_core import Schema, Store

ITEM = "/items/{item_id}"


async def served(app, method="GET", path="/", *, disconnects=False):
    """Ask an application once; give the messages that it sent."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"} if disconnects else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", b"t")],
        "client": ("127.0.0.1", 1), "server": ("t", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def ask(app, method="GET", path="/"):
    """Ask once, and give the status."""
    return asyncio.run(served(app, method, path))[0]["status"]


def plain(status=200, body=b"x"):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


def fastapi_app():
    fastapi = pytest.importorskip("fastapi")
    app, router, inner = fastapi.FastAPI(), fastapi.APIRouter(), fastapi.FastAPI()

    @app.get(ITEM)
    async def item(item_id: int):
        return item_id

    @router.get("/books/{book}")
    def book(book: str):
        return book

    @inner.get("/deep/{n}")
    async def deep(n: int):
        return n

    app.include_router(router, prefix="/shop/{shop}")
    app.include_router(router, prefix="/library")
    app.mount("/inner/{tenant}", inner)
    return app


def starlette_app():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def answer(request):
        return PlainTextResponse("x")

    async def fails(request):
        raise LookupError("no")

    inner = [Route("/posts/{post:int}", answer), Route("/same", answer)]
    return Starlette(
        routes=[
            Route("/fails", fails),
            Route("/users/{name}", answer),
            Route("/same", answer),
            Mount("/blog/{blog}", routes=inner),
            Mount("/wiki", routes=[Mount("/{lang}", routes=inner)]),
        ]
    )


@pytest.mark.parametrize("inside", [True, False])
def test_requests_are_counted_by_the_template_of_their_route(store, recorded, inside):
    """By method, template and status, as middleware of the application and around it; never by a path."""
    app = starlette_app()
    if inside:
        app.add_middleware(AsgiMiddleware, store=store)
    served_by = app if inside else AsgiMiddleware(app, store)
    for path, times in (
        ("/users/ann", 1), ("/users/bob", 2), ("/same", 1), ("/blog/5/posts/7", 3), ("/blog/6/same", 1),
        ("/wiki/en/posts/1", 1), ("/wiki/en/same", 1), ("/nowhere/17", 2), ("/blog/6/nowhere", 1),
    ):  # fmt: skip
        for _ in range(times):
            ask(served_by, "GET", path)
    ask(served_by, "DELETE", "/users/ann")
    assert recorded.counts("http_requests_total") == {
        ("GET", "/users/{name}", "200"): 3,
        ("GET", "/same", "200"): 1,
        ("GET", "/blog/{blog}/posts/{post:int}", "200"): 3,
        ("GET", "/blog/{blog}/same", "200"): 1,
        ("GET", "/wiki/{lang}/posts/{post:int}", "200"): 1,
        ("GET", "/wiki/{lang}/same", "200"): 1,
        ("GET", "unmatched", "404"): 2,
        ("GET", "/blog/{blog}", "404"): 1,
        ("DELETE", "/users/{name}", "405"): 1,
        ("other", "other", "other"): 0,
    }


@pytest.mark.parametrize("inside", [True, False])
def test_routes_of_fastapi_are_whole_where_routers_are_included_and_applications_mounted(store, recorded, inside):
    """A router that is included twice is two routes; an application that is mounted is told below its mount."""
    app = fastapi_app()
    if inside:
        app.add_middleware(AsgiMiddleware, store=store)
    served_by = app if inside else AsgiMiddleware(app, store)
    paths = ["/items/1", "/items/2", "/items/x", "/shop/a/books/b", "/library/books/c", "/inner/t/deep/4", "/none"]
    for path in paths:
        ask(served_by, "GET", path)
    counts = recorded.counts("http_requests_total")
    counts.pop(("other", "other", "other"))
    assert counts == {
        ("GET", ITEM, "200"): 2,
        ("GET", ITEM, "422"): 1,
        ("GET", "/shop/{shop}/books/{book}", "200"): 1,
        ("GET", "/library/books/{book}", "200"): 1,
        ("GET", "/inner/{tenant}/deep/{n}", "200"): 1,
        ("GET", "unmatched", "404"): 1,
    }


def test_all_requests_have_quantiles_and_each_route_its_own_durations(store, recorded):
    """One sketched series an application, a plain one a route."""
    app = AsgiMiddleware(starlette_app(), store)
    for path in ("/users/a", "/users/b", "/same"):
        ask(app, "GET", path)
    assert store.summary("http_request_duration_seconds").sketched
    assert recorded.last("http_request_duration_seconds", "count") == 3
    assert recorded.last("http_request_duration_seconds", "p99") > 0
    assert recorded.last('http_route_duration_seconds{route="/users/{name}"}', "count") == 2
    assert not store.summary("http_route_duration_seconds", route="/same").sketched


def test_routes_have_quantiles_on_request_and_their_bytes_are_said(tmp_path, clock, caplog):
    """Each in the schema of sketches, of which `other` takes no room."""
    schemas = [Schema("q", "summary", 3, sketch=True), Schema("s", "summary", 3), Schema("c", "counter", 8)]
    with Store(tmp_path / "s", [*schemas, Schema("g", "gauge", 1)], clock=clock) as store, caplog.at_level("INFO"):
        app = AsgiMiddleware(starlette_app(), store, sketched_routes=True)
        ask(app, path="/users/a")
        ask(app, path="/same")
        for route in ("/users/{name}", "/same"):
            assert store.summary("http_route_duration_seconds", route=route).sketched
        assert not store.summary("http_route_duration_seconds", route="other").sketched
    (said,) = [line for line in caplog.messages if line.startswith("http_route_duration_seconds")]
    assert f"{schemas[0].size_bytes() // 3} bytes a route, room for 3" in said


def test_a_streamed_response_is_timed_to_its_last_byte_and_in_progress_until_then(store, recorded, monkeypatch):
    """What a slow client reads for a minute took a minute; a background task after it counts no more."""
    now = [0.0]
    monkeypatch.setattr("rondo_bridges.asgi.perf_counter", lambda: now[0])
    seen = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more in (True, True, False):
            now[0] += 20
            seen.append(recorded.last("http_requests_in_progress"))
            await send({"type": "http.response.body", "body": b"x", "more_body": more})
        seen.append(recorded.last("http_requests_in_progress"))
        now[0] += 100  # a background task

    ask(AsgiMiddleware(app, store))
    assert seen == [1, 1, 1, 0]
    assert recorded.last("http_request_duration_seconds", "max") == 60


def test_an_exception_is_counted_and_goes_on(store, recorded):
    """It reaches the server as it was raised; the request is a 500 where nothing was sent."""

    async def app(scope, receive, send):
        raise LookupError("no")

    with pytest.raises(LookupError):
        ask(AsgiMiddleware(app, store))
    with pytest.raises(LookupError):
        ask(AsgiMiddleware(starlette_app(), store), path="/fails")
    assert recorded.counts("http_request_exceptions_total") == {("LookupError",): 2}
    assert recorded.total("http_requests_total{status=500}") == 2
    assert recorded.last("http_requests_in_progress") == 0


def test_a_client_that_goes_is_no_exception(store, recorded):
    """A request that is cancelled is a 499, or what was begun to be sent; none stays in progress."""

    async def cancelled(begun):
        async def app(scope, receive, send):
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()

        task = asyncio.ensure_future(served(AsgiMiddleware(app, store)))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled(begun=False))
    asyncio.run(cancelled(begun=True))
    counts = recorded.counts("http_requests_total")
    assert counts["GET", "unmatched", "499"] == counts["GET", "unmatched", "200"] == 1
    assert not recorded.has("http_request_exceptions_total")
    assert recorded.last("http_requests_in_progress") == 0


def test_what_is_no_request_passes(store):
    """Websockets and lifespan get the very scope, receive and send of the server, and are not counted."""
    given = []

    async def app(*arguments):
        given.append(arguments)

    middleware = AsgiMiddleware(app, store)
    for kind in ("websocket", "lifespan"):
        whole = {"type": kind}, object(), object()
        asyncio.run(middleware(*whole))
        assert all(one is other for one, other in zip(given[-1], whole, strict=True))
    assert not store.view.series("http_requests_total")


def test_a_response_is_what_the_application_sent(store):
    """The very messages, in order."""
    sent = [
        {"type": "http.response.start", "status": 204, "headers": [(b"a", b"b")], "trailers": False},
        {"type": "http.response.body", "body": b"1", "more_body": True},
        {"type": "http.response.body", "body": b"2"},
    ]

    async def app(scope, receive, send):
        for message in sent:
            await send(message)

    got = asyncio.run(served(AsgiMiddleware(app, store)))
    assert [id(message) for message in got] == [id(message) for message in sent]


def test_series_are_bounded_whatever_strangers_ask(store, recorded, caplog):
    """Methods that are none are one, routes beyond the bound are one, and so is all that the store has no room for."""
    app = AsgiMiddleware(plain(), store, route=lambda scope: scope["path"], max_routes=20)
    for number in range(300):
        assert ask(app, f"M{number}", f"/{number}") == 200
    assert recorded.total("http_requests_total") == 300
    assert len(recorded.counts("http_requests_total")) <= 23
    assert recorded.last("http_request_duration_seconds", "count") == 300
    assert len([record for record in caplog.records if record.name == "rondo.bridges"]) <= 1


def test_a_store_without_room_takes_every_request_and_says_so_once(tmp_path, clock, caplog):
    """Requests are never answered by the store's troubles, and their number stays right."""
    schemas = [Schema("c", "counter", 3), Schema("g", "gauge", 1), Schema("s", "summary", 2)]
    with Store(tmp_path / "small", schemas, clock=clock) as small:
        app = AsgiMiddleware(plain(), small, route=lambda scope: scope["path"])
        for number in range(40):
            assert ask(app, path=f"/{number}") == 200
        assert sum(float(each.values[-1]) for each in small.query("http_requests_total")) == 40
    assert len([record for record in caplog.records if "room for" in record.getMessage()]) == 1


@pytest.mark.parametrize("broken", ["closed", "raises"])
def test_a_broken_store_is_counted_and_nothing_else(store, broken, caplog):
    """A store that was closed, or cannot be opened, costs no request anything."""

    def opens():
        raise OSError("no disk")

    store.close()
    app = AsgiMiddleware(plain(), store if broken == "closed" else opens)
    for _ in range(5):
        assert ask(app) == 200
    assert app.failures.count >= 5
    assert caplog.records
    assert all(record.levelno == logging.WARNING and "\n" not in record.getMessage() for record in caplog.records)


def test_a_callable_that_knows_no_route_is_counted(store, recorded):
    """The request counts as one that no route took."""

    def route(scope):
        raise KeyError("route")

    app = AsgiMiddleware(plain(), store, route=route)
    assert ask(app) == 200
    assert app.failures.count == 1
    assert recorded.total("http_requests_total{route=unmatched}") == 1


def test_labels_tell_applications_of_one_store_apart(store, recorded):
    """Each has all of its series."""
    ask(AsgiMiddleware(plain(), store, labels={"app": "one"}))
    two = AsgiMiddleware(plain(), store, labels={"app": "two"})
    ask(two)
    ask(two)
    assert recorded.total("http_requests_total{app=one}") == 1
    assert recorded.last("http_request_duration_seconds{app=two}", "count") == 2


def test_a_store_is_opened_where_a_callable_says_at_the_first_request(tmp_path):
    """And once."""
    opened = []

    def opens():
        opened.append(Store(tmp_path / "own"))
        return opened[0]

    app = AsgiMiddleware(plain(), opens)
    assert not opened
    ask(app)
    ask(app)
    assert len(opened) == 1
    with opened[0] as store:
        assert store.counter("http_requests_total", method="GET", route="unmatched", status="200").value == 2


def test_a_bridge_loads_its_own_library_and_no_other():
    """Whoever uses one needs none of the others, nor numpy, which only reading needs."""
    libraries = {
        "asgi": set(),
        "wsgi": set(),
        "prometheus": {"prometheus_client"},
        "prometheus_multiprocess.values": {"prometheus_client"},
        "opentelemetry": {"opentelemetry"},
        "celery": {"celery", "django"},  # which Celery itself looks for
    }
    others = {"starlette", "fastapi", "flask", "django", "numpy", *set().union(*libraries.values())}
    for module, own in libraries.items():
        code = f"import sys\nimport rondo_bridges.{module}\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) & others <= own, module
