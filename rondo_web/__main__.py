"""`python -m rondo_web TOKEN_FILE STORE DESCRIPTOR ...`: the process of a `Sidecar`; TOKEN_FILE may be empty.

Each store is served on the socket whose descriptor follows it, and which the parent has opened.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rondo_core.errors import make_logs_printable, one_line
from rondo_web import check_installed, read_token, serve


def main(arguments: Sequence[str]) -> int:
    """Serve until the parent is gone, or SIGTERM comes; give the exit status, an error is one line."""
    token_file, *places = arguments
    _end_with_parent()
    make_logs_printable()
    try:
        check_installed()
        with ExitStack() as stack:
            pairs = zip(places[::2], places[1::2], strict=True)
            listening = [
                (Path(store), stack.enter_context(socket.socket(fileno=int(number)))) for store, number in pairs
            ]
            serve(listening, token=read_token(Path(token_file) if token_file else None))
    except Exception as error:  # noqa: BLE001 - the process ends here, and whatever it was is one line
        sys.stderr.write(f"rondo: {one_line(error)}\n")
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process when its standard input ends; interrupts of the terminal are the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock an interpreter that ends would wait for
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
