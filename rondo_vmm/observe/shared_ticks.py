"""Ticks of all machines of a process from one thread, just after each second of the wall clock begins.

A thread each would wake, cold, as many times a second as there are machines, and the interpreter would go from one to
the other at every call into the kernel. Where there are several, a second thread looks in the middle of each second
whether one of them holds the ticks up: the others then have theirs from threads of their own, and the next second's
from a new one for all.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import one_line
from rondo_vmm.observe.ticks import until_next_second_s

HELD_UP_S = 0.5  # so long may the ticks of a second take before no machine waits for another's any more


@contextlib.contextmanager
def ticked(tick: Callable[[int], object], begun_ns: int) -> Iterator[None]:
    """Call `tick(now_ns)` just after each second begins, from that of `begun_ns` on, while the block runs.

    Where a tick takes longer, the next follows at once: the second in which it ended has one too. One that is under way
    at the end of the block is waited for. What `tick` raises is logged once, and the next second has a tick all the
    same.
    Raises: RuntimeError: no thread can be had.
    """
    global _rounds  # noqa: PLW0603 - the process's own
    machine = _Machine(tick, begun_ns)
    with _joining:
        rounds = _rounds or _Rounds()
        rounds.add(machine)
        _rounds = rounds
    try:
        yield
    finally:
        machine.end()
        with _joining:
            rounds.machines = tuple(each for each in rounds.machines if each is not machine)
            over = not rounds.machines and rounds is _rounds
            if over:
                _rounds = None
        if over:
            rounds.end()


class _Machine:
    """What is ticked: once a second, by one thread at a time."""

    def __init__(self, tick: Callable[[int], object], begun_ns: int) -> None:
        self._call, self._second = tick, begun_ns // NS_PER_S
        self._ended = self._failed = False
        self.free()

    def free(self) -> None:
        """Have no tick under way, as in a child process."""
        self._turn = threading.Lock()

    def is_due(self) -> bool:
        """Say whether a second has begun since the last tick did, and that one is over."""
        return wall_ns() // NS_PER_S != self._second and not self._turn.locked()

    def tick(self) -> None:
        """Tick where a second has begun since the last time, unless another thread is at it."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            while (now_ns := wall_ns()) // NS_PER_S != self._second and not self._ended:
                self._second = now_ns // NS_PER_S
                self._call(now_ns)
        except Exception as error:  # noqa: BLE001 - the others are ticked whatever befell this one
            if not self._failed:
                self._failed = True
                import logging  # it takes long, and a machine begins with this module

                logging.getLogger("rondo.vmm").warning("tick: %s", one_line(error))
        finally:
            self._turn.release()

    def end(self) -> None:
        """Be ticked no more; wait for a tick that is under way."""
        self._ended = True
        with self._turn:
            pass


class _Rounds:
    """The machines that there are, and the threads that tick them and look after that.

    Attributes: `machines`: replaced, never changed in place, as threads walk over it.
    """

    def __init__(self) -> None:
        self.machines: tuple[_Machine, ...] = ()
        self._over = threading.Lock()  # free when the threads are to end; an Event would make a lock for each wait
        self._over.acquire()
        self._ticking: _Ticking | None = None
        self._watching: threading.Thread | None = None

    def add(self, machine: _Machine) -> None:
        """Tick a machine too. Raises: RuntimeError: no thread can be had."""
        if self._ticking is None:
            ticking = _Ticking(self)
            ticking.start()
            self._ticking = ticking
        elif self._watching is None:
            watching = threading.Thread(target=self._watch, name="rondo-vmm-watch", daemon=True)
            with contextlib.suppress(RuntimeError):  # done without, then
                watching.start()
                self._watching = watching
        self.machines += (machine,)

    def is_over(self, wait_s: float) -> bool:
        """Wait that long at most; say whether there are no machines any more."""
        over = self._over.acquire(timeout=wait_s)
        if over:
            self._over.release()
        return over

    def end(self) -> None:
        """End the threads, and wait for that."""
        self._over.release()
        for thread in (self._ticking, self._watching):
            if thread is not None:
                thread.join()

    def _watch(self) -> None:
        wait_s = HELD_UP_S
        while not self.is_over(wait_s):
            began_s = self._ticking.began_s if self._ticking else 0.0
            held_s = time.monotonic() - began_s if began_s else 0.0
            if held_s >= HELD_UP_S:
                self._pass_by()
            in_round = 0 < held_s < HELD_UP_S
            wait_s = HELD_UP_S - held_s if in_round else until_next_second_s(wall_ns()) + HELD_UP_S

    def _pass_by(self) -> None:
        """Leave the thread that ticks to the machine that holds it up, and tick the others."""
        with contextlib.suppress(RuntimeError):  # no thread can be had now: in the next second, perhaps
            ticking = _Ticking(self)
            ticking.start()
            if self._ticking is not None:
                self._ticking.replaced = True
            self._ticking = ticking
            for machine in self.machines:
                if machine.is_due():
                    threading.Thread(target=machine.tick, name="rondo-vmm-tick", daemon=True).start()


class _Ticking(threading.Thread):
    """Ticks one machine after the other, each second, until there is none or another thread does.

    Attributes: `began_s`: when the round that it is in began, monotonic; 0 between rounds. `replaced`: another does.
    """

    def __init__(self, rounds: _Rounds) -> None:
        super().__init__(name="rondo-vmm-tick", daemon=True)
        self._rounds = rounds
        self.began_s, self.replaced = 0.0, False

    def run(self) -> None:
        begun_ns = wall_ns()
        while not self.replaced and not self._rounds.is_over(until_next_second_s(begun_ns)):
            begun_ns, self.began_s = wall_ns(), time.monotonic()
            for machine in self._rounds.machines:
                if self.replaced:
                    return
                machine.tick()
            self.began_s = 0.0


_joining = threading.Lock()
_rounds: _Rounds | None = None


def _in_child() -> None:
    """Have no threads, and wait for none."""
    global _joining, _rounds
    for machine in _rounds.machines if _rounds else ():
        machine.free()
    _joining, _rounds = threading.Lock(), None


os.register_at_fork(after_in_child=_in_child)
