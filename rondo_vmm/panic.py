"""What a Linux kernel says on its console when it panics: with it the word for how the machine ended."""

from __future__ import annotations

MARK = b"Kernel panic - not syncing"
DUMP_LINES = 200  # registers, modules, call traces: one that says more than that after a panic lives on
ENDED_BY = ("reset", "halted", "timeout", "failed")  # what may follow a panic; nothing else is one


class PanicLine:
    """Remembers the line by which a kernel said that it panicked. Attributes: `line`, empty where it said none."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.line = ""
        self._since = 0

    def on_line(self, line: bytes) -> None:
        """Look at a line of the console."""
        at = line.find(MARK)
        if at >= 0 and b"---[ end" not in line:
            self.line, self._since = line[at:].decode("ascii", "replace").strip(), 0
        elif self.line:
            self._since += 1
            if self._since > DUMP_LINES:
                self.line = ""

    def explains(self, ended: str) -> bool:
        """Say whether a machine that ended like this had panicked."""
        return bool(self.line) and ended in ENDED_BY
