"""Regular expressions of strangers, by RE2: their time grows with the text that they read, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable

MAX_CHARS = 2000
# For the expression compiled: about 16,000 instructions, with which the longest value of a label takes some 50 ms.
MAX_BYTES = 1 << 20


def compile_re2(pattern: str) -> Callable[[str], bool]:
    """Give what says whether the whole of a text matches; `compiler` of `parse_selector`.

    Raises: ValueError: it is no regular expression, one that RE2 has not (`(?=`, `\\1`), or too large.
    """
    import re2

    if len(pattern) > MAX_CHARS:
        raise ValueError(f"{len(pattern)} characters; at most {MAX_CHARS}")
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_BYTES, False
    re2.purge()  # it would keep the last 128, whoever sent them
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        raise ValueError(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None
    return lambda text: compiled.fullmatch(text) is not None
