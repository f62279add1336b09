"""The plug: what is installed, loaded, configured and bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core.lazy import names_of

if TYPE_CHECKING:
    from rondo_core.plugins import entrypoints as entrypoints
    from rondo_core.plugins.config_file import FILE_NAME as FILE_NAME
    from rondo_core.plugins.config_file import Config as Config
    from rondo_core.plugins.config_file import read_config as read_config
    from rondo_core.plugins.inventory import PluginInfo as PluginInfo
    from rondo_core.plugins.inventory import declared_options as declared_options
    from rondo_core.plugins.inventory import list_plugins as list_plugins
    from rondo_core.plugins.manager import EXPORTERS as EXPORTERS
    from rondo_core.plugins.manager import RECORDERS as RECORDERS
    from rondo_core.plugins.manager import open_recorders as open_recorders
    from rondo_core.plugins.options import RUNNER_OPTIONS as RUNNER_OPTIONS
    from rondo_core.plugins.options import divided as divided
    from rondo_core.plugins.options import read_options as read_options
    from rondo_core.plugins.options import recorders_asked as recorders_asked

_HOME = {
    "Config": "config_file",
    "EXPORTERS": "manager",
    "FILE_NAME": "config_file",
    "PluginInfo": "inventory",
    "RECORDERS": "manager",
    "RUNNER_OPTIONS": "options",
    "declared_options": "inventory",
    "divided": "options",
    "entrypoints": "",
    "list_plugins": "inventory",
    "open_recorders": "manager",
    "read_config": "config_file",
    "read_options": "options",
    "recorders_asked": "options",
}
__all__ = [*_HOME]  # noqa: PLE0604 - names, all of them
__getattr__, __dir__ = names_of(__name__, _HOME)
