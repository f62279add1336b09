"""Metric names and label sets: what is allowed, the canonical form, and a series' identity.

Source of the rules: the Prometheus data model; names that a receiver could not take are refused here, when
they are declared, and not when they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from rondo_core.errors import LabelError

Kind = Literal["counter", "gauge", "summary"]
KINDS: tuple[Kind, ...] = ("counter", "gauge", "summary")
Labels = tuple[tuple[str, str], ...]

METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# Arguments of other libraries' instruments, which are no labels here: what says the same.
_OTHERS_WORDS = {
    "buckets": "a summary has none, and with quantiles=True any quantile is read from it",
    "labelnames": 'write labels=["method"]',
}
_OTHERS_HELP = ("documentation", "description")  # the words of prometheus_client and of OpenTelemetry
MAX_VALUE_BYTES = 1024
DISPLACED = "exported_"  # before the name of a label that gave way to one that wins


def check_metric_name(name: str) -> str:
    """Give the name back, or refuse it.

    Raises: LabelError: the name is not `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    """
    if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
        raise LabelError(f"{name!r}: not a metric name; letters, digits, _ and : only, no digit first")
    return name


def canonical_labels(labels: Mapping[str, object] | Iterable[tuple[str, object]]) -> Labels:
    """Sort a label set by name, values as text; an empty value is the same as no label and is left out.

    Raises: LabelError: a name is not `[a-zA-Z_][a-zA-Z0-9_]*`, begins with __ or comes twice, or a value is
    longer than 1024 bytes of UTF-8, cannot be encoded, or has no text of its own.
    """
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    seen: dict[str, str] = {}
    for name, raw in pairs:
        if not isinstance(name, str) or not LABEL_NAME.fullmatch(name):
            raise LabelError(f"{name!r}: not a label name; letters, digits and _ only, no digit first")
        if name.startswith("__"):
            raise LabelError(f"{name!r}: label names that begin with __ are reserved; choose another")
        if name in seen:
            raise LabelError(f"{name!r}: label given twice; keep one")
        value = raw if type(raw) is str else str(raw) if type(raw) is int else _text_of(name, raw)
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise LabelError(f"{name}={value!r}: not valid Unicode; remove the lone surrogates") from None
        if size > MAX_VALUE_BYTES:
            raise LabelError(f"{name}: value of {size} bytes; at most {MAX_VALUE_BYTES}")
        seen[name] = value
    return tuple(sorted((name, value) for name, value in seen.items() if value))


def _text_of(name: str, raw: object) -> str:
    """Write a label's value. Raises: LabelError: it is not one value, or has no text of its own."""
    if isinstance(raw, (Mapping, list, tuple, set)):
        mend = _OTHERS_WORDS.get(name, 'write each label with its own, such as method="get"')
        raise LabelError(f"{name}={raw!r}: not one value; {mend}")
    if _is_wordless(raw):
        raise LabelError(f"{name}={raw!r}: an object without a text of its own; leave it out, or write a text")
    return raw if isinstance(raw, str) else str(raw)


def check_keywords(name: str, labels: Mapping[str, object]) -> None:
    """Refuse the word of another library for a help, which would be a label. Raises: LabelError; it says the mend."""
    for word in _OTHERS_HELP:
        if word in labels:
            mend = f'a label of that name comes as {{"{word}": "..."}}'
            raise LabelError(f'{name}: {word}={labels[word]!r}: write help="...", or the text after the name; {mend}')


def cut_value(value: object) -> object:
    """Cut a label's value, as text, at 1024 bytes, with ? where it is no Unicode; what is not one value stays."""
    if isinstance(value, (Mapping, list, tuple, set)) or _is_wordless(value):
        return value
    data = (value if isinstance(value, str) else str(value)).encode(errors="replace")
    return data[:MAX_VALUE_BYTES].decode(errors="ignore")


def _is_wordless(value: object) -> bool:
    """Say whether a value's text is but its class and its address, other ones in each process."""
    return type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__


def overridden(own: Labels, winning: Mapping[str, str]) -> Labels:
    """Give a label set under labels that win, sorted: what it has under such a name is kept as `exported_NAME`.

    Where there is that already, `exported_` is put before it once more. An empty value wins, and is then left out.
    Source: Prometheus, the scrape option honor_labels: false.
    """
    merged = {**dict(own), **winning}
    displaced = [(name, value) for name, value in dict(own).items() if name in winning]
    for name, value in sorted(displaced, key=lambda pair: (len(pair[0]), pair[0])):
        kept = DISPLACED + name
        while kept in merged:
            kept = DISPLACED + kept
        merged[kept] = value
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def read_given(
    name: str, given: Iterable[object], labels: Mapping[str, object], help_text: str | None
) -> tuple[list[tuple[str, object]], str | None]:
    """Sort what was given after a metric's name: a text is its help, a mapping holds labels.

    Returns: label pairs, those given as keywords at the end; the help.
    Raises: LabelError: something else, such as a list of label names, or a second text; the message says the mend.
    """
    pairs: list[tuple[str, object]] = []
    for each in given:
        if isinstance(each, Mapping):
            pairs += each.items()
        elif isinstance(each, str):
            if help_text:
                raise LabelError(f"{name}: {each!r}: the help is given already; name what this is: unit=, or a label")
            help_text = each
        elif each is not None:
            words = (word for word in each if isinstance(word, str)) if isinstance(each, Iterable) else ()
            key = next((word for word in words if LABEL_NAME.fullmatch(word)), "method")
            raise LabelError(
                f"{name}: {each!r}: labels come with their values, a series for each:"
                f' write {key}="...", or {{"{key}": "..."}}'
            )
    return [*pairs, *labels.items()], help_text


def check_text(name: str, word: str, text: str | None) -> str:
    """Give a help or a unit, None as none. Raises: LabelError: it is no text."""
    if text is not None and not isinstance(text, str):
        raise LabelError(f"{name}: {word} {text!r}: not a text; write it in quotes")
    return text or ""


def format_series(name: str, labels: Labels) -> str:
    """Write a series' identity as Prometheus does: `name{key="value"}`."""
    if not labels:
        return name
    inner = ",".join(f'{key}="{_escape(value)}"' for key, value in labels)
    return f"{name}{{{inner}}}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Series(NamedTuple):
    """A metric name plus a set of labels: who it is, what kind it is and in which column it lies.

    Attributes:
        name, labels: the identity; labels sorted by name, no empty values.
        kind: counter, gauge or summary.
        schema, column: where its values lie: column `column` of every statistic of that schema's tiers.
        help, unit: for people and for exporters; may be empty.
        created_ns: when it was first declared, ns since the epoch.
    """

    name: str
    labels: Labels
    kind: Kind
    schema: str
    column: int
    help: str = ""
    unit: str = ""
    created_ns: int = 0

    def __str__(self) -> str:
        """Write it as `name{key="value"}`."""
        return format_series(self.name, self.labels)
