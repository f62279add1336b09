"""Modules of JavaScript put into one script, so that a file that is opened from a disk can hold them.

A browser loads no module beside a file that was opened from a disk. What is put together here are rondo's own modules,
whose imports and exports have one form each: `import { a, b } from "./x.js";` and `export` before a declaration.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|const|let|class) (\w+))", re.MULTILINE)


def bundled(name: str, read: Callable[[str], str]) -> str:
    """Put a module and all that it imports into one script of functions, each run once, those imported first.

    Args: `read`: gives the text of a module by its name.
    Raises: ValueError: a module has an import or an export of another form, or imports itself by way of others.
    """
    parts: dict[str, str] = {}
    _add(name, read, parts, ())
    return '"use strict";\nconst modules = {};\n' + "\n".join(parts.values())


def _add(name: str, read: Callable[[str], str], parts: dict[str, str], above: tuple[str, ...]) -> None:
    if name in parts:
        return
    if name in above:
        raise ValueError(f"{name}: imports itself by way of {' and '.join(above)}")
    text = read(name)
    for _, other in _IMPORT.findall(text):
        _add(other, read, parts, (*above, name))
    names = _EXPORT.findall(text)
    text = _IMPORT.sub(lambda found: f'const {{ {_renamed(found[1])} }} = modules["{found[2]}"];', text)
    text = _EXPORT.sub("", text)
    if re.search(r"^(?:import|export)\b", text, re.MULTILINE):
        raise ValueError(f"{name}: an import or an export of a form that is not known here")
    parts[name] = f'modules["{name}"] = (() => {{\n{text}\nreturn {{ {", ".join(names)} }};\n}})();'


def _renamed(names: str) -> str:
    return ", ".join(each.strip().replace(" as ", ": ") for each in names.split(","))


def digest(text: str) -> str:
    """Give what a content security policy knows an inline script or style by. Source: CSP Level 3, section 2.3.1."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
