"""Record Firecracker's metrics: from its FIFO until it ends, or from a file that holds them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.signals import stopped_by_signals
from rondo_vmm.errors import ConfigError
from rondo_vmm.firecracker.flush import MAX_LINE_BYTES, parse_flush
from rondo_vmm.firecracker.recorder import FilePosition, FlushRecorder, position_in
from rondo_vmm.observe.async_ticks import every_second
from rondo_vmm.observe.result import VmResult
from rondo_vmm.plugins.uptime import uptime_tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from rondo_core import Store

CHUNK_BYTES = 1 << 16
BACKLOG_BYTES = 1 << 22  # what is taken of a FIFO at a time; a pipe holds 1 MiB at most
LATEST_NS = 9 * 60 * NS_PER_S  # the finest tier takes nothing that is older than 10 minutes


class FlushLines:
    """Cuts a stream into lines of bounded length; `too_long` counts those that were dropped."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._rest = b""
        self._dropping = False
        self.too_long = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the lines that they complete."""
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._dropping:
            del whole[0]
            self._dropping = False
        if len(rest) > MAX_LINE_BYTES and not self._dropping:
            self._dropping = True
            self.too_long += 1
        self._rest = b"" if self._dropping else rest
        lines = [line for line in whole if line.strip()]
        kept = [line for line in lines if len(line) <= MAX_LINE_BYTES]
        self.too_long += len(lines) - len(kept)
        return kept

    def end(self) -> list[bytes]:
        """Give the last line, which had no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []


class StreamClock:
    """The store's time: that of a flush while what was written before is taken, then the wall clock's."""

    def __init__(self) -> None:
        """Go by the wall clock."""
        self.at_ns = 0

    def __call__(self) -> int:
        """Give the time, ns since the epoch."""
        return self.at_ns or wall_ns()


