"""A receiver that keeps to what is documented of Grafana's HTTP API of annotations, and objects to the rest.

Source: Grafana, "Annotations HTTP API"; of its database what tags it keeps. A Grafana itself is not started.
"""

import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from rondo_core.testing import HttpReceiver

TAGS_BYTES = 500


class GrafanaApi(HttpReceiver):
    """Keeps annotations, as POST adds them and GET finds them.

    Attributes:
        annotations: those that are there, oldest first; posts, questions: how many requests of each came.
        faults: what the next POSTs are answered instead, in turn: a status, and whether it is kept all the same.
        refuse: a function of a text, that gives a status to refuse it with, or None.
        finds: the status of GET; token: what is to be sent; objections: what a sender should not have done.
        added: set whenever an annotation was added.
    """

    def __init__(self):
        self.annotations, self.faults, self.refuse = [], [], lambda _: None
        self.posts = self.questions = 0
        self.finds, self.token, self.added = 200, "hidden", threading.Event()
        super().__init__("")

    def take(self, path, headers, body):
        self.posts += 1
        status, plain = self.add(urlsplit(path), headers, json.loads(body))
        return status, {"Content-Type": "application/json"}, json.dumps(plain).encode()

    def ask(self, path, headers):
        self.questions += 1
        status, plain = self.find(urlsplit(path), headers)
        return status, {"Content-Type": "application/json"}, json.dumps(plain).encode()

    def add(self, url, headers, sent):
        """Answer POST /api/annotations."""
        if headers["Authorization"] != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        self.check(url.path == "/api/annotations" and not url.query, f"POST {url.geturl()}")
        self.check(headers["Content-Type"] == "application/json", headers["Content-Type"])
        self.check(sent.keys() <= {"dashboardUID", "panelId", "time", "timeEnd", "tags", "text", "data"}, str(sent))
        self.check(isinstance(sent["time"], int) and sent["time"] > 0, f"time {sent['time']!r}")
        kept = list(dict.fromkeys(map(kept_tag, sent["tags"])))
        self.check(kept == sent["tags"], f"{sent['tags']}: kept as {kept}")
        size_bytes = len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode())
        self.check(size_bytes <= TAGS_BYTES, f"tags of {size_bytes} bytes")
        refused = self.refuse(sent["text"])
        status, keeps = (refused, False) if refused else self.faults.pop(0) if self.faults else (200, True)
        if keeps:
            self.annotations.append({"id": len(self.annotations) + 1, "timeEnd": sent["time"], **sent})
            self.added.set()
        if status == 200:
            return 200, {"message": "Annotation added", "id": len(self.annotations)}
        return status, {"message": "Failed to save annotation"}

    def find(self, url, headers):
        """Answer GET /api/annotations."""
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

    def check(self, holds, what):
        if not holds:
            self.objections.append(what)

    def texts(self):
        """Give the texts of what is there, in the order in which it came."""
        return [each["text"] for each in self.annotations]


def kept_tag(tag):
    """Give a tag as Grafana's database keeps it: a key and a value, of 100 characters each."""
    parts = [part.strip(" ")[:100] for part in tag.split(":")]
    return f"{parts[0]}:{parts[1]}" if len(parts) > 1 and parts[1] else parts[0]


@pytest.fixture
def grafana():
    running = GrafanaApi()
    yield running
    running.close()
    assert running.objections == []
