"""Stores made, made anew, renamed, opened again, forbidden, damaged and killed below two agents that are killed too.

What must hold in the end is judged by what the receivers took, sample by sample, and by what lies on the disk.
Run: chaos.py DIRECTORY STORES SEED; it prints its counts as JSON.
"""

import contextlib
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import snappy

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError
from rondo_core.storage.directory import create

PROTOCOL = Path(__file__).parents[2] / "rondo_exporters" / "prometheus" / "tests" / "remote_write_pb2.py"
WriteRequest = runpy.run_path(str(PROTOCOL))["WriteRequest"]
S = 10**9
SCHEMAS = [Schema("c", "counter", 2, (Tier("1s", "1h"),))]
MODES = ("well", "well", "well", "not now", "too many", "drips", "vanishes", "takes and vanishes")
RECEIVERS = ("near", "far")
AS_ANYONE = "--as-anyone"


class Receiver:
    """Takes remote-write on a port of its own, in whatever mode it is in.

    Attributes: `taken`: {name of a store: {time in ms: value}}; `different`: what came again with another value, and both.
    """

    def __init__(self):
        self.mode, self.taken, self.different, self.answers = "well", {}, [], Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with contextlib.suppress(OSError):
                    outer.answer(self, WriteRequest.FromString(snappy.decompress(body)))

        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close = True, False

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/v1/write"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, handler, request):
        """Take it or not, and answer as the mode is."""
        mode = self.mode
        self.answers[mode] += 1
        refused = any(label.name == "poison" for series in request.timeseries for label in series.labels)
        status = {"not now": 503, "too many": 429}.get(mode, 400 if refused else 204)
        if mode == "vanishes":
            handler.close_connection = True
            return
        if status == 204:
            self._take(request)
        if mode == "takes and vanishes":
            handler.close_connection = True
            return
        text = f"HTTP/1.1 {status} so\r\nContent-Length: 0\r\n\r\n".encode()
        for byte in text if mode == "drips" else ():
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)
        handler.wfile.write(b"" if mode == "drips" else text)

    def _take(self, request):
        with self._lock:
            for series in request.timeseries:
                who = next((label.value for label in series.labels if label.name == "who"), None)
                held = self.taken.setdefault(who, {})
                for sample in series.samples:
                    if sample.value == sample.value:  # no marker of an end
                        before = held.setdefault(sample.timestamp, sample.value)
                        if before != sample.value:
                            self.different.append((who, sample.timestamp, before, sample.value))

    def close(self):
        """Take nothing any more."""
        self._server.shutdown()
        self._server.server_close()


class Agents:
    """Two agents of one directory, killed and started again."""

    def __init__(self, place, rng):
        self._place, self._rng, self._running, self.kills = place, rng, [None, None], 0

    def turn(self, *, kill):
        """Start those that are not there, some of which die by themselves soon; kill one now and then, if so."""
        for at, each in enumerate(self._running):
            if each is None or each.poll() is not None:
                fault = f"*:{self._rng.randint(5, 600)}" if self._rng.random() < 0.5 else ""
                self.kills += each is not None
                self._running[at] = self.start("--config", f"{self._place}/rondo.toml", fault=fault)
            elif kill and self._rng.random() < 0.05:
                os.kill(each.pid, signal.SIGKILL)
                each.wait()

    def start(self, *arguments, fault="", **options):
        """Start an agent that has no more power over files than anyone."""
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        return subprocess.Popen(
            [sys.executable, __file__, AS_ANYONE, fault, "agent", f"{self._place}/stores", *arguments],
            stdin=subprocess.DEVNULL,
            **options,
        )

    def stop(self):
        """Kill both."""
        for each in self._running:
            if each is not None:
                each.kill()
                each.wait()


def as_anyone(fault, arguments):
    """Become the command, armed with a fault, without the power over files that root has and others have not."""
    if not os.geteuid():
        import ctypes

        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, out of the bounding set
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
    code = f"from rondo_core import faults; faults.arm({fault!r}); from rondo_cli.main import main; main()"
    os.execv(sys.executable, [sys.executable, "-c", code, *arguments])


