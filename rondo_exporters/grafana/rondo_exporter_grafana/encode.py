"""A mark or a note as an annotation: its time, its text, its tags, and what of the tags Grafana does not keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

from rondo_core.export import EventRequest
from rondo_core.model import overridden
from rondo_exporter_grafana.plugin import Settings

# Source: Grafana, the tables of its database: a tag's key, and its value, have 100 characters.
TAG_CHARACTERS = 100
_NS_PER_MS = 10**6


@attrs.frozen
class Annotation:
    """What is sent of an event. Attributes: `cut`: tags that are sent shorter, or left out, as they were."""

    time_ms: int
    text: str
    tags: tuple[str, ...]
    data: dict[str, Any]
    cut: tuple[str, ...] = ()

    def body(self, dashboard_uid: str) -> bytes:
        """Give the JSON of the request that adds it."""
        plain: dict[str, Any] = {"time": self.time_ms, "text": self.text, "tags": self.tags, "data": self.data}
        return json.dumps({**plain, "dashboardUID": dashboard_uid} if dashboard_uid else plain).encode()

    def is_found_as(self, found: object) -> bool:
        """Say whether an annotation that Grafana has is this one: by whose it is, else by its time and text."""
        if not isinstance(found, dict) or found.get("time") != self.time_ms:
            return False
        data = found.get("data")
        if isinstance(data, dict) and self.data.keys() <= data.keys():
            return all(data[key] == value for key, value in self.data.items())
        return bool(found.get("text") == self.text)


def annotation_of(request: EventRequest, settings: Settings) -> Annotation:
    """Make the annotation of an event; the text has all that is said of it, so that nothing is lost with a tag."""
    event, cut = request.event, list[str]()
    kept = dict[str, None]()
    left_bytes = settings.tags_bytes - 1  # the first bracket; each has its quotes, and a comma or the last bracket
    for tag in _tags(request, settings):
        taken = _taken(tag)
        size_bytes = len(taken.encode()) + 3
        if not taken or taken in kept:
            continue
        if taken != tag or size_bytes > left_bytes:
            cut.append(tag)
        if size_bytes <= left_bytes:
            kept[taken] = None
            left_bytes -= size_bytes
    # A time of 0 is Grafana's own present.
    time_ms = max(1, event.time_ns // _NS_PER_MS)
    data = {"store": request.store_id, "number": event.number}
    return Annotation(time_ms, str(event), tuple(kept), data, tuple(cut))


def _tags(request: EventRequest, settings: Settings) -> Iterator[str]:
    yield from settings.tags
    if request.event.kind == "mark":
        yield request.event.text
    labels = overridden(tuple(sorted(request.labels.items())), dict(settings.external_labels))
    for name, value in (*labels, *request.event.facts.items()):
        yield f"{name}:{value}"


def _taken(tag: str) -> str:
    """Give a tag as Grafana takes it: a name, or a name and a value; what follows a second colon it leaves out."""
    name, *rest = (part.strip(" ")[:TAG_CHARACTERS].strip(" ") for part in tag.split(":"))
    return f"{name}:{rest[0]}" if name and rest and rest[0] else name
