"""What a guest's serial console is told: from a descriptor, no faster than the guest reads."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable

from rondo_vmm.devices.serial import FIFO_BYTES, Serial

FIFO_POLL_S = 0.5
CLOSE_TIMEOUT_S = 1.0  # another reader of the same terminal may have taken what this one was woken for


class SerialInput:
    """A thread that gives the guest what comes from a descriptor. Nothing is read that the guest has no room for."""

    def __init__(self, descriptor: int, uart: Serial, on_escape: Callable[[], None] | None = None) -> None:
        """Read `descriptor`; `on_escape`: what Ctrl-A x does, where the descriptor is a raw terminal."""
        self._descriptor, self._uart, self._on_escape = descriptor, uart, on_escape
        self._escaped = False
        self._ended = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="rondo-console", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what was not read stays where it is."""
        self._ended.set()
        os.write(self._wake_writer, b"x")
        self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def _run(self) -> None:
        # A terminal answers a reader in its background by a signal that would stop the whole process; blocked, by EIO.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while not self._ended.is_set():
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._ended.is_set() or self._descriptor not in ready:
                continue
            try:
                data = os.read(self._descriptor, FIFO_BYTES)
            except OSError:
                return
            if not data:
                return
            self._give(self._unescaped(data) if self._on_escape else data)

    def _give(self, data: bytes) -> None:
        while data and not self._ended.is_set():
            data = data[self._uart.receive(data) :]
            if data:
                self._uart.wait_for_room(FIFO_POLL_S)

    def _unescaped(self, data: bytes) -> bytes:
        """Take Ctrl-A x out of what was typed; Ctrl-A Ctrl-A is one Ctrl-A."""
        kept = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte == ord("x") and self._on_escape:
                    self._on_escape()
                elif byte == 1:
                    kept.append(byte)
                else:
                    kept += bytes((1, byte))
            elif byte == 1:
                self._escaped = True
            else:
                kept.append(byte)
        return bytes(kept)
