"""How a run ended, in words: the one list of them, and what is read off an exception.

docs/concepts.md explains each. Where the record of runs has no word, the process is gone, and nothing else is known.
"""

from __future__ import annotations

import signal
from types import CodeType, FrameType, TracebackType
from typing import Any

from rondo_core.errors import printable
from rondo_core.storage.runs import MAX_ENDED_BYTES

CLOSED = "closed"  # the program called `close`, or its `with` block ran to the end
RETURNED = "returned"  # the program ran to its end, with the store still open
EXITED = "exited"  # an orderly end of the interpreter; with which status, was not seen
DROPPED = "dropped without close"  # nothing referred to the store any more
_MAX_PLACE = 60


def of_exit(code: object) -> str:
    """Say with which status a SystemExit of this code ends the process: "exit status 3", "exit status 1: message"."""
    if code is None:
        return "exit status 0"
    if isinstance(code, int):
        return f"exit status {int(code) & 0xFF}"
    return cut(f"exit status 1: {_line(code)}", MAX_ENDED_BYTES)


def of_error(error: BaseException, trace: TracebackType | None = None) -> str:
    """Say what ended a program, or a block of it: an exit's status, or "raised TYPE: MESSAGE (FILE:LINE)".

    Where the handler of a signal is among the frames that it went through, or it is Ctrl-C's own exception, the signal
    comes first: "signal 15, exit status 0".
    """
    trace = trace or error.__traceback__
    number = signal_among(frames_of(trace))
    if isinstance(error, KeyboardInterrupt):
        return f"signal {number or int(signal.SIGINT)}"
    what = of_exit(error.code) if isinstance(error, SystemExit) else _raised(error, trace)
    return cut(f"signal {number}, {what}" if number else what, MAX_ENDED_BYTES)


def place_of(trace: TracebackType | None) -> str:
    """Name the file and line where an exception was raised, the innermost of its traceback; empty where it has none."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    where = f"{printable(file)}:{trace.tb_lineno}"
    return where if len(where.encode()) <= _MAX_PLACE else f"...{_tail(where, _MAX_PLACE - 3)}"


def message_of(error: BaseException) -> str:
    """Give an exception's type and message on one line."""
    text = _line(error)
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


def signal_among(frames: list[FrameType]) -> int:
    """Tell of which signal one of these frames runs the handler, as handlers stand now; 0: of none."""
    handlers = [(_code_of(signal.getsignal(number)), int(number)) for number in signal.valid_signals() if frames]
    known = {code for code, _ in handlers if code is not None}
    for frame in frames:
        if frame.f_code in known:
            # Called with the number; a method has itself before it, and a function without names a tuple of both.
            given = [frame.f_locals.get(name) for name in frame.f_code.co_varnames[:2]]
            for each in (*given, *(given[0] if given and isinstance(given[0], tuple) else ())):
                if isinstance(each, int) and (frame.f_code, int(each)) in handlers:
                    return int(each)
    return 0


def _code_of(handler: Any) -> CodeType | None:
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return code if isinstance(code, CodeType) else None


def frames_of(trace: TracebackType | None) -> list[FrameType]:
    """Give the frames that an exception went through."""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def cut(text: str, size_bytes: int) -> str:
    """Cut a text to as many bytes of UTF-8, three of them dots."""
    data = text.encode(errors="replace")
    return text if len(data) <= size_bytes else data[: size_bytes - 3].decode(errors="ignore") + "..."


def _raised(error: BaseException, trace: TracebackType | None) -> str:
    place = place_of(trace)
    after = f" ({place})" if place else ""
    return cut(f"raised {message_of(error)}", MAX_ENDED_BYTES - len(after.encode())) + after


def _line(value: object) -> str:
    """Give what an object says of itself, on one line; nothing where it raises."""
    try:
        return printable(" ".join(str(value).split()))
    except Exception:  # noqa: BLE001 - whatever a stranger's __str__ raises
        return ""


def _tail(text: str, size_bytes: int) -> str:
    return text.encode()[-size_bytes:].decode(errors="ignore")
