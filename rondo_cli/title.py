"""What other users of the machine can read of a command line: everything but the credentials in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# The user and password of a URL, and the value of an option of an exporter that is called after a credential.
_SECRET = rb"://([^/?#@\0]+)@|[?&][^=&\0]*=([^&#\0]+)|(?:pass|token|secret|header|key|user)\w*=([^\0]+)"
_ARG_START = 48  # Source: proc(5), /proc/pid/stat: arg_start is the 48th field


def hide_credentials(arguments: Sequence[str]) -> None:
    """Blot out credentials in the process's own command line, as `ps` and /proc show it; `arguments` stay as they are.

    Until now they were to be read there; those in a config, in the environment or in a file never are.
    """
    if not any("@" in each or "=" in each for each in arguments):
        return
    shown = Path("/proc/self/cmdline").read_bytes()
    found = [(match.start(group), match.end(group)) for match in re.finditer(_SECRET, shown) for group in (1, 2, 3)]
    spans = [(first, end) for first, end in found if first >= 0]
    if not spans:
        return
    import ctypes

    facts = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    start = int(facts[_ARG_START - 3])  # what follows the name begins with the third
    for first, end in spans:
        ctypes.memset(start + first, ord("*"), end - first)
