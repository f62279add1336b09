"""Points made few enough to be drawn, and drawn with characters: sparklines and bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEVELS = " ▁▂▃▄▅▆▇█"
_FULL, _EMPTY = "█", "░"
_PARTS = " ▏▎▍▌▋▊▉"


def sparkline(values: NDArray[np.float64], width: int, top: float | None = None) -> str:
    """Draw values as one line of blocks from nought: of each column the greatest; a space where there is none.

    Args: `values`: float64 [points], NaN: absent; `top`: what a full block stands for, by default the greatest.
    """
    if not len(values) or np.isnan(values).all():
        return ""
    width = min(width, len(values))
    columns = [float(np.nanmax(part)) if not np.isnan(part).all() else np.nan for part in np.array_split(values, width)]
    most = top or float(np.nanmax(values)) or 1.0
    return "".join(
        " " if np.isnan(each) else _LEVELS[1 + round(7 * min(1.0, max(0.0, each / most)))] for each in columns
    )


def bar(share: float, width: int) -> str:
    """Draw a share of 0 to 1 as a bar, an eighth of a character fine."""
    eighths = round(8 * width * min(1.0, max(0.0, share)))
    full, part = divmod(eighths, 8)
    if share > 0 and not eighths:
        part = 1
    drawn = _FULL * full + (_PARTS[part] if part else "")
    return drawn + _EMPTY * (width - len(drawn))


def thinned(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Keep of every run of neighbours the least and the greatest, in their order, so that no peak is lost.

    Args: `values`: float64 [points], NaN: absent; `most`: an even number of points, at least 2.
    Returns: float64 [at most `most`], over the same time.
    """
    if len(values) <= most:
        return values
    kept: list[float] = []
    for part in np.array_split(values, most // 2):
        if np.isnan(part).all():
            kept += [np.nan, np.nan]
        else:
            low, high = int(np.nanargmin(part)), int(np.nanargmax(part))
            kept += [float(part[each]) for each in sorted((low, high))]
    return np.array(kept)
