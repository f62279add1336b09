"""Points drawn with matplotlib, which is imported only when a plot is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rondo_core.read.frames import need
from rondo_core.units import format_instant, parse_zone

if TYPE_CHECKING:
    from rondo_core.read.query import SeriesData
    from rondo_core.storage.events import Event

MOST_NAMED, MOST_MARKS = 20, 20


def plot(many: Sequence[SeriesData], ax: Any = None, *, tz: str = "UTC", events: Sequence[Event] = ()) -> Any:
    """Draw the points as lines over time, which end where buckets are absent, and the newest marks upright.

    Args: `ax`: matplotlib's axes; None: those of a new figure. `tz`: the zone of the times.
    Returns: the axes. Raises: UsageError: matplotlib is not installed; RangeError: no such zone.
    """
    pyplot = need("matplotlib.pyplot", "plot", "matplotlib")
    dates = need("matplotlib.dates", "plot", "matplotlib")
    zone = parse_zone(tz)
    if ax is None:
        _, ax = pyplot.subplots(figsize=(9, 3.5), layout="constrained")
    for data in many:
        times, values, alone = lines_of(data)
        (line,) = ax.plot(times, values, label=_plain(str(data.series)))
        ax.plot(times[alone], values[alone], ".", color=line.get_color())
    for event in [each for each in events if each.kind == "mark"][-MOST_MARKS:]:
        at = np.datetime64(event.time_ns // 1000, "us")
        ax.axvline(at, color="0.5", linestyle=":", linewidth=1)
        ax.annotate(_plain(event.text), (at, 1), xycoords=("data", "axes fraction"), fontsize=8, rotation=90, va="top")
    locator = dates.AutoDateLocator(tz=zone)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))
    units = {data.series.unit for data in many}
    ax.set_title(_plain(_title(many)), fontsize=10)
    ax.set_ylabel(_plain(units.pop()) if len(units) == 1 else "")
    if 1 < len(many) <= MOST_NAMED:
        ax.legend(fontsize=8)
    return ax


def lines_of(data: SeriesData) -> tuple[Any, Any, Any]:
    """Give times, datetime64[us], and values of a series with a NaN where a bucket between two points is absent.

    The third array says of each point whether it has no neighbour, and so no line.
    """
    stamps, values, ends = data.timestamps_ns, data.values, data.timestamps_ns + data.interval_ns
    gaps = np.flatnonzero(stamps[1:] > ends[:-1]) + 1
    times = np.insert(stamps, gaps, ends[gaps - 1]).astype("datetime64[ns]").astype("datetime64[us]")
    broken = np.insert(values, gaps, np.nan)
    absent = np.concatenate([[True], np.isnan(broken), [True]])
    return times, broken, absent[:-2] & ~absent[1:-1] & absent[2:]


def _title(many: Sequence[SeriesData]) -> str:
    first = min((int(data.timestamps_ns[0]) for data in many if len(data)), default=0)
    what = ", ".join(sorted({f"{data.series.name} ({data.fn})" for data in many}))
    return f"{what} from {format_instant(first)}" if first else f"{what}: no points in this range"


def _plain(text: str) -> str:
    """Write text so that matplotlib takes none of it for a formula."""
    return text.replace("$", r"\$")
