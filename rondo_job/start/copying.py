"""Copying a stream: what comes in goes out whole, and into its tail; lines that begin a group are noted."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import select
import termios
import threading
from collections.abc import Callable

from rondo_job.files.tail import TailWriter
from rondo_job.start.output import Stream
from rondo_job.streams import write_all

CHUNK_BYTES = 64 << 10
_QUIET_MS = 100  # a pseudo-terminal's bytes come through a queue of the kernel's; then there are no more
# GitHub's and Azure's groups; GitLab's sections. A line of a CI system's log is shorter.
_GROUP = re.compile(rb"^(?:::group::|##\[group\]|.{0,12}section_start:\d+:)([^\r\n\x1b\[]{1,200})", re.MULTILINE)
_MARKS = (b"group::", b"##[group]", b"section_start:")


class StreamCopy:
    """One stream on its way, by a thread of its own."""

    def __init__(self, stream: Stream, on_group: Callable[[str], object]) -> None:
        """Copy nothing yet. Args: `on_group` takes the title of a group that begins."""
        self.stream, self._on_group = stream, on_group
        self._tail: TailWriter | None = None
        self._lock = threading.Lock()
        self.is_over = False
        self._rest = b""
        self.thread = threading.Thread(target=self._run, name=f"rondo-{stream.name}", daemon=True)

    def keep_in(self, tail: TailWriter) -> None:
        """Have the tail kept, from here on."""
        self._tail = tail

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self.stream.inner, select.POLLIN)
        while not self.is_over:
            poll.poll()
            with self._lock:
                self._step()

    def drain(self) -> None:
        """Copy what is there now: all that a process which has ended wrote."""
        poll = select.poll()
        poll.register(self.stream.inner, select.POLLIN)
        with self._lock:
            left = self._waiting()
            while not self.is_over and (left > 0 or self.stream.is_terminal):
                if not poll.poll(_QUIET_MS if self.stream.is_terminal else 0):
                    return
                left -= self._step()

    def _waiting(self) -> int:
        size = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.stream.inner, termios.FIONREAD, size)
        return size[0]

    def _step(self) -> int:
        """Copy one chunk, or note the end; the lock is held."""
        if self.is_over or not select.select([self.stream.inner], [], [], 0)[0]:
            return 0  # the other one was faster
        try:
            data = os.read(self.stream.inner, CHUNK_BYTES)
        except OSError:  # EIO: a pseudo-terminal that nobody has open any more
            data = b""
        if data:
            if self._tail is not None:
                self._tail.put(data)
            try:
                write_all(self.stream.outer, data)
            except OSError:  # its reader is gone: so it is for the job, which gets its SIGPIPE
                data = b""
            else:
                self._look_for_groups(data)
        if not data:
            self.is_over = True
            os.close(self.stream.inner)
        return len(data)

    def _look_for_groups(self, data: bytes) -> None:
        """Find lines that begin a group; one that comes in two chunks is found where its beginning is in the first."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not any(mark in data for mark in _MARKS):
            return
        whole = data.rfind(b"\n") + 1
        if len(data) - whole <= 256:
            self._rest = data[whole:]
        for match in _GROUP.finditer(data, 0, whole):
            self._on_group(match[1].decode(errors="replace").strip())
