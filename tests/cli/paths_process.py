"""Runs commands one after the other in this process, and says how each ended and what it said."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import warnings

from rondo_cli.main import run

MOST_S = 20


def outcome(arguments: list[str]) -> tuple[int, str]:
    """Run a command: its status, and all that went to standard error, by whatever way."""
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        signal.alarm(MOST_S)  # which ends the process: what hangs is not to be waited for
        try:
            status = run(arguments)
        except BaseException as error:  # noqa: BLE001 - what it is, is what is asked
            status = -1
            os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            signal.alarm(0)
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        return status, said.read().decode(errors="backslashreplace")


if __name__ == "__main__":
    warnings.simplefilter("error")
    for line in sys.stdin:
        given = [os.fsdecode(bytes.fromhex(word)) for word in json.loads(line)]
        status, said = outcome(given)
        print("\n" + json.dumps([{"status": status, "said": said}]), file=sys.__stdout__, flush=True)
