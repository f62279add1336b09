"""`rondo vmm`: run a virtual machine that records every second of its own life."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli.params import Duration, LabelSet
from rondo_core.clock import NS_PER_S
from rondo_vmm.config import MACHINES, VmConfig
from rondo_vmm.monitor import Monitor, VmResult

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.export.outcome import Outcome
    from rondo_core.export.runner import Runner

EXPORT_INTERVAL_S = 10.0


@click.command("vmm")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("vmm.rondo"),
    show_default=True,
    help="Where to record; made where it is missing.",
)
@click.option("--no-metrics", is_flag=True, help="Record nothing.")
@click.option(
    "--machine", type=click.Choice(MACHINES), default="auto", show_default=True, help="auto: kvm where it can be used."
)
@click.option(
    "--kernel", type=click.Path(path_type=Path), default=None, help="A 32-bit ELF kernel; default: the bundled guest."
)
@click.option("--cmdline", default="", help="The kernel's command line.")
@click.option(
    "--duration", type=int, default=None, help="Seconds of workload; adds workload_duration=N to the command line."
)
@click.option("--memory-mib", type=int, default=16, show_default=True, help="Guest memory.")
@click.option("--timeout", type=Duration(), default=None, help="Stop the machine after that long.")
@click.option(
    "--remote-write",
    "url",
    default=None,
    metavar="URL",
    help="Push to a Prometheus remote-write receiver every 10 s and at the end.",
)
@click.option("--external-labels", type=LabelSet(), default=None, help="Labels that every series gets on its way out.")
def command(
    store: Path,
    no_metrics: bool,
    machine: Any,
    kernel: Path | None,
    cmdline: str,
    duration: int | None,
    memory_mib: int,
    timeout: int | None,
    url: str | None,
    external_labels: dict[str, str] | None,
) -> int:
    """Run a virtual machine, its serial console on standard output.

    Without options it boots a bundled guest that works for 15 s in four phases: CPU burst, idle, I/O, mixed. Every
    second of it is in the store when it ends, however it ends.

    \b
    rondo vmm --store demo.rondo --duration 45
    rondo vmm --store vm1.rondo --remote-write http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    """
    if duration is not None:
        if duration < 1:
            raise click.BadParameter(f"{duration}: at least 1 second", param_hint="--duration")
        cmdline = f"{cmdline} workload_duration={duration}".strip()
    config = VmConfig(machine, kernel, cmdline, memory_mib, timeout / NS_PER_S if timeout else None)
    if no_metrics:
        result = Monitor(config, None, _console).run()
        _summarise(result)
        return result.exit_status
    return _run_recorded(config, store, url, external_labels)


def _run_recorded(config: VmConfig, path: Path, url: str | None, labels: dict[str, str] | None) -> int:
    from rondo_core import Store
    from rondo_vmm import VMM_SCHEMAS

    with Store(path, None if path.exists() else VMM_SCHEMAS, writer="vmm") as store:
        runner = _start_export(store, url, labels)
        try:
            monitor = Monitor(config, store, _console)
            click.echo(f"rondo: machine {monitor.machine}: {monitor.why}; recording to {path}", err=True)
            result = monitor.run()
            store.close(result.error or result.ended)
        finally:
            store.close("failed")
            outcome = runner.close(store.run.number) if runner else None
    _summarise(result)
    if outcome is not None:
        _summarise_export(path, url or "", outcome)
    return result.exit_status


def _start_export(store: Store, url: str | None, labels: dict[str, str] | None) -> Runner | None:
    if url is None:
        return None
    from rondo_core.export.runner import open_runner

    config: dict[str, object] = {"url": url}
    if labels:
        config["external_labels"] = labels
    count = store.self_metrics.set_total
    runner = open_runner(store.view, "prometheus", config, interval_s=EXPORT_INTERVAL_S, count=count)
    runner.start()
    return runner


def _console(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    if data == b"\n":
        sys.stdout.buffer.flush()


def _summarise(result: VmResult) -> None:
    sys.stdout.flush()
    total = sum(result.exits.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in result.exits.items() if count)
    click.echo(f"rondo: {result.ended} after {result.uptime_s:.1f} s, {total} exits ({reasons})", err=True)
    for plugin, failures in result.failed_plugins.items():
        click.echo(f"rondo: plugin {plugin} failed {failures} times", err=True)
    if result.error:
        click.echo(f"rondo: {result.error}", err=True)


def _summarise_export(path: Path, url: str, outcome: Outcome) -> None:
    click.echo(f"rondo: {outcome.samples} samples sent in {outcome.requests} requests", err=True)
    if outcome.error:
        click.echo(f"rondo: {outcome.failures} failed requests, the last: {outcome.error}", err=True)
        click.echo(
            f"rondo: what was not sent is still in the store: rondo export {path} --to prometheus --url {_public(url)}",
            err=True,
        )


def _public(url: str) -> str:
    """Leave out the credentials that a URL may carry."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
