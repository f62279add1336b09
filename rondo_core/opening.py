"""A program's store in one call: by a name or as a rondo.toml says, its recorders bound, its exporters beside it."""

from __future__ import annotations

import os
import re
import sys
import threading
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import StoreError, StoreLockedError, UsageError, one_line
from rondo_core.forking import at_fork
from rondo_core.model import layout
from rondo_core.model.labels import Kind, Series
from rondo_core.model.paths import is_there, state_directory
from rondo_core.model.schema import SELF_SCHEMA, Schema, schema_lookup, with_room
from rondo_core.plugins import entrypoints
from rondo_core.plugins.config_file import Config, read_config
from rondo_core.plugins.manager import RECORDERS, Plugins, open_recorders
from rondo_core.record.after_fork import IfLocked
from rondo_core.record.growing import default_schemas, read_bound
from rondo_core.retention.bound import Bound
from rondo_core.storage.own import own_paths, sibling_paths
from rondo_core.store import Store
from rondo_core.units import Duration

DEFAULT_RECORDERS = ("process", "python")  # of those that are installed
_ROOM: dict[Kind, int] = {"counter": 32, "gauge": 16}  # series that a schema must have for them, and for others
LIFE_VARIABLE, LIFE_LABEL = "RONDO_LIFE", "rondo_life"  # set by `rondo run`; a label
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_open: weakref.WeakValueDictionary[Path, Store] = weakref.WeakValueDictionary()
_opening = threading.RLock()


def open_store(
    name: str | Path | Config | None = None,
    *,
    schemas: Iterable[Schema] | None = None,
    writer: str = "",
    clock: Clock = wall_ns,
    tick_interval: Duration | None = None,
    sync_interval: Duration | None = None,
    if_locked: IfLocked | None = None,
    strict: bool | None = None,
    max_bytes: int | str | None = None,
    keep_last: int | None = None,
    keep_for: Duration | None = None,
    keep_bytes: int | str | None = None,
    faulthandler: bool = False,
) -> Store:
    """Open the program's store for writing, tick it each second, its recorders bound and its exporters at work.

    Use it in a `with`, or as a value, which is closed at the latest when the program ends; then each exporter sends
    what is left, within its deadline. Asked for again while it is open, the same store is given, and the last `with`
    that ends closes it. A process that is forked records into a store of its own from its first record on, with
    exporters of its own. What keeps the program
    from having a store (no permission, a full disk, a damaged store) is logged, and the store keeps nothing. With
    keep_last, keep_for or keep_bytes, the directory that the store lies in is kept within that bound.

    Args: `name`: the program's: the store is this process's own, below NAME in the directory that RONDO_DIR names, or
        in rondo's own of the user's state (XDG_STATE_HOME, or ~/.local/state); default: the name of the script. A
        rondo.toml in the working directory is followed. In a program of `rondo run` it lies beside the store of that
        life, within the bound of that directory. Or a path to such a file (what has a slash, ends in .toml or
        is a file), or what was read of it.
        `schemas`, `tick_interval` (1s), `sync_interval`, `if_locked`, `strict`, `max_bytes`, `writer`, `clock`,
        `faulthandler`: as for `Store`; `keep_last`, `keep_for`, `keep_bytes`: as for `Store.for_process`, once the
        exporters have sent; what the file's [store] says goes before them. `strict`: raise, also where there can be no
        store.
    Raises: UsageError: a name, a table or a schema is wrong; PluginNotFoundError: a plugin is not installed;
        StoreLockedError: another process writes the store at the file's path; StoreError: there is no such file.
    """
    config, named = _read(name)
    given = {"tick_interval": tick_interval, "sync_interval": sync_interval, "if_locked": if_locked, "strict": strict}
    given |= {"max_bytes": max_bytes, "keep_last": keep_last, "keep_for": keep_for, "keep_bytes": keep_bytes}
    said: dict[str, Any] = {key: value for key, value in given.items() if value is not None} | dict(config.store)
    fixed, bound = said.get("path"), Bound.read(said, tuple(config.exporters))
    with _opening:
        life = None if fixed else _life()
        place = Path(fixed or (life.parent if life else state_directory()) / named).absolute()
        known = _open.get(place)
        if known is not None and not known.closed:
            return known
        if config.exporters:
            from rondo_core.export.options import check_exporters

            check_exporters(config.exporters)
        kept = config.schemas() or (None if schemas is None else tuple(schemas))
        made = _made(kept, read_bound(said.get("max_bytes")), len(config.exporters))
        installed = entrypoints.find(RECORDERS)
        defaults = [name for name in _default_recorders(made) if name in installed]
        plugins = open_recorders(config.recorders, defaults=defaults, installed=installed)
        options: dict[str, Any] = {
            "clock": clock,
            "writer": writer or ("" if fixed else named),
            "tick_interval_s": said.get("tick_interval", 1.0),
            "sync_interval_s": said.get("sync_interval"),
            "if_locked": said.get("if_locked", "raise"),
            "strict": said.get("strict", False),
            "max_bytes": said.get("max_bytes"),
            "faulthandler": faulthandler,
        }
        asked = kept if fixed and is_there(place) else made
        try:
            if life is not None:
                name = re.sub(r"[^A-Za-z0-9-]+", "-", named)[:60].strip("-") or "python"
                options["labels"] = {LIFE_LABEL: layout.store_name(life)}
                store = Store.for_process(place.parent, asked, name=name, **options)
            else:
                store = Store(fixed, asked, **options) if fixed else Store.for_process(place, asked, **options)
        except StoreLockedError:
            raise
        except (StoreError, OSError) as error:
            if options["strict"]:
                raise
            mend = "" if fixed or life else "; RONDO_DIR names another place"
            store = Store.nowhere(place, made, clock=clock, why=one_line(error) + mend)
        if life is None:
            store.set_child_paths(partial(sibling_paths if fixed else own_paths, place))
        if not store.unkept:
            _begin(store, plugins, config, own=not fixed)
            if life is None:  # its directory has a bound of its own
                store.keep_within(bound)
        _open[place] = store
        return store


