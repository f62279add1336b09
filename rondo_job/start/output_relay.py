"""The relay: a small process that copies a job's output, so that the recorder's death changes nothing for the job.

Where the recorder was killed, the relay writes how the job ended: a pidfd's holder learns that from the kernel, though
it is not the parent. It also tells whether a signal that came to the recorder came to all of its process group.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import termios
import threading
import tty
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rondo_job.files import names
from rondo_job.files.inbox import Entry, post
from rondo_job.files.tail import TailWriter
from rondo_job.start.copying import CHUNK_BYTES, StreamCopy
from rondo_job.start.output import STDIN, STDOUT, Output, copy_size
from rondo_job.streams import write_all

_GROUP_WAIT_S = 0.02  # a signal to a group comes to all of its members within microseconds
_MESSAGE_BYTES = 1 << 16
_BACKGROUND_S = 0.2  # between two looks whether the terminal is this process group's again
_LOCAL, _CHARACTERS = 3, 6  # indexes among what tcgetattr gives


class OutputRelay:
    """The relay, as the recorder sees it.

    Attributes: `pid`.
    """

    def __init__(self, output: Output, signals: Iterable[int], on_lost: Callable[[dict[str, Any], int], None]) -> None:
        """Fork it; it copies from now on.

        Args: `signals`: those that are passed on, blocked in this process; `on_lost` is called in it when the job has
            ended and the recorder is gone, with what it was told and the job's pidfd.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                here.close()
                output.close_job()
                _RelayProcess(output, there, set(signals), on_lost).run()
            except BaseException:  # noqa: BLE001 - of a copy of the recorder nothing else may run
                os._exit(1)
            os._exit(0)
        there.close()
        self._channel: socket.socket | None = here

    def send_facts(self, facts: dict[str, Any]) -> None:
        """Say which life it is, before the job begins: "life", its store's path; "pid", the job's."""
        self._ask({"told": facts})

    def was_for_group(self, number: int) -> bool:
        """Say whether a signal that has just come here came to the process group, and so to the job too."""
        return bool(self._ask({"signal": number}))

    def note_signal(self, signal_facts: dict[str, Any]) -> None:
        """Tell of a signal that is on record at the end: of whose recorder is killed the relay writes the end."""
        self._ask({"noted": signal_facts})

    def drain(self) -> None:
        """Wait until what the job has written has gone out, and the terminal is as it was."""
        self._ask({"drain": True})

    def end(self) -> None:
        """Say that all is on record; the relay ends with the streams that it copies."""
        self._ask({"over": True})
        if self._channel is not None:
            self._channel.close()

    def _ask(self, message: dict[str, Any]) -> Any:
        """Send a message and wait for the answer; None: the relay was killed."""
        if self._channel is None:
            return None
        try:
            self._channel.send(json.dumps(message).encode())
            answer = self._channel.recv(_MESSAGE_BYTES)
        except OSError:
            answer = b""
        if not answer:
            self._channel.close()
            self._channel = None
            return None
        return json.loads(answer)


