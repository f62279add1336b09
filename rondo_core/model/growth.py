"""How much room a store is to have: made within a bound, or at its next opening by what the last runs lacked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from rondo_core.errors import SchemaError
from rondo_core.model.schema import MAX_SERIES, SELF_SCHEMA, Schema, difference, extra_of, reserve_for
from rondo_core.units import format_size

MAX_BYTES = 64 << 20  # up to which a store grows where nothing else was said
FEWEST = 3  # series of a kind that even the smallest store of the default schemas has room for
_MEND = "rondo migrate changes a store; or open it without schemas, or choose another path"

SizeOf = Callable[[Sequence[Schema]], int]


def shared_out(schemas: Sequence[Schema], max_bytes: int, size_of: SizeOf) -> tuple[Schema, ...]:
    """Give schemas with the largest share of their room, the same percentage of each, that `max_bytes` holds.

    Each plain one keeps room for at least three series, also where that is too much; what keeps sketches or peaks is
    left out where its share is less than one, and rondo's own is as it was. Args: `size_of`: gives a store's size.
    """

    def share(percent: int) -> tuple[Schema, ...]:
        room = {each.name: each.max_series * percent // 100 for each in schemas}
        for each in schemas:
            fewest = each.max_series if each.name == SELF_SCHEMA else 0 if extra_of(each) else FEWEST
            room[each.name] = max(room[each.name], min(fewest, each.max_series))
        return tuple(_of_room(each, room[each.name]) for each in schemas if room[each.name])

    if size_of(schemas) <= max_bytes:
        return tuple(schemas)
    return share(max(1, bisect_right(range(1, 100), max_bytes, key=lambda percent: size_of(share(percent)))))


def _of_room(schema: Schema, n_series: int) -> Schema:
    """Give a schema with room for as many series, and no more of a reserve than that asks for."""
    smaller = schema._replace(max_series=n_series)
    return smaller._replace(reserve=min(schema.reserve, reserve_for(smaller)))


def wanted(
    asked: Sequence[Schema] | None,
    on_disk: Sequence[Schema],
    overflowed: Mapping[str, int],
    max_bytes: int,
    size_of: SizeOf,
) -> tuple[Schema, ...]:
    """Give the schemas that a store is to have: those on disk, larger where more was asked for or has overflowed.

    Args: `overflowed`: by schema, how many label sets had no room; `size_of`: gives a store's size, in bytes.
    Raises: SchemaError: what was asked for is less, or differs otherwise; or it takes more than `max_bytes`.
    """
    schemas = tuple(on_disk) if asked is None else _as_asked(asked, on_disk)
    if asked is not None and schemas != tuple(on_disk) and size_of(schemas) > max_bytes:
        size, bound = format_size(size_of(schemas)), format_size(max_bytes)
        what = difference(asked, on_disk)
        raise SchemaError(f"{what}: {size}, more than max_bytes, {bound}; give a larger one, or use rondo migrate")
    needs = {each.name: each.max_series + overflowed[each.name] for each in on_disk if overflowed.get(each.name)}
    # What takes least comes first, and all have what they lacked before any has more than that.
    for name in sorted(needs, key=lambda name: _bytes_of(needs[name], _named(name, schemas))):
        schemas = _with_room_for(name, needs[name], schemas, max_bytes, size_of)
    for schema in on_disk:
        if needs.get(schema.name, 0) == _named(schema.name, schemas).max_series:
            doubled = _doubled(schema.max_series, needs[schema.name])
            schemas = _with_room_for(schema.name, doubled, schemas, max_bytes, size_of)
    return schemas


def _named(name: str, schemas: Sequence[Schema]) -> Schema:
    return next(schema for schema in schemas if schema.name == name)


def _bytes_of(n_series: int, schema: Schema) -> int:
    return (n_series - schema.max_series) * schema.size_bytes() // schema.n_columns


def _doubled(n_series: int, need: int) -> int:
    while n_series < need:
        n_series *= 2
    return n_series


def _as_asked(asked: Sequence[Schema], on_disk: Sequence[Schema]) -> tuple[Schema, ...]:
    """Give the schemas asked for with the room that they have on disk, if that is more because they have grown."""
    have = {schema.name: schema for schema in on_disk}
    names = {schema.name for schema in asked}
    whole = (*(schema for schema in on_disk if schema.name == SELF_SCHEMA and schema.name not in names), *asked)
    known = [schema for schema in whole if schema.name in have]
    # A program that asks for what it has always asked for knows nothing of what the store has come to have by itself.
    given = [
        schema._replace(max_series=max(schema.max_series, have[schema.name].max_series))
        if schema.max_series >= have[schema.name].max_series - have[schema.name].grown
        else schema
        for schema in known
    ]
    larger = [
        schema._replace(max_series=have[schema.name].max_series)
        if schema.max_series > have[schema.name].max_series
        else schema
        for schema in given
    ]
    if what := difference(larger, on_disk):
        raise SchemaError(f"{what}; {_MEND}")
    if len(known) == len(whole) and all(each.max_series == have[each.name].max_series for each in given):
        return tuple(on_disk)
    grown = {
        each.name: each._replace(reserve=max(each.reserve, have[each.name].reserve))
        for each in given
        if each.max_series > have[each.name].max_series
    }
    return tuple(grown.get(each.name, have.get(each.name, each)) for each in whole)


def _with_room_for(
    name: str, need: int, schemas: tuple[Schema, ...], max_bytes: int, size_of: SizeOf
) -> tuple[Schema, ...]:
    """Let a schema have room for so many series, or for as many as there are bytes."""
    schema = _named(name, schemas)
    if need <= schema.max_series:
        return schemas
    reserve = schema.reserve
    if not any(each.reserve for each in schemas if each.kind == schema.kind):  # made before there was such
        reserve = reserve_for(schema)

    def with_room(n_series: int) -> tuple[Schema, ...]:
        more = n_series - schema.max_series
        larger = schema._replace(max_series=n_series, grown=schema.grown + more, reserve=reserve)
        return tuple(larger if each is schema else each for each in schemas)

    few, many = schema.max_series, min(need, MAX_SERIES)
    while few < many:
        middle = (few + many + 1) // 2
        if size_of(with_room(middle)) <= max_bytes:
            few = middle
        else:
            many = middle - 1
    return with_room(few) if few > schema.max_series else schemas
