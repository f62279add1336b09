"""What is kept: tiers and schemas, and their exact size in bytes before any file exists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Self

from rondo_core.errors import SchemaError
from rondo_core.model import layout
from rondo_core.model.labels import KINDS, Kind, Series
from rondo_core.model.selector import Selector, parse_selector
from rondo_core.model.sketch import CELLS_OF, LAYOUT
from rondo_core.model.statistics import cell_format, check_statistics, coarse_statistics, fine_cells
from rondo_core.units import format_duration, parse_duration_ns

SELF_SCHEMA = "rondo"
SELF_PREFIX = "rondo_"
# How many series rondo counts itself by: of a store, of each exporter, and how many plugins' failures by name.
SERIES_OF_A_STORE, SERIES_OF_AN_EXPORTER, PLUGINS_NAMED = 16, 10, 6
OWN_SERIES = SERIES_OF_A_STORE + PLUGINS_NAMED + 1  # all other plugins are one; without an exporter's
MAX_SERIES = 1_000_000
MAX_RESERVE = 8
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def _duration(value: Any) -> int:
    if isinstance(value, str):
        return parse_duration_ns(value)
    whole = hasattr(value, "__index__") or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise SchemaError(f'{value!r}: not a duration of a tier; write "10s", or whole nanoseconds')
    return int(value)


class _TierFields(NamedTuple):
    interval_ns: int
    retention_ns: int
    statistics: tuple[str, ...] = ()


class Tier(_TierFields):
    """One resolution: `interval_ns` a bucket, kept for `retention_ns`; both may be given as "10s", "6h".

    `statistics` names what a coarse tier keeps; empty: all that the kind has. The finest tier has no choice.
    """

    __slots__ = ()

    def __new__(cls, interval_ns: int | str, retention_ns: int | str, statistics: Iterable[str] = ()) -> Self:
        """Refuse a tier that holds less than one bucket.

        Raises: SchemaError: the interval is under 1 ms or does not divide the retention.
        """
        self = super().__new__(cls, _duration(interval_ns), _duration(retention_ns), tuple(statistics))
        if self.interval_ns < layout.MIN_INTERVAL_NS:
            mend = 'at least 1ms; a number is nanoseconds: write "10s"'
            raise SchemaError(f"tier interval {format_duration(self.interval_ns)}: {mend}")
        if self.retention_ns < self.interval_ns or self.retention_ns % self.interval_ns:
            raise SchemaError(f"tier {self}: the retention must be a whole number of intervals")
        return self

    def _replace(self, **changes: Any) -> Self:
        """Give another with these changes, checked as any."""
        return type(self)(**(self._asdict() | changes))

    @property
    def slot_count(self) -> int:
        """Count the buckets that the tier keeps."""
        return self.retention_ns // self.interval_ns

    def __str__(self) -> str:
        """Write it as "1s/10m"."""
        return f"{format_duration(self.interval_ns)}/{format_duration(self.retention_ns)}"


DEFAULT_TIERS = (Tier("1s", "10m"), Tier("10s", "6h"), Tier("5m", "7d"))


def _tiers(value: Iterable[Tier | tuple[str, str]]) -> tuple[Tier, ...]:
    if isinstance(value, Tier | str):
        raise SchemaError(f'tiers {value!s}: one tier, not a list of them; write [("1s", "10m"), ...]')
    return tuple(tier if isinstance(tier, Tier) else _tier(tier) for tier in value)


def _tier(pair: Any) -> Tier:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or not 2 <= len(pair) <= 3:
        raise SchemaError(f'tier {pair!r}: write ("10s", "6h"), the interval and the retention')
    return Tier(*pair)


class _SchemaFields(NamedTuple):
    name: str
    kind: Kind
    max_series: int
    tiers: tuple[Tier, ...]
    match: str
    sketch: bool
    peaks: bool
    sketch_layout: int
    reserve: int
    grown: int


def reserve_for(schema: _SchemaFields) -> int:
    """Give how many overflow series a schema keeps room for: few, as each has a series' full size."""
    if schema.name == SELF_SCHEMA or not isinstance(schema.max_series, int):
        return 0
    return 1 if schema.sketch else min(MAX_RESERVE, 2 + schema.max_series // 32)


class Schema(_SchemaFields):
    """How a class of series is kept.

    Attributes:
        name: of its files; lower-case letters, digits, _ and -.
        kind: counter, gauge or summary; every series of a schema has it.
        max_series: how many series it has room for; the files are that large from the start.
        tiers: finest first; each interval a multiple of the one before.
        match: a selector; a new series goes to the first schema of its kind whose selector it matches; see `choose`.
        sketch: whether summaries keep, besides count, sum, min and max, what quantiles are read from: 2.2 MB a series
            in the default tiers, 880 bytes for each bucket of the finest tier and 340 in coarser ones (664 from ten
            minutes on), each in addition to what a summary takes; then they refuse negative values.
        peaks: whether the finest tier keeps, besides the last value of each gauge, the least and the greatest of the
            bucket, which coarser tiers keep anyway: 16 bytes per series and bucket.
        sketch_layout: how sketches lie on disk; that of an older store is read and written as it is.
        reserve: how many overflow series it has room for beside those; by default 2 to 8, 1 where it has sketches.
            With 0, what overflows is counted in another schema of its kind that has some.
        grown: how many of `max_series` a store has come to have room for by itself, after runs that had too little.
    Raises: SchemaError: one of them contradicts itself or another; the message says which.
    """

    __slots__ = ()

    def __new__(
        cls,
        name: str,
        kind: Kind,
        max_series: int = 32,
        tiers: Iterable[Tier | tuple[str, str]] = DEFAULT_TIERS,
        match: str = "",
        sketch: bool = False,
        peaks: bool = False,
        sketch_layout: int = LAYOUT,
        reserve: int | None = None,
        grown: int = 0,
    ) -> Self:
        """Refuse what contradicts itself, and settle which statistics each tier keeps."""
        facts = (name, kind, max_series, _tiers(tiers), match, sketch, peaks, sketch_layout)
        self = super().__new__(cls, *facts, reserve=0, grown=grown)
        self = super(Schema, self)._replace(reserve=reserve_for(self) if reserve is None else reserve)
        where = f"schema {self.name!r}"
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise SchemaError(f"{where}: lower-case letters, digits, _ and - only, letter first, 32 at most")
        if self.kind not in KINDS:
            raise SchemaError(f"{where}: kind {self.kind!r}; choose {', '.join(KINDS)}")
        if not isinstance(self.max_series, int) or not 1 <= self.max_series <= MAX_SERIES:
            raise SchemaError(f"{where}: max_series {self.max_series!r}; from 1 to {MAX_SERIES}")
        if not isinstance(self.reserve, int) or not 0 <= self.reserve <= MAX_SERIES:
            raise SchemaError(f"{where}: reserve {self.reserve!r}; a few, such as 2, or 0")
        if self.sketch and self.kind != "summary":
            raise SchemaError(f"{where}: a {self.kind} has no sketch; only summaries do")
        if self.sketch_layout not in CELLS_OF:
            raise SchemaError(f"{where}: sketches of layout {self.sketch_layout!r}: open the store with a newer rondo")
        if self.peaks and self.kind != "gauge":
            raise SchemaError(f"{where}: a {self.kind} has no peaks of its own; only gauges do")
        if not isinstance(self.match, str):
            raise SchemaError(f"{where}: match {self.match!r}: not a selector; write a text")
        if not self.tiers:
            raise SchemaError(f"{where}: no tier; give at least one")
        return super(Schema, self)._replace(tiers=tuple(self._with_statistics(where)))

    def _replace(self, **changes: Any) -> Self:
        """Give another with these changes, checked as any."""
        return type(self)(**(self._asdict() | changes))

    def _with_statistics(self, where: str) -> Iterable[Tier]:
        if self.tiers[0].statistics:
            raise SchemaError(f"{where}: the finest tier keeps the samples themselves; name statistics on coarser ones")
        yield self.tiers[0]
        if self.tiers[0].slot_count < 2:
            raise SchemaError(f"{where}: tier {self.tiers[0]} keeps one bucket; keep at least two")
        finer, previous = coarse_statistics(self.kind, self.sketch), self.tiers[0]
        for fine, coarse in zip(self.tiers, self.tiers[1:], strict=False):
            ratio, rest = divmod(coarse.interval_ns, fine.interval_ns)
            if rest or ratio < 2:
                raise SchemaError(f"{where}: tier {coarse} does not fold from {fine}; take a multiple of its interval")
            if coarse.slot_count < 2:
                raise SchemaError(f"{where}: tier {coarse} keeps one bucket; keep at least two")
            if fine.slot_count < 2 * ratio:
                raise SchemaError(f"{where}: tier {fine} must keep at least two buckets of {coarse}; keep it longer")
            if coarse.retention_ns < fine.retention_ns:
                raise SchemaError(f"{where}: tier {coarse} forgets before the finer {fine}; keep it longer")
            if fine is not self.tiers[0] and fine.retention_ns < previous.retention_ns + coarse.interval_ns:
                raise SchemaError(
                    f"{where}: tier {fine} must outlast {previous} by a bucket of {coarse}; keep it longer"
                )
            previous = fine
            finer = check_statistics(self.kind, coarse.statistics or finer, finer, self.sketch)
            yield coarse._replace(statistics=finer)

    @property
    def n_columns(self) -> int:
        """Count the columns of its rows: one for each series that it has room for, overflow series among them."""
        return self.max_series + self.reserve

    def ratio(self, tier: int) -> int:
        """Count the buckets of tier `tier - 1` in one bucket of tier `tier`."""
        return self.tiers[tier].interval_ns // self.tiers[tier - 1].interval_ns

    def cells(self, tier: int) -> tuple[str, ...]:
        """Name the cells of one row of the tier, in file order."""
        return self.tiers[tier].statistics if tier else fine_cells(self.kind, self.sketch, self.peaks)

    def slab_spec(self, tier: int) -> layout.SlabSpec:
        """Lay out the tier's slab, byte by byte."""
        return _slab_spec(self, tier)

    def slab_name(self, tier: int) -> str:
        """Name the tier's file in the store's directory."""
        return f"{self.name}.{tier}.slab"

    def size_bytes(self) -> int:
        """Give the exact size of the schema's slabs on disk."""
        return sum(self.slab_spec(tier).file_bytes for tier in range(len(self.tiers)))

    def to_dict(self) -> dict[str, Any]:
        """Describe it in plain values, as the store's metadata keeps it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "max_series": self.n_columns,
            "match": self.match,
            "tiers": [[tier.interval_ns, tier.retention_ns, list(tier.statistics)] for tier in self.tiers],
            "sketch": self.sketch_layout if self.sketch else 0,
            **({"peaks": 1} if self.peaks else {}),
            "reserve": self.reserve,
            "grown": self.grown,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schema:
        """Read what `to_dict` wrote.

        Raises: SchemaError: a key is missing or a value is of another type.
        """
        try:
            tiers = tuple(Tier(int(i), int(r), tuple(s)) for i, r, s in plain["tiers"])
            kept = int(plain.get("sketch", 0))
            reserve, grown = int(plain.get("reserve", 0)), int(plain.get("grown", 0))  # none in stores of before
            n_series = int(plain["max_series"]) - reserve
            facts = plain["name"], plain["kind"], n_series, tiers, plain["match"], bool(kept), bool(plain.get("peaks"))
            return cls(*facts, sketch_layout=kept or LAYOUT, reserve=reserve, grown=grown)
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaError(f"schema description: {error}") from None


@lru_cache(64)  # an opening asks for each some ten times
def _slab_spec(schema: Schema, tier: int) -> layout.SlabSpec:
    kept = schema.tiers[tier]
    buckets_per_row = kept.interval_ns // schema.tiers[0].interval_ns
    return layout.slab_spec(
        kind=schema.kind,
        tier=tier,
        interval_ns=kept.interval_ns,
        slot_count=kept.slot_count,
        max_series=schema.n_columns,
        cells=tuple(
            (cell, cell_format(cell, buckets_per_row, kept.interval_ns, schema.sketch_layout))
            for cell in schema.cells(tier)
        ),
    )


# Room for a small web application, in at most 24 MiB. What overflows of the last is counted without a sketch.
DEFAULT_SCHEMAS = (
    Schema("counters", "counter", 100),
    Schema("gauges", "gauge", 20),
    Schema("peaks", "gauge", 4, peaks=True),
    Schema("summaries", "summary", 20),
    Schema("quantiles", "summary", 2, sketch=True, reserve=0),
)
SELF_MATCH = f'{{__name__=~"{SELF_PREFIX}.*"}}'
SELF_SCHEMAS = (
    Schema(
        SELF_SCHEMA, "counter", OWN_SERIES + SERIES_OF_AN_EXPORTER, (Tier("1s", "10m"), Tier("5m", "1d")), SELF_MATCH
    ),
)


def check_schemas(schemas: Iterable[Schema]) -> tuple[Schema, ...]:
    """Put rondo's own schema in front of the user's, unless it is among them, and refuse names that come twice.

    Raises: SchemaError: two schemas share a name, or one has the name of rondo's own and another purpose.
    """
    given = (schemas,) if isinstance(schemas, Schema | str) or not isinstance(schemas, Iterable) else tuple(schemas)
    for schema in given:
        if not isinstance(schema, Schema):
            raise SchemaError(f"schemas: {schema!r} is no Schema; give a list of them, such as read_schemas(FILE) does")
    own = tuple(schema for schema in given if schema.name == SELF_SCHEMA)
    for schema in own:
        if schema.kind != "counter" or schema.match != SELF_MATCH:
            raise SchemaError(
                f"schema {SELF_SCHEMA!r}: the name is taken by rondo's own counters;"
                f" choose another, or match {SELF_MATCH}"
            )
    whole = (*(own or SELF_SCHEMAS), *(schema for schema in given if schema.name != SELF_SCHEMA))
    names = [schema.name for schema in whole]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"schema {name!r}: the name is taken; choose another")
    return whole


class SchemaLookup(Protocol):
    """A look-up of the schema that takes a series; None: none does."""

    def __call__(self, series: Series, wants: str = "") -> Schema | None:
        """Give it; `wants`: see `choose`."""


def schema_lookup(schemas: Iterable[Schema]) -> SchemaLookup:
    """Make the look-up of the first schema of a series' kind whose selector it matches; see `choose`.

    Raises: SelectorError: a schema's selector does not parse.
    """
    by_kind: dict[Kind, list[tuple[Schema, Selector]]] = {kind: [] for kind in KINDS}
    for schema in schemas:
        by_kind[schema.kind].append((schema, parse_selector(schema.match)))

    def schema_for(series: Series, wants: str = "") -> Schema | None:
        return choose([schema for schema, each in by_kind[series.kind] if each.matches(series)], wants)

    return schema_for


def choose(fitting: Sequence[Schema], wants: str) -> Schema | None:
    """Choose the schema of a series among those that match it, in their order; None: there is none.

    Args: `wants`: "sketch" or "peaks": the first that has it, or else the first. Without, the first that keeps no more
        than others or has a selector of its own by which it was meant, or else the first.
    """
    first = fitting[0] if fitting else None
    if len(fitting) < 2:
        return first
    if wants:
        return next((schema for schema in fitting if getattr(schema, wants)), first)
    return next((schema for schema in fitting if schema.match or not extra_of(schema)), first)


def extra_of(schema: Schema) -> str:
    """Name what the schema keeps of each series that another of its kind does not; empty where it is nothing."""
    return next((each for each in ("sketch", "peaks") if getattr(schema, each)), "")


def room_taken(schema: Schema, n_series: int, of_metrics: int, of_all: int) -> int:
    """Give how much of a schema's room for `max_series` is taken: by its series, and by what its reserve does not hold.

    Args: `n_series`: without overflow series; `of_metrics`, `of_all`: overflow series of one metric, and of all; of the
        reserve the last place is kept for the latter.
    """
    if not schema.reserve:
        return n_series + of_metrics + of_all
    return n_series + max(0, of_metrics - (schema.reserve - 1)) + max(0, of_all - 1)


def given_schema_lookup(schemas: Sequence[Schema]) -> SchemaLookup:
    """Make the look-up for series that are not of rondo's own: its schema takes one where no other does."""
    given = schema_lookup(schema for schema in schemas if schema.name != SELF_SCHEMA)
    whole = schema_lookup(schemas)

    def schema_for(series: Series, wants: str = "") -> Schema | None:
        return given(series, wants) or whole(series, wants)

    return schema_for


def with_room(schemas: Iterable[Schema], exporters: int) -> tuple[Schema, ...]:
    """Make room in rondo's own schema for what so many exporters are counted by; it has room for one already."""
    more = SERIES_OF_AN_EXPORTER * max(0, exporters - 1)
    return tuple(
        schema._replace(max_series=schema.max_series + more) if schema.name == SELF_SCHEMA else schema
        for schema in check_schemas(schemas)
    )


def exporters_of(max_series: int) -> int:
    """Give how many exporters rondo's own schema has room for, with so many series; one has it before all else."""
    return max(1, (max_series - OWN_SERIES) // SERIES_OF_AN_EXPORTER)


def difference(asked: Sequence[Schema], on_disk: Sequence[Schema]) -> str:
    """Say in words how the schemas asked for differ from those on disk; empty where they do not.

    Rondo's own is as it is on disk, where whoever asks does not name it.
    """
    want = {schema.name: schema for schema in asked}
    have = {schema.name: schema for schema in on_disk if schema.name in want or schema.name != SELF_SCHEMA}
    for name in [*want, *have]:
        if name not in have:
            return f"schema {name} is not on disk"
        if name not in want:
            return f"schema {name} is on disk only"
        for fact in Schema._fields:
            new, old = getattr(want[name], fact), getattr(have[name], fact)
            if new != old and fact not in {"sketch_layout", "reserve", "grown"}:  # as on disk, until a migration
                what, *words = _told_apart(new, old) if fact == "tiers" else (fact, repr(new), repr(old))
                return f"schema {name}: {what} {words[0]} asked for, {words[1]} on disk"
    return ""


def _told_apart(asked: Sequence[Tier], on_disk: Sequence[Tier]) -> tuple[str, str, str]:
    """Name what differs of two schemas' tiers, and both sides of it, which never read alike."""
    if [str(tier) for tier in asked] != [str(tier) for tier in on_disk]:
        return "tiers", " ".join(map(str, asked)), " ".join(map(str, on_disk))
    at, new, old = next((at, *pair) for at, pair in enumerate(zip(asked, on_disk, strict=True)) if pair[0] != pair[1])
    if new.statistics != old.statistics:
        return f"tier {at} ({new}): statistics", ", ".join(new.statistics), ", ".join(old.statistics)
    sides = [f"{tier.interval_ns} ns kept for {tier.retention_ns} ns" for tier in (new, old)]
    return f"tier {at}:", sides[0], sides[1]
