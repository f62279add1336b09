"""The sidecar: stores of this process served by a child, which costs the writer nothing and ends with it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rondo_web.listening import END_S, url_of


class Sidecar:
    """A process that serves stores of this one as `rondo serve` does, and ends with this one, however that ends."""

    def __init__(
        self,
        store: Path,
        listening: socket.socket,
        more: Sequence[tuple[Path, socket.socket]] = (),
        token_file: Path | None = None,
    ) -> None:
        """Start it on a socket that listens already: requests that come before it is up wait.

        Args: `more`: other stores, each on a socket of its own; `token_file`: see `read_token`. All sockets are closed
            here.
        """
        places = [(store, listening), *more]
        arguments = [sys.executable, "-m", "rondo_web", "" if token_file is None else str(token_file)]
        for path, each in places:
            arguments += [str(path), str(each.fileno())]
        # The child ends when its standard input does: this process holds the other end.
        self._child = subprocess.Popen(  # noqa: S603 - this Python's own
            arguments, stdin=subprocess.PIPE, pass_fds=[each.fileno() for _, each in places]
        )
        self.url = f"{url_of(listening)}/metrics"
        for _, each in places:
            each.close()

    def close(self) -> None:
        """End it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Self:
        """Give the sidecar itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()
