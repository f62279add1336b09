"""What a job wrote before its end: a Python traceback, a limit or an error by its words, faulthandler's dump."""

from __future__ import annotations

import re

import attrs

_HEAD = "Traceback (most recent call last):"
_ERROR = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_GROUP = "  + Exception Group Traceback (most recent call last):"
_GROUP_ERROR = re.compile(r"  \| (?P<error>[A-Za-z_][\w.]*: .*)$")
_PLACE = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+)')
_LIBRARY = re.compile(r"/lib(?:64)?/python\d|/(?:site|dist)-packages/|^<frozen ")
_ENDS_NOTHING = ("Exception in thread", "Exception ignored in")  # said before the traceback of such an exception
_NEAR_END = 8  # lines of output that may follow the traceback that ended a program: of its parent, or a build tool
_FATAL = "Fatal Python error: "
# What strerror says, the limit that it means, and of which one has to be of a fork: others say it too.
LIMITS = (
    ("Too many open files", "NOFILE", "open files of a process"),
    ("No space left on device", "", "space of the disk"),
    ("Disk quota exceeded", "", "the disk's quota"),
    ("File too large", "FSIZE", "the size of a file"),
    ("can't start new thread", "NPROC", "threads of the user, or of the control group"),
    ("Resource temporarily unavailable", "NPROC", "processes of the user, or of the control group"),
    ("Cannot allocate memory", "AS", "address space, or memory of the machine"),
    ("virtual memory exhausted", "AS", "address space, or memory of the machine"),
    ("java.lang.OutOfMemoryError", "", "the heap that Java was given, -Xmx"),
)

# FILE:LINE: error, as compilers and linters have it, whatever signs are between.
_ERROR_AT = re.compile(r"\s*[^\s:(]+[:(]\d+(?:[:,]\d+)?\)?[:\s-]+(?:fatal )?error\b")
# A line that calls itself an error, or what shells, make and npm say of one.
_ERROR_WORD = re.compile(
    r"(?:^|[\s:\[(])(?:(?:error|fatal|panic|Error)(?:\[\w+\])?(?:[:!\]]| at |$)"
    r"|(?:ERROR|FATAL|CRITICAL|FAILED|FAIL)\b|E: )"
    r"|ERR!|command not found|undefined reference|: \*\*\* "
)
_NEAR_LINES = 30  # the last ones, in which an error that is only called so may be what ended it


@attrs.frozen
class TellingLine:
    """What says most of why a job failed. Attributes: `where`: "standard error says", or "ends in"; `line`."""

    where: str
    line: str


@attrs.frozen
class Traceback:
    """The last traceback of a text.

    Attributes: `error`: type and message; `place`: FILE:LINE of its innermost frame, in the program's own
        files where one is; `text`: all of it, as it was
        written; `at_end`: whether little was written after it; `ends_program`: no, where it is said to be a thread's or
        to be ignored.
    """

    error: str
    place: str
    text: str
    at_end: bool
    ends_program: bool = True


def last_traceback(text: str) -> Traceback | None:
    """Find the last whole traceback; None where there is none."""
    lines = text.splitlines()
    group = max((index for index, line in enumerate(lines) if line == _GROUP), default=None)
    if group is not None and (found := _last_group(lines, group)) is not None:
        return found
    heads = [index for index, line in enumerate(lines) if line.strip().endswith(_HEAD)]
    for head in reversed(heads):
        for index in range(head + 1, len(lines)):
            line = lines[index]
            if line[:1] in {" ", "\t"} or not line.strip():
                continue
            if _ERROR.match(line) is None:
                break
            near = len([each for each in lines[index + 1 :] if each.strip()]) <= _NEAR_END
            block = "\n".join(lines[head : index + 1])
            ends = not (head and lines[head - 1].lstrip().startswith(_ENDS_NOTHING))
            return Traceback(line.strip(), _place_in(lines[head:index]), block, near, ends)
    return None


def _last_group(lines: list[str], head: int) -> Traceback | None:
    """Read the traceback of an ExceptionGroup, whose lines have a margin, if no other follows it."""
    end = next((index for index in range(head, len(lines)) if not lines[index].startswith(" ")), len(lines))
    error = next((index for index in range(head, end) if _GROUP_ERROR.match(lines[index])), None)
    if error is None or any(line.startswith(_HEAD) for line in lines[end:]):
        return None
    near = len([each for each in lines[end:] if each.strip()]) <= _NEAR_END
    return Traceback(lines[error][4:].strip(), _place_in(lines[head:error]), "\n".join(lines[head:end]), near)


def _place_in(lines: list[str]) -> str:
    """Give the place of the innermost frame that is of no library, else of the innermost; empty: there is none."""
    found = [match for match in map(_PLACE.search, lines) if match]
    own = [match for match in found if not _LIBRARY.search(match["file"])]
    return next((f"{match['file']}:{match['line']}" for match in reversed(own or found)), "")


def limit_in(text: str) -> tuple[str, str, str] | None:
    """Find the limit that an error's words tell of: the words, the name in `resource`, what it limits; None: none."""
    if text.strip() == "MemoryError" or text.startswith("MemoryError:"):
        return "MemoryError", "AS", "address space"
    for words, name, what in LIMITS:
        if words in text and ("fork" in text or not words.startswith("Resource")):
            return words, name, what
    return None


def fatal_error(text: str) -> str:
    """Give the dump that Python's faulthandler wrote last, to its end; empty where there is none."""
    at = text.rfind(_FATAL)
    return "" if at < 0 else text[at:].rstrip()


def telling_line(stderr: str, stdout: str) -> TellingLine | None:
    """Give the first line with an error at a place, else one near the end that calls itself an error, else the last.

    Of each, standard error's before standard output's. None: nothing was written.
    """
    streams = [("standard error", last_lines(stderr, -1)), ("standard output", last_lines(stdout, -1))]
    for pattern, most in ((_ERROR_AT, 0), (_ERROR_WORD, _NEAR_LINES)):
        for name, lines in streams:
            found = next((line for line in lines[-most:] if pattern.search(line)), None)
            if found is not None:
                return TellingLine(f"{name} {'ends in' if found is lines[-1] else 'says'}", found.strip())
    return next((TellingLine(f"{name} ends in", lines[-1].strip()) for name, lines in streams if lines), None)


def last_lines(text: str, count: int) -> list[str]:
    """Give the last lines that are not blank; -1: all of them."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines if count < 0 else lines[-count:]
