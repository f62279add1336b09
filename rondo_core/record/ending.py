"""The end of this process, as far as the interpreter shows it, for the stores that are open then.

atexit runs what is registered here last of all that a program registers after it has imported rondo: its own callbacks
may still record. Who ended the program is read off the exception hooks, which are chained before a program's own, and
off the exception of `sys.exit`, which the interpreter releases when no frame of the program is left. All of it is in
place while a store is open, and taken back with the last one. A signal without a handler, os._exit, exec and a
crash leave nothing: the run is then gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from opcode import opname
from types import FrameType
from typing import Any, Protocol

from rondo_core.forking import at_fork
from rondo_core.record import end_words
from rondo_core.record.end_words import EXITED, RETURNED

_LAST = -1000  # of multiprocessing's finalizers: all others first


class RecordedStore(Protocol):
    """An open store, as the process's end sees it."""

    def end_with_process(self, ended: str) -> None:
        """Close it, without waiting for what does not end; nothing is raised."""

    def note_failure(self, error: BaseException, where: str) -> None:
        """Put on record an exception that nobody caught, and that did not end the program."""


class _Hook:
    """A hook of the interpreter that tells `note` first and then does what was there before."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.before = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *given: Any) -> Any:
        with contextlib.suppress(Exception):  # it must not take the place of what the hook is called for
            self.note(*given)
        return self.before(*given)

    def note(self, *given: Any) -> None:
        """Take note of what the hook was called with."""

    def restore(self) -> None:
        """Take the hook out again, unless the program has put its own before it."""
        if getattr(self.owner, self.name, None) is self:
            setattr(self.owner, self.name, self.before)


class _Uncaught(_Hook):
    """sys.excepthook: the exception that ends the program, those at a prompt, and whatever a program calls it with."""

    def note(self, _kind: object, error: BaseException, trace: Any = None) -> None:
        # The interpreter sets `last_value` just before it calls the hook; whoever else calls it does not.
        if getattr(sys, "last_value", None) is error and not _is_interactive():
            _process.ended = end_words.of_error(error, trace)
        _note_uncaught(error, "the program")


class _InThread(_Hook):
    """threading.excepthook: a thread ends, and the program goes on."""

    def note(self, given: Any) -> None:
        if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
            _note_uncaught(given.exc_value, f"thread {given.thread.name}" if given.thread is not None else "a thread")


class _Unraisable(_Hook):
    """sys.unraisablehook: in a finalizer, for example; the program goes on."""

    def note(self, given: Any) -> None:
        if given.exc_value is not None:
            _note_uncaught(given.exc_value, "a finalizer" if given.err_msg is None else str(given.err_msg))


class _Exit(_Hook):
    """sys.exit, whose exception says when it is released what released it."""

    def __call__(self, *given: Any) -> Any:
        try:
            return self.before(*given)
        except SystemExit as error:
            error.__dict__["_rondo"] = _Released(error.code)
            raise


class _Released:
    """What an exit's exception holds: it goes with the exception."""

    def __init__(self, code: object) -> None:
        caller: FrameType | None = sys._getframe(2)  # noqa: SLF001 - who called sys.exit
        frames = []
        while caller is not None:
            frames.append(caller)
            caller = caller.f_back
        number = end_words.signal_among(frames)
        self.at = _process.main.f_lasti if _process.main is not None else 0
        self.ended = (f"signal {number}, " if number else "") + end_words.of_exit(code)

    def __del__(self) -> None:
        """Take it for the program's end where no frame is left of it; one that was caught is released by a frame."""
        try:
            sys._getframe(1)  # noqa: SLF001 - there is no other way to ask
        except ValueError:
            main = _process.main
            here = threading.get_ident() == threading.main_thread().ident and not _is_interactive()
            if here and (main is None or main.f_lasti == self.at):  # else the program went on after it
                _process.ended = _process.ended or self.ended  # the one that an exit was raised over goes after it

    def __reduce__(self) -> tuple[type[str], tuple[()]]:
        """Stay in this process, wherever the exception is sent."""
        return str, ()


