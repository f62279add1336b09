"""The click group, and the one place that turns an error into a line and a status."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from rondo_core.errors import RondoError, one_line

COMMANDS = (
    "agent",
    "bench",
    "check",
    "config",
    "copy",
    "export",
    "export-status",
    "info",
    "migrate",
    "plan",
    "plugin",
    "plugins",
    "query",
    "repair",
    "serve",
    "vmm",
    "watch",
)


class _Lazy(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rondo_cli.{cmd_name.replace('-', '_')}").command
        return command


def _version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"rondo {version('rondo')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """A process's metrics inside the process, at one-second resolution, and beyond its end.

    \b
    rondo vmm --store demo.rondo --duration 15
    rondo info demo.rondo
    rondo query demo.rondo 'vcpu_exits_total{reason=io}' --range all --fn rate --format plot
    rondo export demo.rondo --to prometheus --url http://127.0.0.1:9090/api/v1/write
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its status: 0, 1 for a failure, 2 for usage."""
    if arguments is None:
        from rondo_cli.title import hide_credentials

        hide_credentials(sys.argv[1:])
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status; an error becomes one line on standard error."""
    try:
        outcome: Any = cli.main(args=arguments, prog_name="rondo", standalone_mode=False)
    except RondoError as error:
        return _complain(one_line(error), error.exit_status)
    except click.exceptions.Abort:
        return _complain("interrupted", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("RONDO_TRACEBACK"):
            raise
        return _complain(f"{one_line(error)} (a bug in rondo; set RONDO_TRACEBACK=1 to see where)", 1)
    return outcome if isinstance(outcome, int) else 0


def _complain(line: str, status: int) -> int:
    click.echo(f"rondo: {line}", err=True)
    return status
