"""Which files of a lake are this exporter's, at a known layout; what is damaged, newer or a stranger's is named.

Each footer is read once: what looks at the files and what reads their rows share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import pyarrow as pa
import pyarrow.dataset as ds

from rondo_core.errors import ExportError, one_line
from rondo_exporter_parquet.files import version_of
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import check_version as check_lives
from rondo_exporter_parquet.place import Place

_T = TypeVar("_T")
_DAY = re.compile(r"day=(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))/[^/]+/[^/]+")
_FORMAT = ds.ParquetFileFormat()
# How often what reads a lake lists its files anew where one went before it was read, as another process compacts.
TRIES = 5
_AT_ONCE = 16  # footers: of an object store each is a request or two


@attrs.frozen
class Listing:
    """Files that can be read. Attributes: `fragments`, by name; `faults`: of the others, a line each."""

    fragments: dict[str, Any]
    faults: list[str]


def by_day(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Sort the files of samples by their day, "2026-11-25"; give what lies in none, a line each."""
    found: dict[str, list[str]] = {}
    faults = []
    for name in names:
        day = _DAY.fullmatch(name)
        if day is not None:
            found.setdefault(day[1], []).append(name)
        elif not name.startswith(f"{LIVES}/"):
            faults.append(f"{name}: lies in no folder of a day; move it away")
    return found, faults


def samples(place: Place, names: Iterable[str]) -> Listing:
    """Look at the footers of files of samples. Raises: FileNotFoundError: one is gone; OSError: one is not reached."""
    return _listed(place, names, lambda told, _, name: version_of(told, name))


def lives(place: Place, names: Iterable[str]) -> Listing:
    """Look at the footers of files of lives. Raises: as `samples`."""
    return _listed(place, names, check_lives)


def day_of(place: Place, day: str) -> list[str]:
    """Give the files of samples of a day."""
    return by_day(place.names(f"day={day}"))[0].get(day, [])


def again(read: Callable[[], _T], place: Place) -> _T:
    """Read, and once more where a file went meanwhile. Raises: OSError: files go all the time."""
    for _ in range(TRIES):
        try:
            return read()
        except FileNotFoundError:
            continue
    raise OSError(f"{place.location}: its files go while they are read; ask again when the compaction has ended")


def unit_of(listed: Listing) -> str:
    """Give the unit of a lake's times, by the first of its files; us where there is none."""
    for fragment in listed.fragments.values():
        return str(fragment.physical_schema.field("time").type.unit)
    return "us"


def dataset(place: Place, fragments: Iterable[Any], schema: pa.Schema) -> Any:
    """Give files as one table that is read as far as it is asked for."""
    return ds.FileSystemDataset(list(fragments), schema, _FORMAT, place.fs)


def _listed(
    place: Place, names: Iterable[str], check: Callable[[Mapping[bytes, bytes], pa.Schema, str], object]
) -> Listing:
    def look(name: str) -> Any:
        try:
            with place.reached():
                fragment = _FORMAT.make_fragment(place.full(name), place.fs)
                fragment.ensure_complete_metadata()
            check(fragment.metadata.metadata or {}, fragment.physical_schema, name)
        except ExportError as error:
            return one_line(error)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            what = one_line(error).rpartition("': ")[2]  # behind the whole path
            return f"{name}: not a whole Parquet file ({what[:120]}); move it away"
        return fragment

    asked = list(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = dict(zip(asked, pool.map(look, asked), strict=True))
    faults = [each for each in seen.values() if isinstance(each, str)]
    return Listing({name: each for name, each in seen.items() if not isinstance(each, str)}, faults)
