"""The click group, and the one place that turns an error into a line and a status."""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from rondo_cli.printing import say, show_usage_error
from rondo_cli.terminal import STDOUT, prepare_streams, unstalled_stderr
from rondo_core.errors import RondoError, meant, one_line

# A password in a URL, or the value of an option that is called after a credential, unless the environment holds it.
_CREDENTIAL = re.compile(r"://[^/?#@]+@|(?:pass|token|secret|key)\w*(?<!_file)=(?!\$\{|/)[^&]")
# Each with the first sentence of its help: `rondo --help` imports none of them.
COMMANDS = {
    "agent": "Export every store below DIRECTORY through the exporters of the config file, again and again.",
    "alert": "Tell by the exit status whether EXPRESSION, in PromQL, gives a series: 0 none, 1 some do, which are "
    "printed.",
    "autopsy": "Say how LIFE ended, and the evidence for it: a life of rondo run, a program's store, or a virtual "
    "machine's.",
    "bench": "Measure rondo here; without a name, all of it.",
    "check": "Check every file, record and row of STORE, also while a process writes it; nothing is changed.",
    "compare": "Compare lives with those before: BASE and NEW are each a life, or a directory of lives.",
    "config": "Look at the config file, rondo.toml.",
    "copy": "Copy STORE, live or finished, to TO, which is made.",
    "edit": "Take the series that SELECTOR matches out of STORE, or give them another NAME.",
    "export": "Send what STORE holds and the exporter's receiver has not acknowledged yet.",
    "export-status": "Show how far each exporter of STORE, or of the stores below it, has "
    "come, and what it could not send.",
    "info": "Show what STORE is: size, tiers, who wrote it and how that ended, every series with its points, unit and "
    "help.",
    "lake": "Ask a lake of Parquet files, and keep it in order.",
    "ls": "List the stores of DIRECTORY: who writes each or how that ended, its age, series and "
    "size, and its export lag.",
    "mark": "Put on record that something happened, in the life that this shell is part of: that of `rondo run`.",
    "migrate": "Move STORE to the schemas of a file: other tiers, room for more series, other statistics.",
    "plan": "Show every tier and file of a store with its size in bytes, and how long export may fail without loss.",
    "plugin": "Begin a plugin of your own.",
    "plugins": "List the installed recorders, consolidators and exporters; or show "
    "what can be told to the plugin NAME.",
    "prune": "Fold the stores of dead processes beyond a bound into DIRECTORY/ended.rondo, and remove them.",
    "query": "Show the points of every series that SELECTOR matches, or what an expression of PromQL gives.",
    "repair": "Save what is whole of STORE into NEW_STORE, which is made; STORE is not changed.",
    "report": "Report what LIFE took, how it ended and what to change.",
    "run": "Run CMD, and record its whole process tree: what it took, and how it ended.",
    "serve": "Serve STORE, or a directory of stores, as a page for a browser and as a data source for Grafana.",
    "set": "Set a gauge of the life that this shell is part of: that of `rondo run`; it stays until it is set anew.",
    "top": "Show each EXPRESSION of PromQL as a column, series by series, with a sparkline of the one that sorts.",
    "vmm": "Run a virtual machine, its serial console on standard output.",
    "watch": "Record virtual machines that QEMU or Firecracker runs: one, or all below a directory.",
}

# What an error that comes from outside of rondo is mended by.
_LIMITS = {
    errno.EMFILE: "let this process have more open files (ulimit -n)",
    errno.ENFILE: "let this host have more open files (sysctl fs.file-max)",
    errno.EFBIG: "let this process write larger files (ulimit -f)",
    errno.ENOMEM: "give this process more memory (ulimit -v)",
    errno.EAGAIN: "allow more processes (ulimit -u)",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EROFS: "give a place that can be written",
    errno.EBADF: "leave it open, or send it somewhere",
    errno.EIO: "look at the disk",
}
STOPPED = 128  # and the signal: the exit status of what was stopped in order
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")


class _Lazy(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rondo_cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; {meant(args[0], COMMANDS).strip() or 'rondo --help lists them'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"rondo {version('rondo-tsdb')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """A process's metrics inside the process, at one-second resolution, and beyond its end.

    \b
    rondo ls ~/.local/state/rondo/web
    rondo query ~/.local/state/rondo/web http_request_duration_seconds --fn p99 --agg
    rondo serve ~/.local/state/rondo --open
    rondo vmm --store demo.rondo --duration 15
    rondo query demo.rondo 'vcpu_exits_total{reason=io}' --fn rate --format plot
    rondo export demo.rondo --to prometheus --url http://127.0.0.1:9090/api/v1/write
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its status: 0, 1 for a failure, 2 for usage."""
    prepare_streams()
    if arguments is None and any(map(_CREDENTIAL.search, sys.argv[1:])):
        what = "a credential on the command line, which every user of this machine can see while it runs"
        say(f"rondo: {what}; write ${{NAME}} for the environment variable NAME, or a rondo.toml", err=True)
    status = run(arguments)
    _drop_output()  # what standard output did not take was said, and would be tried once more
    if status > STOPPED:  # the end was asked for and is under way: one more signal is not to make it another
        from rondo_core.signals import STOP_SIGNALS

        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status; an error becomes one line on standard error."""
    try:
        outcome: Any = cli.main(args=arguments, prog_name="rondo", standalone_mode=False)
        sys.stdout.flush()
    except RondoError as error:
        return _complain(one_line(error), error.exit_status)
    except click.exceptions.Abort:
        return _complain("interrupted", 130)
    except click.ClickException as error:
        with unstalled_stderr():
            show_usage_error(error)
        return error.exit_code
    except BrokenPipeError:
        _drop_output()
        return 0
    except Exception as error:
        if os.environ.get("RONDO_TRACEBACK"):
            raise
        _drop_output()
        return _complain(_limit(error) or _bug(error), 1)
    return outcome if isinstance(outcome, int) else 0


def _drop_output() -> None:
    """Let what standard output did not take go nowhere: the interpreter would try once more at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def _limit(error: BaseException) -> str:
    """Say which limit of this process or host was met, where that is what an error comes from."""
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(each in words for each in _NO_MEMORY):
        return f"not enough memory for this process ({words or type(error).__name__}); give it more (ulimit -v)"
    if isinstance(error, RuntimeError) and "can't start new thread" in words:
        return "no more threads for this user or process; allow more (ulimit -u), or give it more memory"
    if isinstance(error, OSError) and error.errno in _LIMITS and (error.filename or error.errno != errno.EBADF):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {_LIMITS[error.errno]}"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; check the path, its owner and mode"
    if any(os.strerror(number) in words for number in (errno.EMFILE, errno.ENFILE)):
        return f"{words}; {_LIMITS[errno.EMFILE]}"
    return ""


def _bug(error: BaseException) -> str:
    return f"{one_line(error)} (a bug in rondo; set RONDO_TRACEBACK=1 to see where)"


def _complain(line: str, status: int) -> int:
    with unstalled_stderr():
        say(f"rondo: {line}", err=True)
    return status
