"""A line by which a guest hands in a sample, as it may look and no other: `name{label="x"} value [unix_ms]`."""

from __future__ import annotations

import re

from rondo_core.errors import RondoError
from rondo_core.model import canonical_labels
from rondo_vmm.hookspecs import MAX_LINE_BYTES

MAX_LABELS = 8
MAX_VALUE = 1e100  # so that no sum of them, in any window, is infinite
NUMBER = r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?"
LINE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]{{0,127}})(?:\{{(.*)\}})? +({NUMBER})(?: +(\d{{1,15}}))? *", re.ASCII)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]{0,63})="((?:[^"\\]|\\["\\n]){0,128})"(?:,|$)', re.ASCII)
ESCAPE = re.compile(r'\\(["\\n])')


def parse(line: bytes) -> tuple[str, tuple[tuple[str, str], ...], float, int | None] | None:
    """Give a line's name, labels in order, value, and time in ms since the epoch if it has one; None: no sample."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = LINE.fullmatch(line.decode())
        labels = _labels(found[2] or "") if found else None
        if found is None or labels is None:
            return None
        value = float(found[3])
        whole = canonical_labels(labels)
    except (UnicodeDecodeError, RondoError):
        return None
    if not -MAX_VALUE <= value <= MAX_VALUE:
        return None
    return found[1], whole, value, None if found[4] is None else int(found[4])


def _labels(text: str) -> list[tuple[str, str]] | None:
    labels: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = LABEL.match(text, at)
        if found is None or len(labels) == MAX_LABELS:
            return None
        labels.append((found[1], ESCAPE.sub(lambda mark: "\n" if mark[1] == "n" else mark[1], found[2])))
        at = found.end()
    return labels
