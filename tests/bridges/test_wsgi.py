"""Requests to WSGI applications: Flask, Django and bare ones; called in process, as PEP 3333 says."""

import inspect
import io
import sys
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from rondo_bridges.asgi import AsgiMiddleware
from rondo_bridges.wsgi import WsgiMiddleware


def ask(app, path="/", method="GET", **more):
    """Ask as wsgiref does; give the status, and the whole response but for its date."""
    environ = {"PATH_INFO": path, "REQUEST_METHOD": method, **more}
    setup_testing_defaults(environ)
    out, errors = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(), out, errors, environ, multithread=False)
    handler.http_version = "1.1"
    handler.run(app)
    head, _, body = out.getvalue().partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date:")]
    return lines[0].split(b" ", 1)[1][:3].decode(), lines, body


def plain(make_body):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return make_body()

    return app


def flask_app():
    flask = pytest.importorskip("flask")
    app, blueprint = flask.Flask("t"), flask.Blueprint("b", "b")

    @app.get("/users/<name>")
    def user(name):
        return name

    @app.get("/fails")
    def fails():
        raise LookupError("no")

    @blueprint.get("/posts/<int:n>")
    def post(n):
        return str(n)

    app.register_blueprint(blueprint, url_prefix="/blog")
    return app


@pytest.fixture(scope="module")
def django_urls():
    """A Django in this process, with a few views; it can be set up once."""
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.http import HttpResponse, StreamingHttpResponse

    settings.configure(ROOT_URLCONF="rondo_test_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="t", DEBUG=False)
    django.setup()
    from django.urls import include, path

    def user(request, name):
        return HttpResponse(name)

    def fails(request):
        raise LookupError("no")

    def stream(request):
        return StreamingHttpResponse(iter([b"1", b"2"]))

    urls = type(sys)("rondo_test_urls")
    inner = [path("posts/<int:n>/", lambda request, n: HttpResponse(str(n)))]
    urls.urlpatterns = [
        path("users/<str:name>", user), path("fails", fails), path("stream", stream), path("blog/", include(inner)),
    ]  # fmt: skip
    sys.modules["rondo_test_urls"] = urls
    yield
    del sys.modules["rondo_test_urls"]


def test_routes_of_flask_are_its_rules(store, recorded):
    """Those of blueprints whole; what no rule takes is one series."""
    app = flask_app()
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, store)
    for path in ("/users/a", "/users/b", "/blog/posts/3", "/none/1", "/none/2"):
        ask(app, path)
    assert ask(app, "/fails")[0] == "500"
    assert ask(app, "/users/a", "POST")[0] == "405"
    counts = recorded.counts("http_requests_total")
    counts.pop(("other", "other", "other"))
    assert counts == {
        ("GET", "/users/<name>", "200"): 2,
        ("GET", "/blog/posts/<int:n>", "200"): 1,
        ("GET", "unmatched", "404"): 2,
        ("GET", "/fails", "500"): 1,
        ("POST", "unmatched", "405"): 1,
    }


def test_routes_of_django_are_its_patterns(store, recorded, django_urls):
    """Those that are included whole; a streamed response is counted when it has ended."""
    from django.core.wsgi import get_wsgi_application

    app = WsgiMiddleware(get_wsgi_application(), store)
    for path in ("/users/a", "/users/b", "/blog/posts/3/", "/none/1", "/none/2", "/fails"):
        ask(app, path)
    assert ask(app, "/stream")[2].endswith(b"12")
    counts = recorded.counts("http_requests_total")
    counts.pop(("other", "other", "other"))
    assert counts == {
        ("GET", "/users/<str:name>", "200"): 2,
        ("GET", "/blog/posts/<int:n>/", "200"): 1,
        ("GET", "unmatched", "404"): 2,
        ("GET", "/fails", "500"): 1,
        ("GET", "/stream", "200"): 1,
    }


