"""Regular expressions of strangers: matched in bounded time, or refused in words."""

import pytest

from rondo_web.reading.regex import compile_re2


def test_re2_takes_what_strangers_send():
    """What backtracks elsewhere is matched or refused; what RE2 has not, and what is too large, is said to be so."""
    text = "a" * 1000 + "!"
    for pattern in ("(a+)+$", "([a-z_]+)+!", "(a|a)*!", "(.*a){20}", r"(\w+\s?)*!", "(?:a{0,30}){0,30}b"):
        assert compile_re2(pattern)(text) == (pattern in {"([a-z_]+)+!", "(a|a)*!", r"(\w+\s?)*!"}), pattern
    for pattern in (
        r"(a)\1",
        "(?=a)",
        "(?<!a)",
        "(?>a)",
        "a++",
        "a{2000}",
        "(?:a{0,1000}){0,1000}",
        "[",
        "(" * 1500,
        "a" * 2001,
        "\udcff",
    ):
        with pytest.raises(ValueError, match=r"\S"):
            compile_re2(pattern)
    assert compile_re2("дом.+")("домовой")
    assert not compile_re2("a")("a\n")
