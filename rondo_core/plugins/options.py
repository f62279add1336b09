"""What a plugin can be told: options it declares, and config tables checked against them before it is called."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rondo_core.errors import UsageError, instead, one_line
from rondo_core.units import parse_duration_ns, parse_size_bytes

NS_PER_S = 1_000_000_000
Type = Literal["text", "integer", "number", "duration", "size", "flag", "list", "table"]
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Option(NamedTuple):
    """One key of a plugin's config table.

    Attributes:
        name: the key.
        type: text; integer; number; duration ("10s" or seconds; given on as float, s); size ("4MiB"; given on as
            int, bytes); flag; list (of text; "a,b" on a command line); table (text to text; "a=b,c=d").
        help: one line for people.
        default: what is given on where the key is missing; None leaves the key out.
        least: the smallest number that is allowed; None: any.
        choices: the values that are allowed, or those of a list's items; empty: any.
        required: a config without it is refused.
        secret: never shown; neither in errors nor in `rondo plugins`.
    """

    name: str
    type: Type = "text"
    help: str = ""
    default: Any = None
    choices: Sequence[str] = ()
    required: bool = False
    secret: bool = False
    least: float | None = None


# What every exporter's table may hold besides the plugin's own keys; the runner takes it.
RUNNER_OPTIONS = (
    Option("plugin", help="the exporter plugin; by default the table's name, which is also the cursor's"),
    Option("interval", "duration", "how often closed buckets are sent; 10s"),
    Option("deadline", "duration", "how long the last flush may take; 10s"),
    Option("max_samples", "integer", "the most samples of one request; 10000", least=1),
    Option("tier", "integer", "the tier that is sent; 0, the finest", least=0),
    Option("fn", "list", "consolidators: x is sent as the gauges x_avg, x_max ...; a counter's last as itself"),
    Option("match", help="a selector of the series that are sent; all"),
    Option("backfill", "flag", "begin with what only coarser tiers still have; false"),
)

# What every recorder's table may hold besides the plugin's own keys.
RECORDER_OPTIONS = (Option("enabled", "flag", "false: leave out a recorder that is otherwise on", default=True),)

# The tables `store` and `agent` of a config.
STORE_OPTIONS = (
    Option("path", help="where to record"),
    Option("schemas", help="a file of [[schema]] tables; see rondo plan"),
    Option("tick_interval", "duration", "how often the store is ticked; 1s"),
    Option("sync_interval", "duration", "how often everything is written to the disk; when the kernel does"),
    Option(
        "max_bytes",
        "size",
        "up to which the store is made, with less room where no schemas are given, or grows when it is opened; 64MiB",
    ),
    Option(
        "if_locked",
        help="where another process writes the store: raise, record beside it, or keep nothing; raise",
        choices=("raise", "beside", "off"),
    ),
    Option(
        "strict",
        "flag",
        "raise where a series finds no room, or a program or its child no store; false",
    ),
    Option("keep_last", "integer", "how many stores of dead processes the directory keeps; all", least=0),
    Option("keep_for", "duration", "for how long after their end they are kept; for ever"),
    Option("keep_bytes", "size", "what all stores of the directory may take, sent or not; any size", least=0),
)
AGENT_OPTIONS = (
    Option("interval", "duration", "how often the directory is looked through", 30.0),
    Option(
        "after",
        help="what becomes of a store that is exported whole",
        default="keep",
        choices=("keep", "archive", "delete"),
    ),
    Option("archive", help="where archived stores go; a directory on the same file system"),
    Option("containers", help="a directory inside of containers: what is live in each is sent too, and kept"),
    Option("deadline", "duration", "how long one store's export may take in one pass", 60.0),
    Option("instance_label", help="the label that tells stores apart; empty: none", default="instance"),
)


def read_options(
    where: str, options: Iterable[Option], config: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Check a config table and give the values in their types, defaults filled in.

    A value that is as a whole "${NAME}" stands for the environment variable NAME.

    Args: `where` names the table in errors, such as "exporters.prometheus"; `environment`: by default the process's.
    Raises: UsageError: names the key, what is wrong and what is allowed, and no secret.
    """
    values, wrong = _read_table(where, options, config, environment)
    if wrong:
        raise wrong[0]
    return values


def wrong_keys(where: str, options: Iterable[Option], config: Mapping[str, Any]) -> list[str]:
    """Say all that is wrong with a config table, a line each, in the words of `read_options`."""
    return [one_line(error) for error in _read_table(where, options, config, None)[1]]


