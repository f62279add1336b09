"""The HTTP API of a store or a directory of stores, read by a process of its own, so that it costs the writer nothing.

Whoever asks may be a stranger: what a request may read is bounded, its regular expressions are RE2's, and it is read
on a thread beside the server's loop. Names are loaded when they are first used; `serve` needs the extra `web`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_web.agent_server import AgentServer as AgentServer
    from rondo_web.http.access import read_token as read_token
    from rondo_web.listening import HOST as HOST
    from rondo_web.listening import PORT as PORT
    from rondo_web.listening import check_installed as check_installed
    from rondo_web.listening import listen as listen
    from rondo_web.listening import tls_context as tls_context
    from rondo_web.listening import url_of as url_of
    from rondo_web.server import serve as serve
    from rondo_web.sidecar import Sidecar as Sidecar

_HOME = {
    "AgentServer": "agent_server",
    "HOST": "listening",
    "PORT": "listening",
    "Sidecar": "sidecar",
    "check_installed": "listening",
    "listen": "listening",
    "read_token": "http.access",
    "serve": "server",
    "tls_context": "listening",
    "url_of": "listening",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