class Chaos:
    """The stores, and what is known of each.

    Attributes: `held`: {name: {time in ms: value}}, what was recorded and has to arrive; `kept`: stores that must not go.
    `_cut`: {name: time in ms} of the record call that a kill may have cut short, or just not: it landed or it did not.
    `_opened`: {name: time in ms} of the newest record call of each that a process wrote just now: an agent may have sent
    that second as the last of a dead store, so nothing is recorded into it or the next (docs/limits.md).
    """

    def __init__(self, place, count, seed):
        self.place, self.stores, self._left = place, place / "stores", count
        self._rng = random.Random(seed)
        self.held, self.kept, self.done = {}, set(), Counter()
        self._forbidden, self._opened, self._live, self._open, self._cut = [], {}, {}, [], {}
        self._number, self._kinds = 0, []
        for name in ("stores", "staging", "lines"):
            (place / name).mkdir(parents=True)

    def turn(self):
        """Make a store, and do something to another."""
        if self._left > 0 and self._rng.random() < 0.4:
            self._left -= 1
            if not self._kinds:  # of each so many, in random order
                make = (self.closed, self.closed, self.killed, self.anew, self.anew, self.poisoned, self.damaged)
                self._kinds = self._rng.sample((*make, self.live, self.unborn), len(make) + 2)
            self._kinds.pop()()
        more = (
            self.rename,
            self.open_again,
            self.let_go,
            self.forbid,
            self.allow,
            self.allow,
            self.end_live,
            self.swap,
        )
        self._rng.choice(more)()
        return self._left > 0

    def settle(self):
        """Put an end to all that goes on."""
        while self._live:
            self.end_live()
        while self._forbidden:
            self.allow()
        while self._open:
            self.let_go()

    # -- what stores are made

    def closed(self):
        """One that was closed."""
        who = self._name()
        self._record(self.place / "staging" / who, who)
        self._put(who)

    def killed(self):
        """One whose process was killed."""
        who = self._name()
        samples = self.held[who] = self._samples()
        child = os.fork()
        if not child:
            try:
                self._record(self.place / "staging" / who, who, samples, close=False)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        self._put(who)

    def anew(self):
        """One at the path at which others were, and may still be."""
        who = self._name()
        self._record(self.place / "staging" / who, who)
        wanted = self.stores / "job.rondo"
        if wanted not in {store.path for store in self._open}:
            with contextlib.suppress(OSError):
                wanted.rename(self.stores / f"former-{who}.rondo")
        self._put(who, wanted)

    def poisoned(self):
        """One of which a part is refused for good."""
        who = self._name()
        self._record(self.place / "staging" / who, who, poison="yes")
        self.kept.add(who)
        self._put(who)

    def damaged(self):
        """One that cannot be read."""
        who = self._name()
        path = self.place / "staging" / who
        self._record(path, who)
        del self.held[who]
        victim = self._rng.choice(("meta", "runs", "series", "c.0.slab"))
        os.truncate(path / victim, self._rng.choice((0, 100)))
        self.kept.add(who)
        self._put(who)

    def unborn(self):
        """One whose process was killed as it made it."""
        who = self._name()
        create(self.place / "staging" / who, SCHEMAS, wall_ns())
        (self.place / "staging" / who / "name").write_text(who)
        self._put(who)

    def live(self):
        """One that a process writes, until it is killed."""
        who = self._name()
        parent, child = os.getpid(), os.fork()
        if not child:
            try:
                self._write(parent, self.stores / f"{who}.rondo", who)
            finally:
                os._exit(1)
        self._live[who] = child
        self.held.setdefault(who, {})

    # -- what happens to them

    def rename(self):
        """Give one another name, or another directory."""
        path = self._any()
        if path is not None:
            where = self.stores / self._rng.choice(("", "deeper", "far/away"))
            where.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                path.rename(where / f"{self._rng.randrange(10**9)}.rondo")
                self.done["renamed"] += 1

    def swap(self):
        """Let two change places."""
        one, other = self._any(), self._any()
        if one is not None and other not in {None, one}:
            with contextlib.suppress(OSError):
                aside = self.place / "staging" / "aside"
                one.rename(aside)
                with contextlib.suppress(OSError):
                    other.rename(one)
                aside.rename(other if not other.exists() else self.stores / f"{self._rng.randrange(10**9)}.rondo")

    def open_again(self):
        """Record one more sample into one that was closed or killed, and keep it open for a while or not."""
        path = self._any()
        if path is None:
            return
        with contextlib.suppress(OSError, RondoError, StopIteration):
            now = wall_ns()
            store = Store(path, create_missing=False, clock=lambda: now)
            self._open.append(store)
            who = next(dict(each.labels)["who"] for each in store.view.registry if each.name == "c_total")
            stamp = now // S * 1000
            if who in self.held and stamp > self._opened.get(who, 0) + 1000:
                counter, held = store.counter("c_total", who=who), self.held[who]
                if (cut := self._cut.pop(who, None)) and counter.value == max(held.values(), default=0.0) + 1:
                    held[cut] = counter.value
                counter.inc()
                held[stamp] = max(held.values(), default=0.0) + 1
                self._opened[who] = stamp
                self.done["opened again"] += 1
            if self._rng.random() < 0.5:
                self._open.pop().close()

    def let_go(self):
        """Close one of those that were kept open."""
        if self._open:
            self._open.pop(self._rng.randrange(len(self._open))).close()

    def forbid(self):
        """Make one, or a file of it, someone else's."""
        path = self._any()
        if path is None:
            return
        victim = self._rng.choice((path, path / "lock", path / "meta", path / "c.0.slab"))
        with contextlib.suppress(OSError):
            descriptor = os.open(victim, os.O_RDONLY)
            self._forbidden.append(descriptor)
            if not os.geteuid():
                os.fchown(descriptor, 65534, 65534)
            os.fchmod(descriptor, 0o000 if os.geteuid() else 0o700)
            self.done["forbidden"] += 1

    def allow(self):
        """Give one of those back."""
        if self._forbidden:
            descriptor = self._forbidden.pop(self._rng.randrange(len(self._forbidden)))
            if not os.geteuid():
                os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, 0o755)
            os.close(descriptor)

    def end_live(self):
        """Kill a writing process, and take up what it says that it had recorded."""
        if self._live:
            who = self._rng.choice(sorted(self._live))
            child = self._live.pop(who)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines = (
                (self.place / "lines" / who).read_text().splitlines() if (self.place / "lines" / who).exists() else []
            )
            for stamp, *values in map(str.split, lines):  # said twice: before the call, and after it
                self._cut[who] = self._opened[who] = int(stamp)
                if values:
                    self.held[who][int(stamp)] = float(*values)
                    del self._cut[who]

    # -- how

    def _name(self):
        self._number += 1
        return f"s{self._number}"

    def _samples(self):
        begin = (wall_ns() // S - 40) * 1000
        return {begin + 1000 * second: float(second + 1) for second in range(20)}

    def _record(self, path, who, samples=None, *, close=True, **more):
        self.held[who] = samples or self._samples()
        clock = ManualClock(min(self.held[who]) * 10**6)
        store = Store(path, SCHEMAS, clock=clock)
        for _ in self.held[who]:
            store.counter("c_total", who=who).inc()
            if more:
                store.counter("c_total", who=f"{who}-", **more).inc()
            store.tick()
            clock.advance(1)
        (path / "name").write_text(who)
        if close:
            store.close()

    def _write(self, parent, path, who):
        store = Store(path, SCHEMAS)
        counter, value, lines = (
            store.counter("c_total", who=who),
            0,
            os.open(self.place / "lines" / who, os.O_WRONLY | os.O_CREAT),
        )
        last = 0
        while os.getppid() == parent:
            now = wall_ns()
            if now // S > last:
                last, value = now // S, value + 1
                os.write(lines, f"{last * 1000}\n".encode())
                counter.inc(1.0, now)
                os.write(lines, f"{last * 1000} {value}\n".encode())
                store.tick()
            time.sleep(0.01)

    def _put(self, who, wanted=None):
        self.done["made"] += 1
        where = wanted or self.stores / f"{who}.rondo"
        with contextlib.suppress(OSError):
            (self.place / "staging" / who).rename(where)
            return
        (self.place / "staging" / who).rename(self.stores / f"{who}-again.rondo")

    def _any(self):
        live = {*(self.stores / f"{who}.rondo" for who in self._live), *(store.path for store in self._open)}
        paths = [path for path in holding(self.stores, "runs") if path not in live and path.suffix == ".rondo"]
        return self._rng.choice(paths) if paths else None


def judge(chaos, receivers, *, whole):
    """Count what is missing and what is different in the receivers, and what is gone without having arrived.

    Under `odd`: each that is different, as name, time, and the two values.
    """
    counts, odd = Counter(), [each for receiver in receivers.values() for each in receiver.different]
    names = {who for path in holding(chaos.stores, "series", "name") for who in _who(path)}
    for who, samples in chaos.held.items():
        for receiver in receivers.values():
            taken = receiver.taken.get(who, {})
            missing = [stamp for stamp in samples if stamp not in taken]
            odd += [(who, at, value, taken[at]) for at, value in samples.items() if taken.get(at, value) != value]
            counts["missing"] += len(missing) if whole and who not in chaos.kept else 0
            counts["deleted without acknowledgement"] += bool(missing) and who not in names
    counts["deleted without acknowledgement"] += sum(1 for who in chaos.kept if who not in names)
    counts["different"] = len(odd)
    return counts, odd


def holding(directory, *names):
    """Give the directories below one that hold any of these files, while others come and go."""
    return sorted(Path(path) for path, _, files in os.walk(directory) if any(name in files for name in names))


def cursors(path):
    """Read what the exporters' cursors of a store say."""
    return [each.read_text() for each in path.glob("cursor_*.json")]


def _who(path):
    """Name the store that lies in a directory, damaged or not: by a mark of the test's own, where that was left."""
    with contextlib.suppress(OSError):
        yield (path / "name").read_text()
        return
    with contextlib.suppress(OSError):
        data = (path / "series").read_bytes()
        at = data.find(b"who")
        if at >= 0:
            yield data[at + 4 : at + 4 + (data[at + 3] & 31)].decode()


def configure(place, receivers, *, timeout_s, deadline_s):
    """Write the agents' config."""
    settings = f'[agent]\nafter = "delete"\ninterval = "300ms"\ndeadline = "{deadline_s}s"\n'
    options = f'plugin = "prometheus"\nprotocol = "1.0"\ntimeout = "{timeout_s}s"\nmatch = "c_total"\n'
    tables = [f'[exporters.{name}]\n{options}url = "{each.url}"\n' for name, each in receivers.items()]
    (place / "rondo.toml").write_text(settings + "".join(tables))


def main(place, count, seed):
    """Let it all happen, and say how it ended."""
    place, rng = Path(place), random.Random(seed)
    receivers = {name: Receiver() for name in RECEIVERS}
    chaos = Chaos(place, count, seed)
    configure(place, receivers, timeout_s=1, deadline_s=5)
    agents = Agents(place, rng)
    try:
        going = True
        # On a busy machine agents have hardly begun when all stores are made: some are to meet a receiver at its worst,
        # and some their own end.
        while going or not agents.kills or not any(each.answers.keys() - {"well"} for each in receivers.values()):
            going = chaos.turn()
            agents.turn(kill=going or not agents.kills)
            for each in receivers.values():
                each.mode = rng.choice(MODES) if rng.random() < 0.1 else each.mode
            time.sleep(rng.uniform(0.0, 0.15))
        chaos.settle()
        agents.stop()
        early, _ = judge(chaos, receivers, whole=False)
        for each in receivers.values():
            each.mode = "well"
        configure(place, receivers, timeout_s=60, deadline_s=120)  # a busy machine is no fault any more
        said = []
        for _ in range(6):
            done = agents.start(
                "--once", "--config", f"{place}/rondo.toml", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            said.append(done.communicate())
        late, odd = judge(chaos, receivers, whole=True)
    finally:
        agents.stop()
        chaos.settle()
        for each in receivers.values():
            each.close()
    late["deleted without acknowledgement"] += early["deleted without acknowledgement"]
    left = sum(path.suffix == ".rondo" for path in holding(chaos.stores, "runs"))  # none that was never finished
    surplus = [
        {
            "path": str(path),
            "files": {each.name: each.stat().st_size for each in path.iterdir()},
            "cursors": cursors(path),
        }
        for path in holding(chaos.stores, "runs")
        if path.suffix == ".rondo" and not chaos.kept.intersection(_who(path))
    ]
    answers = sum((each.answers for each in receivers.values()), Counter())
    return {
        **{name: late[name] for name in ("missing", "different", "deleted without acknowledgement")},
        "odd": odd,
        "stores": count,
        "samples": sum(map(len, chaos.held.values())),
        "agents killed": agents.kills,
        "left": left,
        "to be kept": len(chaos.kept),
        "done": dict(chaos.done),
        "answers": dict(answers),
        "said": said,
        "surplus": surplus,
    }


if sys.argv[1] == AS_ANYONE:
    as_anyone(sys.argv[2], sys.argv[3:])
if __name__ == "__main__":
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), indent=1))
