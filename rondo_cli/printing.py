"""What a command says: words of rondo's own with what strangers wrote in them made harmless, and data as they are.

A label, a help text, a guest's line, a receiver's answer or a file's name may hold what steers a terminal, turns the
direction of text or begins a line of its own. In words, it is shown as an escape; in data, it is data.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable

import click

from rondo_core.errors import printable


def say(line: str, *, err: bool = False) -> None:
    """Print one line, which stays one whatever is in it."""
    _echo(printable(line), err)


def show(block: str, *, err: bool = False) -> None:
    """Print lines that were put together here; a value in them that has lines itself was made `printable` before."""
    _echo("\n".join(map(printable, block.split("\n"))), err)


def data(text: str) -> None:
    """Print what is for programs, as UTF-8, and nothing of it changed: to a pipe, a file or a terminal."""
    out = sys.stdout
    if not hasattr(out, "buffer"):
        out.write(f"{text}\n")
        return
    out.flush()
    out.buffer.write(f"{text}\n".encode(errors="backslashreplace"))
    out.buffer.flush()


def show_usage_error(error: click.ClickException) -> None:
    """Say what is wrong with a command line, as click does; where a command is missing, the help says all."""
    ctx = getattr(error, "ctx", None)
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        show(error.format_message(), err=True)
        return
    if ctx is not None:
        show(f"{ctx.get_usage()}\nTry '{ctx.command_path} {ctx.help_option_names[-1]}' for help.\n", err=True)
    said = error.format_message()
    if not isinstance(error, click.MissingParameter):  # which quotes nobody, and lists what can be chosen
        said = printable(said)
    show(f"Error: {said.expandtabs(4)}", err=True)


def guest_line(line: bytes) -> bytes:
    """Give a line of a guest's console as it may be shown on standard output: on a terminal as text."""
    return printable(line.decode(errors="backslashreplace").rstrip("\r")).encode() if sys.stdout.isatty() else line


class GuestText:
    """Passes on what a guest's console writes, to a terminal on which nobody types to it: text, and ends of lines."""

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        """Begin a line; `sink` takes what is harmless."""
        self._sink = sink
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def __call__(self, data: bytes) -> None:
        """Take what came, which may end within a character."""
        text = self._decoder.decode(data).replace("\r", "").replace("\t", "    ")
        self._sink("\n".join(map(printable, text.split("\n"))).encode())


def _echo(text: str, err: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)