class FirecrackerWatcher:
    """One metrics stream. A FIFO is read until its writer ends, a file to its end.

    Attributes: `clock`: what the store's time is: that of the flushes of a file, and of those that wait in a FIFO, and
    the wall clock's afterwards; `replayed`: whether it is a file.
    """

    def __init__(self, path: Path, store: Path | None = None) -> None:
        """Open it, and see how far the store, if there is one, has come with it.

        Raises: ConfigError: it is missing, or neither a FIFO nor a file; StoreError: the store cannot be read.
        """
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            mend = "make it with mkfifo, and start Firecracker with --metrics-path"
            raise ConfigError(f"{path}: {error.strerror}; {mend}") from None
        self._lines = FlushLines()
        self._too_long = 0
        self._ended = ""
        self._over: Callable[[], object] | None = None
        self._newest_ns = self._ticked_ns = 0
        self.clock = StreamClock()
        try:
            self.replayed = self._is_file()
            self._before = FilePosition() if store is None else position_in(store)
            self._waiting = b"" if self.replayed else self._read_waiting()
            first_ns = _first_ns(os.pread(self._descriptor, 2 * MAX_LINE_BYTES, 0) if self.replayed else self._waiting)
            if self.replayed or self._waiting:
                self.clock.at_ns = max(first_ns, self._before.recorded_ns) or wall_ns()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the stream; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def run(self, store: Store, timeout_s: float | None = None) -> VmResult:
        """Record until the stream ends, or `timeout_s` is over. The store is left open."""
        started_ns, started = self.clock(), time.monotonic()
        recorder = FlushRecorder(store)
        try:
            if self.replayed:
                with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
                    self._replay(store, recorder)
            else:
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(self._follow(loop, store, recorder, timeout_s))
                finally:
                    loop.close()
        finally:
            self.close()
        why = f"watched at {self._path}"
        uptime_s, ended_ns = time.monotonic() - started, self.clock()
        return VmResult(
            "firecracker", why, self._ended, "", {}, uptime_s, started_ns, ended_ns, {}, notes=recorder.notes()
        )

    def stop(self, why: str = "stopped") -> None:
        """End the watch; from any thread, and before `run` too."""
        self._end(why)
        if (over := self._over) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the watch is over
                over()

    def _end(self, how: str) -> None:
        self._ended = self._ended or how

    def _replay(self, store: Store, recorder: FlushRecorder) -> None:
        """Record what the store has not yet of the file, each flush at its own time, line by line.

        A last line that is not whole is left for the next time: its writer may be about to end it.
        """
        position = self._seek()
        known_ns = 0 if position.size_bytes else self._before.newest_ns
        size_bytes, digest = position.size_bytes, position.digest
        rest = b""
        while (data := os.read(self._descriptor, CHUNK_BYTES)) and not self._ended:
            *pieces, rest = _pieces(data, rest)
            if len(rest) > MAX_LINE_BYTES:  # more than is kept of a line
                pieces, rest = [*pieces, rest], b""
            for piece in pieces:
                size_bytes, digest = size_bytes + len(piece), zlib.crc32(piece, digest)
                self._take(self._lines.feed(piece), store, recorder, known_ns)
                recorder.reached(FilePosition(size_bytes, digest, self._newest_ns), self.clock())
        if rest and parse_flush(rest) is not None:
            self._take(self._lines.feed(rest) + self._lines.end(), store, recorder, known_ns)
            position = FilePosition(size_bytes + len(rest), zlib.crc32(rest, digest), self._newest_ns)
            recorder.reached(position, self.clock())
        store.tick()
        self._end("end of file")

    def _seek(self) -> FilePosition:
        """Go to where the file was read up to, if it is still the same up to there; else its beginning."""
        left, digest = self._before.size_bytes, 0
        while left and (data := os.read(self._descriptor, min(CHUNK_BYTES, left))):
            left, digest = left - len(data), zlib.crc32(data, digest)
        self._newest_ns = self._before.newest_ns
        if self._before.size_bytes and not left and digest == self._before.digest:
            return self._before
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return FilePosition()

    def _take(self, lines: list[bytes], store: Store, recorder: FlushRecorder, known_ns: int = 0) -> None:
        """Record lines, each flush at its own time; those up to `known_ns` were taken before."""
        for line in lines:
            flush = parse_flush(line)
            if flush is None:
                recorder.count("garbled", 1, self.clock())
            elif 0 < flush.at_ns <= known_ns:
                recorder.count("known", 1, self.clock())
            else:
                recorder.record(flush, self._time_of(flush.at_ns, store))
        if self._lines.too_long > self._too_long:
            recorder.count("too_long", self._lines.too_long - self._too_long, self.clock())
            self._too_long = self._lines.too_long

    def _time_of(self, at_ns: int, store: Store) -> int:
        """Give the time at which a flush is recorded, and have the store come as far.

        That is its own, but for one that does not say it or says a time to come: they count now, or in a file at the
        newest flush's; and so does one that goes back in a file.
        """
        if not 0 < at_ns <= wall_ns():
            return self.clock()
        self._newest_ns = max(self._newest_ns, at_ns)
        if at_ns > self._ticked_ns:
            if self.clock.at_ns:
                self.clock.at_ns = max(at_ns, self.clock.at_ns)
            self._ticked_ns = at_ns
            store.tick(max(at_ns, self.clock.at_ns))
        return self.clock() if self.clock.at_ns else max(at_ns, wall_ns() - LATEST_NS)

    async def _follow(
        self, loop: asyncio.AbstractEventLoop, store: Store, recorder: FlushRecorder, timeout_s: float | None
    ) -> None:
        over = asyncio.Event()
        self._over = lambda: loop.call_soon_threadsafe(over.set)
        if self._ended:
            over.set()

        def end(how: str) -> None:
            self._end(how)
            over.set()

        def readable() -> None:
            try:
                data = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                return
            if data:
                self._take(self._lines.feed(data), store, recorder)
            else:
                loop.remove_reader(self._descriptor)
                end("gone")

        async def tick() -> None:
            # What has waited while this process could not run comes first, at its own times.
            self._take(self._lines.feed(self._read_waiting()), store, recorder)
            now_ns = self._ticked_ns = wall_ns()
            up(now_ns)
            store.tick(now_ns)

        self._take(self._lines.feed(self._waiting), store, recorder)
        self.clock.at_ns = 0
        up = uptime_tick(store)
        if timeout_s is not None:
            loop.call_later(timeout_s, end, "timeout")
        loop.add_reader(self._descriptor, readable)
        with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
            begun_ns = wall_ns()
            await tick()
            await every_second(tick, over.wait(), begun_ns)
        self._over = None
        with contextlib.suppress(ValueError):
            loop.remove_reader(self._descriptor)
        await tick()
        self._take(self._lines.end(), store, recorder)
        store.tick()

    def _is_file(self) -> bool:
        mode = os.fstat(self._descriptor).st_mode
        if not stat.S_ISFIFO(mode) and not stat.S_ISREG(mode):
            what = "neither a FIFO nor a file; give what Firecracker's --metrics-path names"
            raise ConfigError(f"{self._path}: {what}")
        return stat.S_ISREG(mode)

    def _read_waiting(self) -> bytes:
        """Give what has been written to the FIFO before anyone read it."""
        found = bytearray()
        with contextlib.suppress(BlockingIOError):
            while len(found) < BACKLOG_BYTES and (data := os.read(self._descriptor, CHUNK_BYTES)):
                found += data
        return bytes(found)


def _pieces(data: bytes, rest: bytes) -> list[bytes]:
    """Cut bytes behind each line's end; the last piece has none."""
    *whole, last = (rest + data).split(b"\n")
    return [*(each + b"\n" for each in whole), last]


def _first_ns(data: bytes) -> int:
    """Give the time of the first flush, 0 where the first lines are none."""
    lines = FlushLines()
    for line in lines.feed(data) + lines.end():
        flush = parse_flush(line)
        if flush is not None and 0 < flush.at_ns <= wall_ns():
            return flush.at_ns
    return 0