class _RelayProcess:
    """The relay itself."""

    def __init__(
        self, output: Output, channel: socket.socket, signals: set[int], on_lost: Callable[[dict[str, Any], int], None]
    ) -> None:
        self._output, self._channel, self._signals, self._on_lost = output, channel, signals, on_lost
        self._copies = [StreamCopy(stream, self._note_group) for stream in output.streams]
        self._told: dict[str, Any] = {}
        self._pidfd = -1
        self._modes: list[Any] | None = None

    def run(self) -> None:
        """Serve the recorder until it is gone or all is over, then the job until its end, then its streams."""
        if not self._output.session:
            os.close(STDIN)
            os.open(os.devnull, os.O_RDONLY)
        for number in (signal.SIGTTIN, signal.SIGTTOU):  # where a shell is in the foreground again
            signal.signal(number, signal.SIG_IGN)
        if any(stream.is_terminal for stream in self._output.streams):
            signal.signal(signal.SIGWINCH, lambda _number, _frame: self._resize())
        if self._output.session:
            self._modes = termios.tcgetattr(STDOUT)
            tty.setraw(STDOUT, termios.TCSADRAIN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})  # which the thread of the input takes
            threading.Thread(target=self._copy_input, name="rondo-stdin", daemon=True).start()
        for copy in self._copies:
            copy.thread.start()
        over = False
        try:
            with contextlib.suppress(ConnectionError):  # the recorder was killed between a request and its answer
                while not over and (message := self._channel.recv(_MESSAGE_BYTES)):
                    request = json.loads(message)
                    over = "over" in request
                    self._channel.send(json.dumps(self._answer(request)).encode())
            if not over and self._pidfd >= 0:
                select.select([self._pidfd], [], [])
                self._drain()
                self._on_lost(self._told, self._pidfd)
            self._channel.close()
            for copy in self._copies:
                copy.thread.join()
        finally:
            self._restore()

    def _answer(self, request: dict[str, Any]) -> Any:
        if "told" in request:
            self._told = request["told"]
            self._pidfd = os.pidfd_open(self._told["pid"])
            for copy in self._copies:
                with contextlib.suppress(OSError):  # a full disk: no tail is kept
                    copy.keep_in(TailWriter(Path(self._told["life"], names.STREAMS[copy.stream.name])))
        elif "signal" in request:
            select.select([], [], [], _GROUP_WAIT_S)
            return signal.sigtimedwait([request["signal"]], 0) is not None
        elif "noted" in request:
            self._told.setdefault("signals", []).append(request["noted"])
        elif "drain" in request:
            self._drain()
        return True

    def _drain(self) -> None:
        for copy in self._copies:
            copy.drain()
        self._restore()

    def _restore(self) -> None:
        """Give the terminal its modes back."""
        modes, self._modes = self._modes, None
        if modes is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(STDOUT, termios.TCSADRAIN, modes)

    def _resize(self) -> None:
        for stream in self._output.streams:
            if stream.is_terminal:
                copy_size(stream.outer, stream.inner)
        if self._pidfd >= 0 and not self._output.session:  # nobody is in the foreground of that terminal
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGWINCH)

    def _copy_input(self) -> None:
        """Copy what is typed, and stop with the job where that is what was typed."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
        inner = self._output.streams[0].inner
        with contextlib.suppress(OSError, termios.error):
            while self._modes is not None and (data := self._read_typed()):
                suspend = self._suspend_character(inner)
                while suspend and suspend in data:
                    before, _, data = data.partition(suspend)
                    write_all(inner, before)
                    self._stop_with_job()
                write_all(inner, data)

    def _read_typed(self) -> bytes:
        """Read what is typed, once the terminal is this process group's. Raises: OSError: it is gone."""
        while True:
            try:
                return os.read(STDIN, CHUNK_BYTES)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            while not self._is_foreground():
                threading.Event().wait(_BACKGROUND_S)  # the shell's `bg`: nothing tells of its `fg`
            self._begin_raw()

    def _suspend_character(self, inner: int) -> bytes:
        """Give the character that stops the job, as its terminal's modes are; empty: none does, or a shell of its own.

        The kernel stops no session's leader whose parent is outside of the session. Source: credentials(7), orphaned
        process groups.
        """
        modes = termios.tcgetattr(inner)
        if not modes[_LOCAL] & termios.ISIG or os.tcgetpgrp(inner) != self._told.get("pid"):
            return b""
        character: bytes = modes[_CHARACTERS][termios.VSUSP]
        return b"" if character == b"\0" else character

    def _stop_with_job(self) -> None:
        """Stop the job's processes and this process group, as its terminal would; go on when the shell says so."""
        job, modes = self._told["pid"], self._modes
        os.killpg(job, signal.SIGSTOP)
        if modes is not None:
            termios.tcsetattr(STDOUT, termios.TCSADRAIN, modes)
        os.killpg(0, signal.SIGTSTP)  # returns when it is continued; at once where no shell is there that could do so
        self._begin_raw()
        os.killpg(job, signal.SIGCONT)

    def _begin_raw(self) -> None:
        if self._modes is not None and self._is_foreground():
            tty.setraw(STDOUT, termios.TCSADRAIN)
            self._resize()

    def _is_foreground(self) -> bool:
        return os.tcgetpgrp(STDIN) == os.getpgrp()

    def _note_group(self, title: str) -> None:
        if "life" in self._told:
            from rondo_core.clock import wall_ns

            with contextlib.suppress(Exception):
                facts = (("title", title),)
                post(Path(self._told["life"], names.INBOX), Entry("mark", "group", 0.0, facts, wall_ns()))