def test_routes_of_django_are_its_patterns_over_asgi_too(store, recorded, django_urls):
    """The same words, whatever serves it."""
    import asyncio

    from django.core.asgi import get_asgi_application

    from rondo_bridges.asgi import AsgiMiddleware

    app = AsgiMiddleware(get_asgi_application(), store)

    async def once(path):
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            if asked:
                return asked.pop()
            await asyncio.Event().wait()
            return None

        async def send(_message):
            pass

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"t")]}
        await app(scope, receive, send)

    for path in ("/users/a", "/users/b", "/none/1"):
        asyncio.run(once(path))
    counts = recorded.counts("http_requests_total")
    counts.pop(("other", "other", "other"))
    assert counts == {("GET", "/users/<str:name>", "200"): 2, ("GET", "unmatched", "404"): 1}


@pytest.mark.parametrize("body", ["list", "tuple", "generator", "sized", "closing", "file"])
def test_a_response_is_what_the_application_gave(store, recorded, body):
    """Byte for byte and header for header, whatever kind of body it is: one that has a length is sent with it."""
    closed = []

    class Sized(list):
        def close(self):
            closed.append(1)

    class Closing:
        def __iter__(self):
            return iter([b"one", b"two"])

        def close(self):
            closed.append(1)

    bodies = {
        "list": lambda: [b"whole"],
        "tuple": lambda: (b"one", b"two"),
        "generator": lambda: (each for each in (b"one", b"two")),
        "sized": lambda: Sized([b"whole"]),
        "closing": Closing,
        "file": lambda: FileWrapper(io.BytesIO(b"file" * 9000)),
    }
    app = plain(bodies[body])
    bare = ask(app, **{"wsgi.file_wrapper": FileWrapper})
    n_closed = len(closed)
    wrapped = ask(WsgiMiddleware(app, store), **{"wsgi.file_wrapper": FileWrapper})
    assert wrapped == bare
    assert len(closed) == 2 * n_closed
    assert recorded.total("http_requests_total{status=200}") == 1
    assert recorded.last("http_requests_in_progress") == 0


def test_a_streamed_response_is_timed_until_it_is_closed(store, recorded, monkeypatch):
    """Also where its client goes in the middle, and the server asks for no more."""
    now = [0.0]
    monkeypatch.setattr("rondo_bridges.wsgi.perf_counter", lambda: now[0])

    def pieces():
        for _ in range(3):
            now[0] += 10
            yield b"x"

    environ = {}
    setup_testing_defaults(environ)
    app = WsgiMiddleware(plain(pieces), store)
    whole = app(dict(environ), lambda *_: None)
    assert b"".join(whole) == b"xxx"
    assert recorded.last("http_requests_in_progress") == 1
    whole.close()
    left = app(dict(environ), lambda *_: None)
    next(left)
    left.close()
    left.close()
    assert recorded.last("http_requests_in_progress") == 0
    assert recorded.last("http_request_duration_seconds", "max") == 30
    assert recorded.last("http_request_duration_seconds", "min") == 10
    assert recorded.total("http_requests_total") == 2


def test_exceptions_are_counted_wherever_they_are_raised(store, recorded):
    """In the application, between two pieces of its body, and at its end; they go on as they were."""
    environ = {}
    setup_testing_defaults(environ)

    def raises(environ, start_response):
        raise LookupError("no")

    def breaks():
        yield b"x"
        raise OSError("gone")

    with pytest.raises(LookupError):
        WsgiMiddleware(raises, store)(dict(environ), lambda *_: None)
    body = WsgiMiddleware(plain(breaks), store)(dict(environ), lambda *_: None)
    with pytest.raises(OSError, match="gone"):
        list(body)
    body.close()
    assert recorded.counts("http_request_exceptions_total") == {("LookupError",): 1, ("OSError",): 1}
    assert recorded.total("http_requests_total{status=500}") == 1
    assert recorded.total("http_requests_total{status=200}") == 1
    assert recorded.last("http_requests_in_progress") == 0


def test_what_is_written_for_one_kind_of_server_is_written_for_the_other():
    """The middlewares of ASGI and WSGI take the same arguments, with the same defaults."""
    asgi, wsgi = (inspect.signature(each).parameters.values() for each in (AsgiMiddleware, WsgiMiddleware))
    assert [(each.name, each.kind, each.default) for each in asgi] == [
        (each.name, each.kind, each.default) for each in wsgi
    ]
