"""The process that becomes a job: forked early, when this one is small, it waits until all is ready."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import termios
from collections.abc import Iterable, Sequence

from rondo_job.start.output import STDIN, Output

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells have it
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # which the interpreter has made itself ignore


class Launch:
    """A job that has not begun.

    Attributes: `pid`: its process.
    """

    def __init__(self, command: Sequence[str], output: Output, mask: Iterable[int]) -> None:
        """Fork it. Args: `mask`: the signals that it has blocked, as this process had before it blocked its own."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                here.close()
                output.close_inner()
                _become(command, output, mask, there)
            finally:
                os._exit(NOT_EXECUTABLE)
        there.close()
        self._channel = here
        output.close_job()

    def go(self, environment: dict[str, str]) -> OSError | None:
        """Let it begin. Args: `environment`: what it has beside this process's. Returns: why it could not."""
        self._channel.send(json.dumps(environment).encode())
        answer = self._channel.recv(4096)
        self._channel.close()
        if not answer:
            return None
        number, path = json.loads(answer)
        return OSError(number, os.strerror(number), path)

    def abandon(self) -> None:
        """Let it end without having begun."""
        self._channel.close()


def _become(command: Sequence[str], output: Output, mask: Iterable[int], channel: socket.socket) -> None:
    """Wait for the word, and be the job."""
    told = channel.recv(1 << 16)
    if not told:  # the recorder is gone before it began
        return
    if output.session:
        os.setsid()
        fcntl.ioctl(output.job[STDIN], termios.TIOCSCTTY, 0)
    for number, descriptor in sorted(output.job.items()):
        os.dup2(descriptor, number)
    for descriptor in set(output.job.values()) - set(output.job):
        os.close(descriptor)
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    environment = {**os.environ, **json.loads(told)}
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606 - it is what was asked for
    except OSError as error:
        with contextlib.suppress(OSError):
            channel.send(json.dumps([error.errno, command[0]]).encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
