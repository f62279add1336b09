"""What a source says beside an answer: that coarser tiers gave it, that windows are short, that the past is not kept.

And why there is none: no such series, or no sample of theirs where it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.model.labels import Series
from rondo_core.model.prometheus import NS_PER_MS
from rondo_core.model.schema import Schema
from rondo_core.model.selector import NAME_KEY
from rondo_core.read.source_names import OF_GROWTH, SourceMatcher
from rondo_core.read.unmatched import matchers_text, why_unmatched
from rondo_core.units import format_duration, format_instant

if TYPE_CHECKING:
    from rondo_core.read.source_values import Bounds

_WORTH_A_WORD = 0.1  # of the time that is asked for, where points are too far apart
_READS_EXPLAINED = 4


@attrs.define(eq=False)
class ReadNotes:
    """What is to be said of one read.

    Attributes:
        func, range_ms, lookback_ms: as the hint has them; 0: not known, or none.
        span_ms: what was read, for the first window to the last.
        coarse: the lengths of coarser tiers' buckets that answered, and how much time those of each cover.
        finest_ns: the lengths of the finest buckets.
        kept_ns: for how long samples are kept of which the oldest that were asked for are gone.
    """

    func: str
    range_ms: int
    lookback_ms: int
    span_ms: Bounds
    coarse: dict[int, int] = attrs.field(factory=dict)
    finest_ns: set[int] = attrs.field(factory=set)
    kept_ns: set[int] = attrs.field(factory=set)

    @classmethod
    def of(cls, hint: Any, func: str, span_ms: Bounds) -> ReadNotes:
        """Begin the notes of a read whose hint may know less than all."""
        return cls(func, getattr(hint, "range_ms", 0), getattr(hint, "lookback_ms", 0), span_ms)

    @property
    def asked_ns(self) -> int:
        """The instant of the first step, before which windows and the lookback reach."""
        return (self.span_ms[0] + max(0, (self.range_ms or self.lookback_ms) - 1)) * NS_PER_MS

    def look_at_begin(self, schema: Schema, series: Sequence[Series], oldest_ns: int, newest_ns: int) -> None:
        """Note that samples which were asked for are kept no more, where that is so.

        Args: `oldest_ns`: of the rows that were read; `newest_ns`: of the schema.
        """
        kept_ns = max(tier.retention_ns for tier in schema.tiers)
        gone_ns = min(newest_ns - kept_ns, oldest_ns)
        if self.asked_ns < gone_ns and any(0 < each.created_ns < gone_ns for each in series):
            self.kept_ns.add(kept_ns)

    def texts(self) -> list[str]:
        """Say all of it, a line each."""
        found = [coarse_words(self.coarse)] if self.coarse else []
        found += [kept_words(each) for each in sorted(self.kept_ns)]
        window_ns = (self.range_ms or self.lookback_ms) * NS_PER_MS
        n_points = 2 if self.func in OF_GROWTH and self.range_ms else 1
        span_ns = (self.span_ms[1] - self.span_ms[0]) * NS_PER_MS
        too_long = {each: covered for each, covered in self.coarse.items() if window_ns < n_points * each}
        lengths = [*too_long] if sum(too_long.values()) > span_ns * _WORTH_A_WORD else []
        lengths += [each for each in self.finest_ns if window_ns < n_points * each]
        if lengths and window_ns:
            found.append(short_window_words(self.func, n_points, window_ns, max(lengths), is_range=bool(self.range_ms)))
        return found


def coarse_words(lengths_ns: Iterable[int]) -> str:
    """Say that coarser tiers answered, and what they cannot tell."""
    lengths = ", ".join(map(format_duration, sorted(lengths_ns)))
    return f"older points stand for {lengths} each: they hold its last value, sums and extremes, not the time of each"


def kept_words(kept_ns: int) -> str:
    """Say that the range begins before the oldest sample that is kept."""
    length = format_duration(kept_ns)
    return f"samples are kept for {length}: the range begins earlier, and there is nothing of its begin"


def short_window_words(func: str, n_points: int, window_ns: int, length_ns: int, *, is_range: bool) -> str:
    """Say why a window may hold fewer points than are needed, and which one does not."""
    wanted, given, length = map(format_duration, (n_points * length_ns, window_ns, length_ns))
    if n_points > 1:
        return (
            f"{func} needs two points: where these are {length} apart [{given}] may have none; give [{wanted}] or more"
        )
    if is_range:
        return f"where points are {length} apart [{given}] may hold none of them; give [{wanted}] or more"
    return (
        f"where points are {length} apart a selector, which looks back {given}, may see none of them; "
        f"ask for last_over_time(...[{wanted}])"
    )


class _ExplainingSource(Protocol):
    """What explains an answer: a source that knows its series, and when they may have samples."""

    def series(self, matchers: Sequence[SourceMatcher], /) -> list[dict[str, str]]: ...
    def metadata(self) -> Any: ...
    def select(self, matchers: Sequence[SourceMatcher], start_ms: int, end_ms: int, hint: Any, /) -> Any: ...


@attrs.define(eq=False)
class RememberedReads:
    """A source that remembers its first reads, so that an empty answer can be explained. Of one query.

    Attributes: `reads`: matchers, the first step and the last instant that was read, and whether there was a series.
    """

    source: _ExplainingSource
    reads: list[tuple[tuple[SourceMatcher, ...], int, int, bool]] = attrs.field(factory=list)

    def select(self, matchers: Sequence[SourceMatcher], start_ms: int, end_ms: int, hint: Any = None) -> list[Any]:
        """Give what the source gives."""
        found = list(self.source.select(matchers, start_ms, end_ms, hint))
        if len(self.reads) < _READS_EXPLAINED:
            sees_back = not getattr(hint, "range_ms", 0)
            first_ms = start_ms + max(0, getattr(hint, "lookback_ms", 0) - 1) * sees_back
            self.reads.append((tuple(matchers), first_ms, end_ms, bool(found)))
        return found

    def why_empty(self, source: _ExplainingSource | None = None) -> list[str]:
        """Say of each read why it gives nothing, a line each; those that gave something are not spoken of.

        Args: `source`: what is asked for that, in the place of what was read.
        """
        texts = [_why(source or self.source, *each) for each in self.reads]
        return list(dict.fromkeys(text for text in texts if text))

    def unknown_metrics(self) -> list[str]:
        """Say of each read that gave nothing whether no series at all has its metric's name, a line each."""
        named = [
            [each for each in matchers if each.name == NAME_KEY] for matchers, _, _, found in self.reads if not found
        ]
        unknown = (why_unmatched(self.source, names) for names in named if names)
        return list(dict.fromkeys(str(error) for error in unknown if error is not None))


def _why(
    source: _ExplainingSource, matchers: Sequence[SourceMatcher], first_ms: int, end_ms: int, has_some: bool
) -> str:
    unknown = why_unmatched(source, matchers)
    if unknown is not None:
        return str(unknown)
    sampled_ms = getattr(source, "sampled_ms", None)  # a source of another's may not know
    if sampled_ms is None or not source.series(matchers):
        return ""
    text, bounds = matchers_text(matchers), sampled_ms(matchers)
    if bounds is None:
        return f"{text}: no sample yet; a second is answered once it is over"
    oldest, newest = (format_instant(each // 1000 * NS_PER_S) for each in bounds)
    what = (
        "" if has_some else f"no sample in the time that was asked for, though there may be from {oldest} to {newest}"
    )
    if bounds[1] < first_ms:
        what = f"the newest sample is of {newest}, before what was asked for; ask for an earlier time"
    elif bounds[0] > end_ms:
        what = f"the oldest sample is of {oldest}, after what was asked for; ask for a later time"
    return what and f"{text}: {what}"
