"""The process that becomes a job: forked early, when this one is small, it waits until all is ready."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import termios
from collections.abc import Iterable, Sequence

import attrs

from rondo_job.start.output import STDIN, Output

_NOT_BEGUN = 126
_SHELL = "/bin/sh"  # of a script that names no interpreter. Source: execvp(3)
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # which the interpreter has made itself ignore


@attrs.frozen
class NotBegun:
    """Why a command could not be begun. Attributes: `status`: the exit status of its process; `why`: a line."""

    status: int
    why: str


class Launch:
    """A job that has not begun.

    Attributes: `pid`: its process; `before_bytes`: what that had resident at most before it became the job.
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
                os._exit(_NOT_BEGUN)
        there.close()
        self._channel = here
        self.before_bytes = 0
        output.close_job()

    def go(self, environment: dict[str, str]) -> NotBegun | None:
        """Let it begin. Args: `environment`: what it has beside this process's. Returns: why it could not."""
        self._channel.send(json.dumps(environment).encode())
        self.before_bytes = int(self._channel.recv(64) or 0)
        answer = self._channel.recv(1 << 16)
        self._channel.close()
        return NotBegun(*json.loads(answer)) if answer else None

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
        channel.send(b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
        _execute(command, environment)
    except OSError as error:
        from rondo_job.start.failure import explain

        failed = explain(error, command[0], os.get_exec_path())
        with contextlib.suppress(OSError):
            channel.send(json.dumps(failed).encode())
        os._exit(failed[0])


def _execute(command: Sequence[str], environment: dict[str, str]) -> None:
    """Become a command, by a shell where it is a script that names no interpreter. Raises: OSError: it cannot be."""
    if not command[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606 - it is what was asked for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        from rondo_job.start.failure import find, is_text

        path = find(command[0], os.get_exec_path())
        if path is None or not is_text(path):
            raise
        script = command[0] if "/" in command[0] else os.path.join(".", path)  # noqa: PTH118 - with its ./, as it is $0
        os.execve(_SHELL, [_SHELL, script, *command[1:]], environment)  # noqa: S606 - likewise
