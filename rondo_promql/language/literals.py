"""A query's text before it is parsed: string literals read by Go's rules, comments dropped, depth bounded.

promql-parser reads escapes in raw strings, takes bytes for characters, and overflows the stack of its process at some
thousand levels; so each string is read here and written again in the one form that it reads right.
"""

from __future__ import annotations

import re

from rondo_promql.errors import QuerySyntaxError

# Levels and operators of a query together, each of which the parser spends stack on; it fails at about 3,000 of 8 MB.
MAX_DEPTH = 1000
# A longer text is no query of a person's, nor of a dashboard's.
MAX_CHARACTERS = 1 << 17
# What a byte that is no UTF-8 becomes: no valid label name holds it.
NOT_UTF8 = "\ufffd"

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<raw>`[^`]*`)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<open>["'`])|(?P<at>@\s*-)|(?P<deep>[(\[{+\-*/%^=<>!,]|\b(?:and|or|unless|atan2|offset)\b)""",
    re.IGNORECASE,
)
_ESCAPE = re.compile(rb"\\(?:(x)([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_PLAIN = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b"'": 39, b'"': 34}


def normalise_text(query: str) -> str:
    """Give a query's text in the form that the parser reads right.

    Raises: QuerySyntaxError: a string that does not end, an escape that Go does not know, a text too long or too deep.
    """
    if len(query) > MAX_CHARACTERS:
        raise QuerySyntaxError(f"parse error: query of {len(query)} characters; at most {MAX_CHARACTERS} are read")
    depth = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal depth
        token = match.group()
        if match["deep"] is not None:
            depth += 1
            return token
        if match["comment"] is not None:
            return " "
        if match["raw"] is not None:
            return _quoted(token[1:-1])
        if match["text"] is not None:
            return _quoted(_unescaped(token[1:-1]))
        if match["at"] is not None:
            raise QuerySyntaxError("parse error: timestamp out of bounds for @ modifier: it is before 1970")
        raise QuerySyntaxError("parse error: unterminated quoted string")

    text = _TOKEN.sub(replace, query)
    if depth > MAX_DEPTH:
        raise QuerySyntaxError(f"parse error: query of {depth} levels and operators; at most {MAX_DEPTH} are read")
    return text


def _unescaped(text: str) -> str:
    """Read the escapes of a string in quotes; bytes that are no UTF-8 become U+FFFD."""

    def replace(match: re.Match[bytes]) -> bytes:
        hexadecimal, byte, short, long, octal, plain = match.groups()
        if hexadecimal or octal:
            return bytes([int(byte, 16) if hexadecimal else int(octal, 8) & 0xFF])
        if short or long:
            return chr(min(int(short or long, 16), 0x10FFFF)).encode("utf-8", "replace")
        if plain not in _PLAIN:
            raise QuerySyntaxError(f"parse error: unknown escape sequence U+{ord(plain):04X} in a string")
        return bytes([_PLAIN[plain]])

    return _ESCAPE.sub(replace, text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _quoted(text: str) -> str:
    """Write a string in the parser's quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
