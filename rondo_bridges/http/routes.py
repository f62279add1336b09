"""Templates of routes: `/users/{id}` and never `/users/17`, as each framework knows them; no framework is imported.

A template is made of what the program wrote, so that there are as many as it has routes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

Template = Callable[[MutableMapping[str, Any]], str | None]
KEY = "rondo.route"  # where a request's scope or environ has the template that a framework told
_MAX_DEPTH = 16


def template_of(app: Any) -> Template:
    """Give what tells the template of a request that an ASGI application has served, from its scope."""
    inner = _innermost(app)
    if _is_django(inner):
        _read_django_routes(inner)
        return _asgi_template
    return StarletteRoutes(inner)


def template_reader(app: Any) -> Template:
    """Give what tells it for a WSGI application, from its environ: of Flask and of Django; else there is none."""
    inner = getattr(app, "__self__", app)  # flask_app.wsgi_app is what is wrapped
    if _is_django(inner):
        _read_django_routes(inner)
    flask = sys.modules.get("flask")
    if flask is not None and isinstance(inner, flask.Flask):
        _read_flask_routes(flask, inner)
    return _asgi_template


def _asgi_template(scope: MutableMapping[str, Any]) -> str | None:
    route: str | None = scope.get(KEY)
    return route


def _innermost(app: Any) -> Any:
    """Give the application within middlewares, which keep what they wrap as `app`."""
    for _ in range(_MAX_DEPTH):
        if hasattr(app, "routes") or not hasattr(app, "app"):
            break
        app = app.app
    return app


# -- Django: its handler asks one method which view takes a request, and that is listened to


def _is_django(app: Any) -> bool:
    base = sys.modules.get("django.core.handlers.base")
    return base is not None and isinstance(app, base.BaseHandler)


def _read_django_routes(handler: Any) -> None:
    resolve = handler.resolve_request

    def resolved(request: Any) -> Any:
        match = resolve(request)
        where = getattr(request, "scope", None)
        (request.META if where is None else where)[KEY] = "/" + match.route
        return match

    handler.resolve_request = resolved


# -- Flask: a signal at the begin of each request, when its rule is known


def _read_flask_routes(flask: Any, app: Any) -> None:
    def began(_sender: Any, **_: Any) -> None:
        rule = flask.request.url_rule
        if rule is not None:
            flask.request.environ[KEY] = rule.rule

    flask.request_started.connect(began, app, weak=False)


# -- Starlette and FastAPI: the scope has the route; what it is mounted or included below is looked up


class StarletteRoutes:
    """The templates of an application's routes, those of what is mounted in it below the mount's."""

    def __init__(self, app: Any) -> None:
        """Look at no route yet: an application declares its own after its middleware."""
        self._app = app
        # By identity; the object is kept, so that it stays its own. Where the same lies in two mounts, both prefixes.
        self._prefixes: dict[int, tuple[Any, list[str]]] = {}

    def __call__(self, scope: MutableMapping[str, Any]) -> str | None:
        """Give the template of a request that was served; None where no route took it."""
        found = scope.get("route")
        if found is None:
            found = scope.get("endpoint")  # of a Starlette that says no more
        if found is None:
            return None
        known = self._prefixes.get(id(found))
        if known is None:
            self._look()
            known = self._prefixes.setdefault(id(found), (found, [""]))
        prefixes, path = known[1], getattr(found, "path", None)
        rest = "" if path is None else _included(scope, found, path)
        if len(prefixes) == 1:
            return prefixes[0] + rest
        return next((each + rest for each in prefixes if _fits(each + rest, scope["path"])), prefixes[0] + rest)

    def _look(self) -> None:
        """Find all routes that there are by now."""
        prefixes: dict[int, tuple[Any, list[str]]] = {}
        for each, prefix in _walk(self._app, "", _MAX_DEPTH):
            many = prefixes.setdefault(id(each), (each, []))[1]
            if prefix not in many:
                many.append(prefix)
        self._prefixes |= prefixes


def _fits(template: str, path: str) -> bool:
    """Say whether a path may be one of a template's."""
    literals = re.split(r"\{[^}]*\}", template)
    return re.match(".+".join(map(re.escape, literals)) + "(/|$)", path) is not None


def _included(scope: MutableMapping[str, Any], route: Any, path: str) -> str:
    """Give a route's path below its application: a FastAPI that includes routers lazily says so in the scope."""
    contexts = scope.get("fastapi")
    for context in contexts.values() if isinstance(contexts, dict) else ():
        if getattr(context, "original_route", None) is route:
            return str(getattr(context, "path", None) or path)
    return path


def _walk(app: Any, prefix: str, depth: int) -> Iterator[tuple[Any, str]]:
    """Give each route, and each endpoint with its whole template, below an application."""
    for route in (getattr(app, "routes", None) or ()) if depth else ():
        path = getattr(route, "path", "") or ""
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _walk(included, prefix, depth - 1)
            continue
        yield route, prefix
        if getattr(route, "endpoint", None) is not None:
            yield route.endpoint, prefix + path
        elif getattr(route, "app", None) is not None:
            yield route.app, prefix + path
            yield from _walk(route, prefix + path, depth - 1)
