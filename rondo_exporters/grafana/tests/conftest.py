"""A receiver that keeps to what is documented of Grafana's HTTP API of annotations, and objects to the rest.

Source: Grafana, "Annotations HTTP API"; of its database what tags it keeps. A Grafana itself is not started.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

TAGS_BYTES = 500


class GrafanaApi:
    """Keeps annotations, as POST adds them and GET finds them.

    Attributes:
        annotations: those that are there, oldest first; posts, questions: how many requests of each came.
        answers: what the next POSTs are answered instead, in turn: a status, whether it is kept all the same, and
            further headers; status 0: nothing, the connection is closed.
        finds: the status of GET; token: what is to be sent; objections: what a sender should not have done.
    """

    def __init__(self):
        self.annotations, self.answers, self.objections = [], [], []
        self.posts = self.questions = 0
        self.finds, self.token, self.taken = 200, "hidden", threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(*api.add(urlsplit(self.path), self.headers, body))

            def do_GET(self):
                self.answer(*api.find(urlsplit(self.path), self.headers))

            def answer(self, status, plain, headers=None):
                if not status:
                    self.close_connection = True
                    return
                body = json.dumps(plain).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def add(self, url, headers, body):
        """Answer POST /api/annotations."""
        self.posts += 1
        if headers["Authorization"] != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        sent = json.loads(body)
        self.check(url.path == "/api/annotations" and not url.query, f"POST {url.geturl()}")
        self.check(headers["Content-Type"] == "application/json", headers["Content-Type"])
        self.check(sent.keys() <= {"dashboardUID", "panelId", "time", "timeEnd", "tags", "text", "data"}, str(sent))
        self.check(isinstance(sent["time"], int) and sent["time"] > 0, f"time {sent['time']!r}")
        kept = list(dict.fromkeys(self.kept_tag(tag) for tag in sent["tags"]))
        self.check(kept == sent["tags"], f"{sent['tags']}: kept as {kept}")
        status, keeps, more = self.answers.pop(0) if self.answers else (200, True, {})
        if status == 200 and len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()) > TAGS_BYTES:
            return 400, {"message": "tags length exceeds the maximum allowed"}
        if status == 200 and not sent["text"]:
            return 400, {"message": "text field should not be empty"}
        if keeps:
            number = len(self.annotations) + 1
            self.annotations.append({"id": number, "timeEnd": sent["time"], **sent})
            self.taken.set()
        if status == 200:
            return 200, {"message": "Annotation added", "id": len(self.annotations)}
        return status, {"message": "Failed to save annotation"}, more

    def find(self, url, headers):
        """Answer GET /api/annotations."""
        self.questions += 1
        if headers["Authorization"] != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        if self.finds != 200:
            return self.finds, {"message": "You'll need additional permissions"}
        asked = parse_qs(url.query)
        known = {"from", "to", "limit", "type", "tags", "dashboardUID"}
        self.check(url.path == "/api/annotations" and asked.keys() <= known, f"GET {url.geturl()}")
        first, last, limit = (int(asked[name][0]) for name in ("from", "to", "limit"))
        found = [each for each in self.annotations if first <= each["timeEnd"] and each["time"] <= last]
        found = [each for each in found if set(asked.get("tags", ())) <= set(each["tags"])]
        if uid := asked.get("dashboardUID"):
            found = [each for each in found if each.get("dashboardUID") == uid[0]]
        return 200, found[::-1][:limit]

    @staticmethod
    def kept_tag(tag):
        """Give a tag as Grafana's database keeps it: a key and a value, of 100 characters each."""
        parts = [part.strip(" ")[:100] for part in tag.split(":")]
        return f"{parts[0]}:{parts[1]}" if len(parts) > 1 and parts[1] else parts[0]

    def check(self, holds, what):
        if not holds:
            self.objections.append(what)

    def texts(self):
        """Give the texts of what is there, in the order in which it came."""
        return [each["text"] for each in self.annotations]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def grafana():
    running = GrafanaApi()
    yield running
    running.close()
    assert running.objections == []
