"""`rondo run`: run a command and record its whole tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from rondo_cli import run_long
from rondo_cli.params import CONFIG, PATH, Duration, Size
from rondo_cli.printing import say
from rondo_core.clock import NS_PER_S
from rondo_core.model import state_directory

_KEYS = ("keep_last", "keep_for", "keep_bytes")
_METHODS = ("auto", "cgroup2", "cgroup1", "tree")


@click.command("run", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD ...")
@click.option("--store", type=PATH, default=None, help="The directory of lives; default: rondo's own, its lives.")
@click.option("--name", default="", help="What the life is called; default: the command.")
@click.option("--every", type=Duration(), default=NS_PER_S, help="How often it is measured: 1s, down to 50ms.")
@click.option("--timeout", type=Duration(), default=None, help="End the whole tree after that long; status 124.")
@click.option("--memory-max", type=Size(), default=None, help="What memory it may have, where a control group can.")
@click.option("--no-output", is_flag=True, help="Hand over standard output and error untouched; keep no tail of them.")
@click.option("--method", type=click.Choice(_METHODS), default="auto", show_default=True, help="How to measure.")
@click.option("--keep-last", type=click.IntRange(0), default=None, help="How many lives the directory keeps; 100.")
@click.option("--keep-for", default=None, metavar="DURATION", help="For how long after their end they are kept.")
@click.option("--keep-bytes", default=None, metavar="SIZE", help="What all stores of the directory may take.")
@click.option("-q", "--quiet", count=True, help="Say nothing at the end where the status is 0; twice: never.")
@CONFIG
def command(argv: tuple[str, ...], store: Path | None, config: Path | None, **options: Any) -> int:
    """Run CMD, and record its whole process tree: what it took, and how it ended.

    Its streams, terminal, signals and exit status are as ever. A line at the end says where its life lies; rondo query,
    rondo info and rondo ls read it, also while it runs, and whatever is killed.

    \b
    rondo run -- make -j8 test
    rondo run --name nightly --every 100ms -- python train.py
    rondo run --timeout 30m --memory-max 4GiB -- ./batch.sh
    """
    from rondo_core.plugins import read_config
    from rondo_job.request import RunRequest
    from rondo_job.run import run_job

    known = read_config(config)
    keep = {key: options[key] if options[key] is not None else known.store.get(key) for key in _KEYS}
    timeout, method = options["timeout"], options["method"]
    request = RunRequest(
        command=argv,
        directory=store or state_directory() / "lives",
        name=options["name"],
        every_ns=options["every"],
        timeout_s=None if timeout is None else timeout / NS_PER_S,
        memory_max=options["memory_max"],
        copied=not options["no_output"],
        methods=("cgroup2", "cgroup1") if method == "auto" else (method,),
        config=known,
        keep={key: value for key, value in keep.items() if value is not None},
    )
    run_long()
    result = run_job(request)
    if result.unrecorded:
        _say(f"{argv[0]}: not recorded: {result.unrecorded}")
    if result.end.not_begun or options["quiet"] < (1 if result.exit_status == 0 else 2):
        _say(result.summary())
    if result.life is not None and os.environ.get("GITHUB_STEP_SUMMARY"):
        _append_to_summary(result.life)
    return result.exit_status


def _say(line: str) -> None:
    """Say a line on standard error, wherever that goes: whether it takes one or not, the status is the job's."""
    try:
        say(f"rondo: {line}", err=True)
    except OSError:  # a full disk, a reader that went; the interpreter would try once more at its end
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - as long as this process


def _append_to_summary(life: Path) -> None:
    """Append the life's report to the summary of a CI step; what hinders it is said, and the status stays the job's."""
    from rondo_cli.report import append_to_summary
    from rondo_core.errors import RondoError, one_line

    try:
        from rondo_job.reports.making import make_report

        append_to_summary(make_report(life))
    except (RondoError, OSError) as error:
        _say(f"no report in the step's summary: {one_line(error)}")
