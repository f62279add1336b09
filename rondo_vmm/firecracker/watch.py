"""Record a Firecracker: by its metrics and its API while it runs, or from a file that holds its metrics."""

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
from rondo_vmm.firecracker.api import FirecrackerApi
from rondo_vmm.firecracker.flush import LOAD, MAX_LINE_BYTES, parse_flush
from rondo_vmm.firecracker.lines import FlushLines, StreamClock, first_ns, pieces
from rondo_vmm.firecracker.monitor import MonitorRecorder
from rondo_vmm.firecracker.recorder import FilePosition, FlushRecorder, position_in
from rondo_vmm.observe.async_ticks import every_second
from rondo_vmm.observe.process_end import process_end
from rondo_vmm.observe.result import VmResult
from rondo_vmm.plugins.uptime import uptime_tick

if TYPE_CHECKING:
    from rondo_core import Store

CHUNK_BYTES = 1 << 16
BACKLOG_BYTES = 1 << 22  # what is taken of a FIFO at a time; a pipe holds 1 MiB at most
LATEST_NS = 9 * 60 * NS_PER_S  # the finest tier takes nothing that is older than 10 minutes
GONE = "gone"


class FirecrackerWatcher:
    """One metrics stream, and the API beside it. A FIFO is read until its writer ends, a file to its end; with an API
    both are followed until Firecracker ends, and each second has a flush.

    Attributes: `clock`: what the store's time is: that of the flushes of a file, and of those that wait in a FIFO, and
    the wall clock's afterwards; `replayed`: whether it is a file that no one is asked to write on.
    """

    def __init__(self, path: Path | None, store: Path | None = None, api: FirecrackerApi | None = None) -> None:
        """Open it, and see how far the store, if there is one, has come with it.

        Args: `path`: of the metrics; None: they are not to be had, and what the API and the kernel tell is recorded;
            `api`: one that has answered.
        Raises: ConfigError: it is missing, or neither a FIFO nor a file; StoreError: the store cannot be read.
        """
        self._path, self._api = path, api
        self._descriptor = -1 if path is None else _open(path)
        self._lines = FlushLines()
        self._too_long = 0
        self._ended = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._newest_ns = self._ticked_ns = 0
        self._ending, self._snapshot_load_s = "", 0.0
        self._rest = b""
        self.clock = StreamClock()
        try:
            self._file = path is not None and self._is_file()
            self.replayed = self._file and api is None
            self._before = self._position = FilePosition() if store is None else position_in(store)
            self._known_ns = 0
            self._waiting = b"" if self._file or path is None else self._read_waiting()
            since_ns = first_ns(os.pread(self._descriptor, 2 * MAX_LINE_BYTES, 0) if self._file else self._waiting)
            if self._file or self._waiting:
                self.clock.at_ns = max(since_ns, self._before.recorded_ns) or wall_ns()
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
        with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
            if not self.replayed:
                loop = asyncio.new_event_loop()
                try:
                    return loop.run_until_complete(self.record(store, timeout_s))
                finally:
                    loop.close()
            started_ns, started = self.clock(), time.monotonic()
            recorder = FlushRecorder(store)
            try:
                self._replay(store, recorder)
            finally:
                self.close()
            return self._result(recorder, started_ns, started)

    async def record(self, store: Store, timeout_s: float | None = None) -> VmResult:
        """Record as `run` does, on the running loop."""
        started_ns, started = self.clock(), time.monotonic()
        recorder = FlushRecorder(store)
        try:
            await self._follow(store, recorder, timeout_s)
        finally:
            self.close()
        return self._result(recorder, started_ns, started)

    def _result(self, recorder: FlushRecorder, started_ns: int, started: float) -> VmResult:
        uptime_s, notes = time.monotonic() - started, recorder.notes()
        if self._ended == GONE:
            self._ended = self._ending or GONE
        elif self._ending:
            notes = (f"by the last flush: {self._ending}", *notes)
        why = f"watched at {self._path or (self._api and self._api.path)}"
        return VmResult("firecracker", why, self._ended, "", {}, uptime_s, started_ns, self.clock(), {}, notes=notes)

    def stop(self, why: str = "stopped") -> None:
        """End the watch; from any thread, and before `run` too."""
        self._ended = self._ended or why
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the watch is over
                loop.call_soon_threadsafe(self._over.set)

    def _end(self, how: str) -> None:
        self._ended = self._ended or how
        self._over.set()

    def _replay(self, store: Store, recorder: FlushRecorder) -> None:
        """Record what the store has not yet of the file, each flush at its own time, line by line.

        A last line that is not whole is left for the next time: its writer may be about to end it.
        """
        self._begin_file()
        self._read_file(store, recorder)
        self._end_file(store, recorder)
        store.tick()
        self._end("end of file")

    def _begin_file(self) -> None:
        self._position = self._seek()
        self._known_ns = 0 if self._position.size_bytes else self._before.newest_ns

    def _read_file(self, store: Store, recorder: FlushRecorder) -> None:
        """Record the lines that the file has more by now; from its beginning, where it was begun anew."""
        if os.fstat(self._descriptor).st_size < self._position.size_bytes + len(self._rest):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._position, self._rest, self._known_ns = FilePosition(), b"", self._newest_ns
        size_bytes, digest = self._position.size_bytes, self._position.digest
        while (data := os.read(self._descriptor, CHUNK_BYTES)) and not (self.replayed and self._ended):
            *whole, rest = pieces(data, self._rest)
            if len(rest) > MAX_LINE_BYTES:  # more than is kept of a line
                whole, rest = [*whole, rest], b""
            self._rest = rest
            for piece in whole:
                size_bytes, digest = size_bytes + len(piece), zlib.crc32(piece, digest)
                self._take(self._lines.feed(piece), store, recorder, self._known_ns)
                self._position = FilePosition(size_bytes, digest, self._newest_ns)
                recorder.reached(self._position, self.clock())

    def _end_file(self, store: Store, recorder: FlushRecorder) -> None:
        """Record the last line too, where only its end of line is missing."""
        rest = self._rest
        if rest and parse_flush(rest) is not None:
            self._take(self._lines.feed(rest) + self._lines.end(), store, recorder, self._known_ns)
            size_bytes, digest = self._position.size_bytes + len(rest), zlib.crc32(rest, self._position.digest)
            recorder.reached(FilePosition(size_bytes, digest, self._newest_ns), self.clock())

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
                self._ending = flush.ending or self._ending
                for sample in flush.samples:
                    if sample.name == LOAD:
                        self._snapshot_load_s = sample.value
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

    async def _follow(self, store: Store, recorder: FlushRecorder, timeout_s: float | None) -> None:
        loop = self._loop = asyncio.get_running_loop()
        if self._ended:
            self._over.set()
        self._begin(store, recorder)
        up = uptime_tick(store)
        monitor = None if self._api is None else MonitorRecorder(self._api, store)

        async def tick() -> None:
            now_ns = wall_ns()
            if monitor is not None and not self._over.is_set():
                await monitor.ask()
                if monitor.gone:
                    self._end(GONE)
            # What has waited while this process could not run comes first, at its own times.
            self._read_new(store, recorder)
            up(now_ns)
            if monitor is not None:
                monitor.record(now_ns, self._snapshot_load_s)
            self._ticked_ns = max(self._ticked_ns, now_ns)
            store.tick(self._ticked_ns)

        timer = None if timeout_s is None else loop.call_later(timeout_s, self._end, "timeout")
        if self._descriptor >= 0 and not self._file:
            loop.add_reader(self._descriptor, self._on_readable, store, recorder)
        with process_end(loop, self._api.pid if self._api else 0) as process_ended:
            ending = asyncio.create_task(self._end_with(process_ended))
            begun_ns = wall_ns()
            try:
                await tick()
                await every_second(tick, self._over.wait(), begun_ns)
            finally:
                ending.cancel()
                if timer is not None:
                    timer.cancel()
                if self._descriptor >= 0:
                    loop.remove_reader(self._descriptor)
        await tick()
        self._loop = None
        if self._file:
            self._end_file(store, recorder)
        self._take(self._lines.end(), store, recorder)
        store.tick()

    async def _end_with(self, process_ended: asyncio.Event) -> None:
        await process_ended.wait()
        self._end(GONE)

    def _begin(self, store: Store, recorder: FlushRecorder) -> None:
        """Take what is there already, at its own times; from then on the wall clock's counts."""
        if self._file:
            self._begin_file()
            self._read_file(store, recorder)
        self._take(self._lines.feed(self._waiting), store, recorder)
        self.clock.at_ns = 0

    def _on_readable(self, store: Store, recorder: FlushRecorder) -> None:
        try:
            data = os.read(self._descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._take(self._lines.feed(data), store, recorder)
        else:
            if self._loop is not None:
                self._loop.remove_reader(self._descriptor)
            self._end(GONE)

    def _read_new(self, store: Store, recorder: FlushRecorder) -> None:
        if self._file:
            self._read_file(store, recorder)
        elif self._descriptor >= 0:
            self._take(self._lines.feed(self._read_waiting()), store, recorder)

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


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        mend = "make it with mkfifo, and start Firecracker with --metrics-path"
        raise ConfigError(f"{path}: {error.strerror}; {mend}") from None


def find_api(path: Path) -> FirecrackerApi:
    """Give the API at a socket that has answered. Raises: ApiError: there is none."""
    api = FirecrackerApi(path)
    asyncio.run(api.get("/"))
    return api
