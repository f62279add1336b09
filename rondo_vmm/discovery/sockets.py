"""Sockets below a directory, looked for again and again: what is new, and what is worth another try."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

MAX_DEPTH, MAX_ENTRIES = 8, 20_000  # of one look
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0


@attrs.frozen
class FoundSocket:
    """A socket as it was made: another one at the same path is another."""

    path: Path
    inode: int
    made_ns: int


@attrs.define
class Attempt:
    """What became of a socket: whether it is watched now, else when it is tried again.

    Attributes: `said`: the line about it;
    `lived`: whether a machine was recorded there: that no one listens when it has ended is no news.
    """

    running: bool = True
    due_s: float = 0.0
    wait_s: float = FIRST_RETRY_S
    said: str = ""
    lived: bool = False

    def fail(self, now_s: float) -> None:
        """Try again later, each time after twice as long, up to a minute."""
        self.running, self.due_s = False, now_s + self.wait_s
        self.wait_s = min(2 * self.wait_s, LAST_RETRY_S)

    def end(self, now_s: float) -> None:
        """Be done with a machine; whoever listens there later is another one."""
        self.wait_s = FIRST_RETRY_S
        self.fail(now_s)


class SocketDirectory:
    """The sockets below one directory, in directories below it too; symbolic links are not followed."""

    def __init__(self, directory: Path) -> None:
        """Look at nothing yet."""
        self._directory = directory
        self._attempts: dict[FoundSocket, Attempt] = {}

    def look(self, now_s: float) -> list[tuple[FoundSocket, Attempt]]:
        """Give the sockets that are to be tried now, and forget those that are gone. Raises: OSError: of the root."""
        found = set(self._sockets())
        for gone in [each for each, attempt in self._attempts.items() if each not in found and not attempt.running]:
            del self._attempts[gone]
        due = []
        for each in sorted(found, key=lambda each: each.path):
            attempt = self._attempts.get(each)
            if attempt is None:
                attempt = self._attempts[each] = Attempt()
            elif attempt.running or now_s < attempt.due_s:
                continue
            attempt.running = True
            due.append((each, attempt))
        return due

    def _sockets(self) -> Iterator[FoundSocket]:
        waiting, n_entries = [(str(self._directory), 0)], 0
        while waiting:
            directory, depth = waiting.pop()
            try:
                entries = os.scandir(directory)
            except OSError:
                if depth:  # it went while we looked, or is another user's
                    continue
                raise
            with entries:
                for entry in entries:
                    n_entries += 1
                    if n_entries > MAX_ENTRIES:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        if depth < MAX_DEPTH:
                            waiting.append((entry.path, depth + 1))
                    elif not entry.is_file(follow_symlinks=False):
                        yield from _if_socket(entry)


def _if_socket(entry: os.DirEntry[str]) -> Iterator[FoundSocket]:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISSOCK(status.st_mode):
        yield FoundSocket(Path(entry.path), status.st_ino, status.st_mtime_ns)
