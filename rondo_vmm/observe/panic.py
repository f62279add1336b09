"""What a Linux kernel says on its console when it panics: with it the word for how the machine ended."""

from __future__ import annotations

PANIC_MESSAGE = b"Kernel panic - not syncing"
MAX_LINE_BYTES = 512
DUMP_LINES = 200  # registers, modules, call traces: one that says more than that after a panic lives on
ENDED_BY = ("reset", "halted", "timeout", "failed")  # what may follow a panic; nothing else is one


class PanicLine:
    """Remembers the line by which a kernel said that it panicked. Attributes: `line`, empty where it said none."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.line = ""
        self._since = 0
        self._rest = b""

    def on_bytes(self, data: bytes) -> None:
        """Look at what came, where it does not come line by line; without the words it is not taken apart."""
        text = self._rest + data
        if self.line or PANIC_MESSAGE in text:
            *lines, text = text.split(b"\n")
            for line in lines:
                self.on_line(line)
        self._rest = text[text.rfind(b"\n") + 1 :][-MAX_LINE_BYTES:]

    def end(self) -> None:
        """Look at what is left: a last line without its end."""
        self.on_line(self._rest)

    def on_line(self, line: bytes) -> None:
        """Look at a line of the console."""
        at = line.find(PANIC_MESSAGE)
        if at >= 0 and b"---[ end" not in line:
            self.line, self._since = line[at:].decode("ascii", "replace").strip(), 0
        elif self.line:
            self._since += 1
            if self._since > DUMP_LINES:
                self.line = ""

    def explains(self, ended: str) -> bool:
        """Say whether a machine that ended like this had panicked."""
        return bool(self.line) and ended in ENDED_BY