class _ProcessEnd:
    """What is known of this process's end; a forked child begins with nothing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.stores: list[weakref.ref[Any]] = []
        self.hooks: list[_Hook] = []
        self.main: FrameType | None = None
        self.ended = ""
        self.is_worker: bool | None = None  # of multiprocessing's, which may end without atexit; None: not known yet


_process = _ProcessEnd()
_pid = os.getpid()  # stays the parent's where a fork told no one, as uWSGI's does


def watch(store: RecordedStore) -> None:
    """Close the store when the process ends, and put on its record how."""
    with _process.lock:
        _process.stores = [each for each in _process.stores if each() is not None]
        _process.stores.append(weakref.ref(store))
        if not _process.hooks:
            _process.hooks = [
                _Uncaught(sys, "excepthook"),
                _InThread(threading, "excepthook"),
                _Unraisable(sys, "unraisablehook"),
                _Exit(sys, "exit"),
            ]
        if _process.main is None:
            _process.main = _program()
        if _process.is_worker is None:
            _process.is_worker = _watch_worker()


def unwatch(store: RecordedStore) -> None:
    """Leave a store alone that has ended; with the last one the hooks go too."""
    with _process.lock:
        _process.stores = [each for each in _process.stores if each() not in {None, store}]
        if not _process.stores:
            _process.main = None  # a frame holds what the program knows, this module goes last: it would be freed late
            while _process.hooks:
                _process.hooks.pop().restore()


def known() -> str:
    """Say how the process is ending; empty while nothing ends it."""
    return _process.ended


def how() -> str:
    """Say how the process ended, when it has come to its last callbacks."""
    if _process.is_worker:
        error = sys.exc_info()[1]  # it is on its way through the caller of the worker's last callbacks
        return RETURNED if error is None else end_words.of_error(error)
    if _process.ended or _is_interactive():
        return _process.ended or RETURNED
    main = _process.main
    if main is None:
        return EXITED
    if "RETURN" in opname[main.f_code.co_code[main.f_lasti]]:
        return RETURNED
    last = getattr(sys, "last_value", None)  # a hook of the program's own stood alone
    return EXITED if last is None else end_words.of_error(last)


def _close_all() -> None:
    """End every store that is open, in the order of their opening."""
    _end(how())


def _end(ended: str) -> None:
    for each in tuple(_process.stores):
        store = each()
        if store is not None:
            store.end_with_process(ended)


def _note_uncaught(error: BaseException, where: str) -> None:
    for each in tuple(_process.stores):
        store = each()
        if store is not None:
            store.note_failure(error, where)


def _program() -> FrameType | None:
    """Find the frame of the program itself, in the main thread: after the end it tells whether it was returned from.

    Where a fork told no one, the interpreter still lists the parent's threads, whose frames are no more: looking at
    them would end the process.
    """
    frame: FrameType | None = None
    if threading.get_ident() == threading.main_thread().ident:
        frame = sys._getframe()  # noqa: SLF001 - documented
    elif _pid == os.getpid():
        frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    if frame is None:
        return None
    is_main = frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__"
    return frame if is_main or frame.f_globals.get("__name__") == "runpy" else None


def _is_interactive() -> bool:
    """Say whether there is a prompt, or will be one after the program: an exception there ends nothing."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or bool(os.environ.get("PYTHONINSPECT"))


def _watch_worker() -> bool:
    """Have a worker of multiprocessing call what an interpreter's end would; say whether this process is one."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is None or util is None:  # those who begin a worker, and what begins in one, have both
        return False
    if process.parent_process() is None:
        # A worker that still imports the program, or reads what it is to do, does not know yet that it is one, and
        # forgets its finalizers when it does.
        util.register_after_fork(_process, _begin_worker)
        return False
    util.Finalize(None, _close_all, exitpriority=_LAST)
    atexit.unregister(_close_all)
    atexit.register(_close_all)  # multiprocessing clears what its child has of its parent's
    return True


def _begin_worker(own: _ProcessEnd) -> None:
    if own is _process:
        own.is_worker = _watch_worker()


def _in_child() -> None:
    global _process, _pid  # a lock may be held by a thread that the child has not
    hooks, _process, _pid = _process.hooks, _ProcessEnd(), os.getpid()
    while hooks:
        hooks.pop().restore()


atexit.register(_close_all)
at_fork(after_in_child=_in_child)
