"""What several commands take: the store, labels, a duration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from rondo_cli.printing import say
from rondo_core.errors import RondoError, UsageError, one_line
from rondo_core.model import META_FILE, canonical_labels, is_directory, is_there
from rondo_core.units import parse_duration_ns, parse_size_bytes

if TYPE_CHECKING:
    from rondo_core.read import StoreChoice

# What lies there, and whether it may be read, whoever opens it says best.
PATH = click.Path(path_type=Path, readable=False)
STORE = click.argument("store", type=PATH)
LAST = click.option(
    "--last", type=click.IntRange(1), default=None, metavar="N", help="Of a directory: the N stores that began last."
)
JOB = click.option(
    "--job", default="", metavar="NAME", help="Of a directory: stores of this writer, or job of rondo run; * is any."
)
_SHOWN = 5


def store_choice(path: Path, last: int | None, job: str) -> StoreChoice:
    """Give which stores are asked. Raises: UsageError: the path is a store, of which there is one."""
    from rondo_core.read import StoreChoice

    choice = StoreChoice(last or 0, job)
    if choice and is_there(path / META_FILE):
        raise UsageError(f"{path}: one store, and --{'last' if last else 'job'} is of a directory; leave it out")
    return choice


def stores_below(path: Path) -> list[Path]:
    """Give the stores that lie below a directory of stores, in order; none where the path is a store, or nothing."""
    if not is_directory(path) or is_there(path / META_FILE):
        return []
    from rondo_core.read import find_stores

    return list(find_stores(path))


def of_each(path: Path, stores: Sequence[Path], call: Callable[[Path, str], int]) -> int:
    """Call with each store and what it is called below the directory; give the worst exit status.

    An error of one is said, and stops none of the others.
    """
    worst = 0
    for store in stores:
        try:
            worst = max(worst, call(store, str(store.relative_to(path))))
        except RondoError as error:
            say(f"rondo: {one_line(error)}", err=True)
            worst = max(worst, error.exit_status)
    return worst


def one_store(path: Path) -> Path:
    """Give the path back, unless it is a directory of stores, to a command that takes one.

    Raises: UsageError: names the stores that lie below it.
    """
    below = [str(each) for each in stores_below(path)]
    if below:
        more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
        stores = "a store lies" if len(below) == 1 else f"{len(below)} stores lie"
        raise UsageError(f"{path}: no store, but {stores} below it: {', '.join(below[:_SHOWN])}{more}; name one")
    return path


class _Quantity(click.ParamType):  # type: ignore[type-arg]
    """A text that one of the parsers of units reads as a whole number."""

    parse: ClassVar[staticmethod[[str], int]]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or fail as click does."""
        if isinstance(value, int):
            return value
        try:
            return self.parse(value)
        except RondoError as error:
            self.fail(one_line(error), param, ctx)


class Duration(_Quantity):
    """A duration such as 90s, 15m or 1h30m, as nanoseconds."""

    name, parse = "duration", staticmethod(parse_duration_ns)


class Size(_Quantity):
    """A size such as 512M, 4GiB or 4096, as bytes."""

    name, parse = "size", staticmethod(parse_size_bytes)


class LabelSet(click.ParamType):  # type: ignore[type-arg]
    """Labels as key=value,key=value."""

    name = "key=value,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """Read them, or fail as click does."""
        if isinstance(value, dict):
            return value
        pairs = [each.partition("=") for each in value.split(",") if each.strip()]
        if any(not sign for _, sign, _ in pairs):
            self.fail(f"{value!r}: write key=value,key=value", param, ctx)
        try:
            return dict(canonical_labels([(key.strip(), text.strip().strip('"')) for key, _, text in pairs]))
        except RondoError as error:
            self.fail(one_line(error), param, ctx)


ALLOW_HOST = click.option(
    "--allow-host", "names", multiple=True, metavar="NAME", help="A name by which clients ask; may be given again."
)
CONFIG = click.option(
    "--config",
    "config",
    type=PATH,
    default=None,
    help="The config file; default: rondo.toml, where there is one.",
)