def _read_table(
    where: str, options: Iterable[Option], config: Mapping[str, Any], environment: Mapping[str, str] | None
) -> tuple[dict[str, Any], list[UsageError]]:
    """Give the values that can be used, and an error for each key that is wrong, or missing where none is misspelt."""
    known = {option.name: option for option in options}
    strange = [str(key) for key in config if key not in known]
    wrong = [UsageError(f"{where}.{key}: no such key; {instead(key, sorted(known))}") for key in strange]
    values: dict[str, Any] = {}
    for name, option in known.items():
        value = config.get(name)
        try:
            if value is not None:
                values[name] = _checked(f"{where}.{name}", option, _expanded(f"{where}.{name}", value, environment))
            elif option.default is not None:
                values[name] = option.default
            elif option.required and not strange:
                raise UsageError(f"{where}.{name}: missing; {option.help or 'give it'}")  # noqa: TRY301 - as the others
        except UsageError as error:
            wrong.append(error)
    return values, wrong


def divided(table: Mapping[str, Any], options: Sequence[Option]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a table: the keys of these options, and the rest."""
    mine = {option.name for option in options}
    own = {key: value for key, value in table.items() if key in mine}
    return own, {key: value for key, value in table.items() if key not in mine}


def recorders_asked(tables: Mapping[str, Mapping[str, Any]], defaults: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Give the recorders that are on, in order, each with its own share of its table.

    Args: `tables`: as of `recorders` in a config; `defaults`: those that are on unless a table says otherwise.
    Raises: UsageError: a table's `enabled` is neither true nor false.
    """
    asked: dict[str, dict[str, Any]] = {name: {} for name in defaults}
    for name, table in tables.items():
        own, rest = divided(table, RECORDER_OPTIONS)
        if read_options(f"recorders.{name}", RECORDER_OPTIONS, own)["enabled"]:
            asked[name] = rest
        else:
            asked.pop(name, None)
    return asked


def _expanded(where: str, value: Any, environment: Mapping[str, str] | None) -> Any:
    if isinstance(value, Mapping):
        return {key: _expanded(f"{where}.{key}", each, environment) for key, each in value.items()}
    if not (isinstance(value, str) and value.startswith("${") and value.endswith("}")):
        return value
    name = value[2:-1]
    found = (os.environ if environment is None else environment).get(name)
    if found is None:
        raise UsageError(f"{where}: the environment has no variable {name}; set it")
    return found


def _checked(where: str, option: Option, value: Any) -> Any:
    shown = "what it is given" if option.secret else repr(value)
    try:
        checked = _READ[option.type](value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{where}: {shown} is not {_WORDS[option.type]}") from None
    if option.least is not None and checked < option.least:
        raise UsageError(f"{where}: {shown}: at least {option.least:g}")
    if option.choices:
        for each in checked if option.type == "list" else (checked,):
            if each not in option.choices:
                raise UsageError(f"{where}: {shown}: choose from {', '.join(option.choices)}")
    return checked


def _text(value: Any) -> str:
    if not isinstance(value, (str, Path)):
        raise TypeError
    return str(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _duration(value: Any) -> float:
    seconds = parse_duration_ns(value) / NS_PER_S if isinstance(value, str) else _number(value)
    if seconds <= 0:
        raise ValueError
    return seconds


def _size(value: Any) -> int:
    size = parse_size_bytes(value) if isinstance(value, str) else _integer(value)
    if size < 0:
        raise ValueError
    return size


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    if not isinstance(value, bool):
        raise TypeError
    return value


def _list(value: Any) -> list[str]:
    items = [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else list(value)
    if not all(isinstance(each, str) for each in items):
        raise TypeError
    return items


def _table(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [each.partition("=") for each in value.split(",") if each.strip()]
        if not all(sign for _, sign, _ in pairs):
            raise ValueError
        given = {name.strip(): text.strip() for name, _, text in pairs}
        if len(given) < len(pairs):  # as in TOML
            raise ValueError
        return given
    return {str(name): _text(text) if isinstance(text, str) else str(text) for name, text in dict(value).items()}


_READ: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "duration": _duration,
    "size": _size,
    "flag": _flag,
    "list": _list,
    "table": _table,
}
_WORDS = {
    "text": "text; write it in quotes",
    "integer": "a whole number",
    "number": "a number",
    "duration": "a duration above 0, such as 10s",
    "size": "a size, such as 4MiB",
    "flag": "true or false",
    "list": "a list of texts",
    "table": "a table of texts, such as a=b, each name once",
}