def _read(name: str | Path | Config | None) -> tuple[Config, str]:
    """Give the config, and the program's name. Raises: UsageError: it is none; as `read_config`."""
    if isinstance(name, Config):
        return name, _program()
    if name is None:
        return read_config(), _program()
    text = str(name)
    if isinstance(name, Path) or "/" in text or text.endswith(".toml") or os.path.isfile(text):  # noqa: PTH113 - raises nothing
        return read_config(text), _program()
    if not _NAME.fullmatch(text):
        what = "not a name of a store: letters, digits, _, . and -, 100 at most; a path has a slash or ends in .toml"
        raise UsageError(f"{text!r}: {what}")
    return read_config(), text


def _program() -> str:
    """Name the program by its script."""
    script = Path(sys.argv[0] if sys.argv else "")
    name = script.parent.name if script.stem == "__main__" else script.stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:100] or "python"


def _life() -> Path | None:
    """Give the store of the life that this process is part of, where `rondo run` records it."""
    given = os.environ.get(LIFE_VARIABLE)
    return Path(given) if given and is_there(Path(given) / layout.META_FILE) else None


def _made(kept: tuple[Schema, ...] | None, max_bytes: int | None, n_exporters: int) -> tuple[Schema, ...]:
    """Give the schemas of a new store, with room for what its exporters are counted by."""
    if kept is None:
        return default_schemas(max_bytes, n_exporters)
    return kept if any(schema.name == SELF_SCHEMA for schema in kept) else with_room(kept, n_exporters)


def _default_recorders(made: Sequence[Schema]) -> Sequence[str]:
    """Name the recorders that are on unless a table says otherwise: none where the schemas have no room for them."""
    schema_for = schema_lookup(made)
    found = [(schema_for(Series("process_", (), kind, "", 0)), room) for kind, room in _ROOM.items()]
    if not all(schema is not None and schema.max_series >= room for schema, room in found):
        return ()
    return DEFAULT_RECORDERS


def _begin(store: Store, plugins: Plugins, config: Config, *, own: bool) -> None:
    """Let a store that was just opened be recorded into and exported; it is closed where that is a mistake."""
    try:
        store.bind_recorders(plugins)
        if config.exporters:
            opened_in = 0 if own else os.getpid()
            store.attach(partial(_exporters, config, opened_in))
        store.tick()
    except BaseException:
        store.close()
        raise


def _exporters(config: Config, unlabelled_in: int, store: Store) -> Any:
    """Open the exporters of a store; where one of many goes through them, the label `instance` says which."""
    from rondo_core.export.exporters import Exporters

    labels = {} if unlabelled_in == os.getpid() else {"instance": layout.store_name(store.path)}
    return Exporters(store, config.exporters, labels)


def _in_child() -> None:
    global _opening  # noqa: PLW0603 - the parent's may be held by a thread that the child has not
    _opening = threading.RLock()


at_fork(after_in_child=_in_child)
