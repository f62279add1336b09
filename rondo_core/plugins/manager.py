"""List, load, enable, bind and isolate plugins; the only user of pluggy's manager.

A plugin that raises is reported once per kind of failure, counted, and stops neither recording nor the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from rondo_core import hookspecs
from rondo_core.errors import (
    HookError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    RondoError,
    UsageError,
    one_line,
)
from rondo_core.plugins import entrypoints

if TYPE_CHECKING:
    from rondo_core.model.consolidator import Consolidator, Consolidators
    from rondo_core.plugins.options import Option

RECORDERS = "rondo.recorders"
CONSOLIDATORS = "rondo.consolidators"
EXPORTERS = "rondo.exporters"
GROUPS = (RECORDERS, CONSOLIDATORS, EXPORTERS)


class Plugins:
    """The plugins of one owner (a store, a monitor, a command)."""

    def __init__(
        self,
        *specs: Any,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> None:
        """Know rondo's own hooks and those of the modules given, and each plugin's own table of `config`.

        Args: `where`: what errors call a plugin's table; by default the plugin's name.
        """
        self._config, self._where = config or {}, where or {}
        self._manager = pluggy.PluginManager("rondo")
        for spec in (hookspecs, *specs):
            self._manager.add_hookspecs(spec)
        self._found: dict[str, dict[str, str]] = {}
        self._reported: set[tuple[str, str]] = set()
        self.failures: dict[str, int] = {}

    # -- finding and loading

    def know(self, group: str, found: dict[str, str]) -> None:
        """Take the entry points of a group from who has looked for them."""
        self._found[group] = found

    def load(self, group: str, names: Iterable[str] | None = None) -> list[str]:
        """Load the plugins of a group, all or those named, each guarded; give the names of those that loaded.

        Raises: PluginNotFoundError: one that was named is not installed; PluginLoadError: one that was named
        does not load. Where none was named, a plugin that does not load is reported and left out.
        """
        if group not in self._found:
            self._found[group] = entrypoints.find(group)
        found = self._found[group]
        wanted = list(found) if names is None else list(names)
        loaded = []
        for name in wanted:
            if name not in found:
                have = ", ".join(sorted(found)) or "none"
                raise PluginNotFoundError(
                    name,
                    f"no such plugin in {group}; installed: {have}; choose one, or install the package that has it",
                )
            try:
                self.load_one(group, name, found[name])
                loaded.append(name)
            except PluginLoadError as error:
                if names is not None:
                    raise
                self.report(name, error)
        return loaded

    def load_one(self, group: str, name: str, value: str) -> None:
        """Load the plugin that an entry point names. Raises: PluginLoadError: it does not load."""
        if self._manager.has_plugin(name):
            return
        try:
            module = entrypoints.load(value)
        except Exception as error:
            raise PluginLoadError(name, f"does not import: {one_line(error)}") from error
        self.register(module, name, group)

    def register(self, plugin: object, name: str, group: str = "") -> None:
        """Add a plugin: a module or an object with hook implementations.

        Raises: PluginLoadError: it has none, or one that no hook specification knows.
        """
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except Exception as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise PluginLoadError(name, one_line(error)) from error
        if not self._manager.get_hookcallers(plugin):
            self._manager.unregister(plugin)
            raise PluginLoadError(name, f"implements no hook of {group or 'rondo'}")

    # -- calling

    def bind(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a hook of every plugin once, each guarded.

        Returns: (plugin name, what it gave back) of those that gave something back.
        """
        results = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                result = self._call(implementation, arguments)
            except Exception as error:  # noqa: BLE001 - isolation is this module's job
                self.report(name, HookError(name, f"{hook}: {one_line(error)}"))
                continue
            if result is not None:
                results.append((name, result))
        return results

    def bind_guarded(self, hook: str, *, once: bool = False, **arguments: Any) -> list[Callable[..., None]]:
        """Give the callables that plugins hand back, each guarded; `once`: see `guard`."""
        return [self.guard(name, call, hook, once=once) for name, call in self.bind(hook, **arguments)]

    def open(self, hook: str, plugin: str, **arguments: Any) -> Any:
        """Call a hook of one plugin, which was asked for by name.

        Raises: PluginError: it does not implement the hook, or raised; RondoError of its own passes as it is.
        """
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == plugin:
                try:
                    return self._call(implementation, arguments)
                except RondoError:
                    raise
                except Exception as error:
                    raise HookError(plugin, f"{hook}: {one_line(error)}") from error
        raise PluginError(plugin, f"does not implement {hook}; it cannot be used here")

    def implements(self, hook: str, plugin: str) -> bool:
        """Say whether a loaded plugin implements a hook."""
        return any(each.plugin_name == plugin for each in getattr(self._manager.hook, hook).get_hookimpls())

    def _call(self, implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
        known = dict(arguments)
        if "config" in implementation.argnames:
            known["config"] = self.checked(implementation.plugin_name)
        return implementation.function(*(known[each] for each in implementation.argnames))

    def options(self, plugin: str) -> list[Option] | None:
        """Give the options that a loaded plugin declares; None where it declares none.

        Raises: HookError: its hook gave back something else.
        """
        for implementation in self._manager.hook.rondo_options_define.get_hookimpls():
            if implementation.plugin_name == plugin:
                from rondo_core.plugins.options import Option

                defined: list[Option] = list(implementation.function() or ())  # type: ignore[call-overload]
                if not all(isinstance(each, Option) for each in defined):
                    raise HookError(plugin, "rondo_options_define: gives back something that is no Option")
                return defined
        return None

    def checked(self, plugin: str) -> Mapping[str, Any]:
        """Give a loaded plugin's own table, checked against the options that it declares.

        Raises: UsageError: names the key, what is wrong and what is allowed.
        """
        config, options = self._config.get(plugin, {}), self.options(plugin)
        if options is None:
            return config
        from rondo_core.plugins.options import read_options

        return read_options(self._where.get(plugin, plugin), options, config)

    def check(self, plugin: str) -> None:
        """Check a loaded plugin's own table: against the options that it declares, and by its own check.

        Raises: RondoError: what is wrong; HookError: the check itself failed.
        """
        hook = "rondo_options_define"
        try:
            self.checked(plugin)
            hook = "rondo_options_check"
            for implementation in self._manager.hook.rondo_options_check.get_hookimpls():
                if implementation.plugin_name == plugin:
                    self._call(implementation, {})
        except RondoError:
            raise
        except Exception as error:
            raise HookError(plugin, f"{hook}: {one_line(error)}") from error

    def guard(
        self, plugin: str, call: Callable[..., None], what: str = "tick", *, once: bool = False
    ) -> Callable[..., None]:
        """Wrap what a plugin handed over, so that what it raises is reported and counted, and goes no further.

        Args: `what`: what errors call it; `once`: after one raise it is left alone, as it may be called a million times
            a second.
        """
        broken = False

        def guarded(*facts: Any) -> None:
            nonlocal broken
            if broken:
                return
            try:
                call(*facts)
            except Exception as error:  # noqa: BLE001 - isolation is this module's job
                broken = once
                self.report(plugin, HookError(plugin, f"{what}: {one_line(error)}"))

        return guarded

    def report(self, plugin: str, error: BaseException) -> None:
        """Count a failure, and log it if it is the first of its kind."""
        self.failures[plugin] = self.failures.get(plugin, 0) + 1
        kind = (plugin, f"{type(error.__cause__ or error).__name__}: {error}"[:80])
        if kind not in self._reported:
            self._reported.add(kind)
            import logging

            logging.getLogger("rondo.plugins").warning("%s", one_line(error))

    def consolidators(self) -> Consolidators:
        """Ask every loaded plugin for its consolidators; the first of a name and kind stands."""
        from rondo_core.model.consolidator import Consolidator

        known: dict[tuple[str, Any], Consolidator] = {}
        for name, defined in self.bind("rondo_consolidator_define"):
            for each in defined:
                if not isinstance(each, Consolidator):
                    self.report(name, HookError(name, f"rondo_consolidator_define: {each!r} is no Consolidator"))
                    continue
                for kind in each.kinds:
                    known.setdefault((each.name, kind), each)
        return known


def open_recorders(
    tables: Mapping[str, Mapping[str, Any]],
    *specs: Any,
    defaults: Iterable[str] = (),
    installed: dict[str, str] | None = None,
) -> Plugins:
    """Load the recorders of a config, and those that are on by default unless it says otherwise.

    One that is broken is reported and left out.
    Args: `specs`: further modules of hook specifications; `installed`: the recorders' entry points, of who has looked.
    Raises: UsageError: a table is wrong; PluginNotFoundError: one is not installed.
    """
    asked: dict[str, dict[str, Any]] = {name: {} for name in defaults}
    if tables:
        from rondo_core.plugins.options import recorders_asked

        asked = recorders_asked(tables, defaults)
    plugins = Plugins(*specs, config=asked, where={name: f"recorders.{name}" for name in asked})
    if installed is not None:
        plugins.know(RECORDERS, installed)
    for name in asked:
        try:
            plugins.load(RECORDERS, [name])
            plugins.checked(name)
        except (UsageError, PluginNotFoundError):
            raise
        except Exception as error:  # noqa: BLE001 - a broken recorder is not the others' fault
            plugins.report(name, error)
    return plugins


def load_consolidators() -> Consolidators:
    """Give the consolidators of every installed plugin."""
    plugins = Plugins()
    plugins.load(CONSOLIDATORS)
    return plugins.consolidators()
