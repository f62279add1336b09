"""A store as a rondo.toml says: where and how it is kept, its recorders bound, its exporters sending beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import UsageError
from rondo_core.model.paths import is_there
from rondo_core.model.schema import DEFAULT_SCHEMAS, SELF_SCHEMA, Schema, with_room
from rondo_core.plugins.config_file import Config, read_config
from rondo_core.plugins.manager import open_recorders
from rondo_core.retention.bound import Bound
from rondo_core.retention.keeper import Keeper
from rondo_core.store import Store


@contextlib.contextmanager
def open_store(
    config: Config | str | Path | None = None,
    *,
    schemas: Iterable[Schema] | None = None,
    writer: str = "",
    clock: Clock = wall_ns,
) -> Iterator[Store]:
    """Open the store of a config for writing and tick it, its recorders bound and all of its exporters at work.

    At the end of the block the store is closed first, and then each exporter sends what is left, within its deadline. A
    recorder or an exporter that is broken is logged and counted, and stops neither recording nor the others. With
    keep_last, keep_for or keep_bytes, the directory that the store lies in is kept within that bound.

    Args: `config`: a file's path, or what was read of it; None: rondo.toml in the working directory; `schemas`: what to
        keep where the config has no `schemas`; `writer`, `clock`: as for `Store`.
    Raises: UsageError: a table is wrong, or store.path is missing; PluginNotFoundError: a plugin is not installed;
        StoreError and those below it: as `Store`.
    """
    known = config if isinstance(config, Config) else read_config(config)
    store_path = known.store.get("path")
    if store_path is None:
        raise UsageError(f"{known.path or 'rondo.toml'}: store.path: missing; say where to record")
    plugins = open_recorders(known.recorders)
    from rondo_core.export.beside import Exporters
    from rondo_core.export.options import check_exporters

    check_exporters(known.exporters)

    bound = Bound.read(known.store, tuple(known.exporters))
    kept = known.schemas() or schemas
    if not is_there(store_path):
        kept = tuple(DEFAULT_SCHEMAS if kept is None else kept)
        if all(schema.name != SELF_SCHEMA for schema in kept):
            kept = with_room(kept, len(known.exporters))
    store = Store(
        store_path,
        kept,
        clock=clock,
        writer=writer,
        tick_interval_s=known.store.get("tick_interval", 1.0),
        sync_interval_s=known.store.get("sync_interval"),
    )
    exporters: Exporters | None = None
    try:
        with store:
            if bound:
                store.keeper = Keeper(store.path.parent, bound, clock)
            store.bind_recorders(plugins)
            exporters = Exporters(store, known.exporters)
            store.tick()
            yield store
    finally:
        if exporters is not None:
            exporters.close(store.run.number)
