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
    from rondo_core import Schema, Store
    from rondo_core.export.runner import Outcome, Runner
    from rondo_vmm.qemu.machine import QemuMonitor

EXPORT_INTERVAL_S = 10.0
MEMORY_MIB, LINUX_MEMORY_MIB = 16, 256


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
@click.option("--initrd", type=click.Path(path_type=Path), default=None, help="The kernel's first file system.")
@click.option(
    "--disk", type=click.Path(path_type=Path), default=None, help="A raw disk image; made with 64 MiB where missing."
)
@click.option("--vcpus", type=int, default=1, show_default=True, help="Virtual CPUs.")
@click.option("--cmdline", default="", help="The kernel's command line.")
@click.option(
    "--duration", type=int, default=None, help="Seconds of workload; adds workload_duration=N to the command line."
)
@click.option("--memory-mib", type=int, default=None, help="Guest memory; default: 16, for qemu 256.")
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
    initrd: Path | None,
    disk: Path | None,
    vcpus: int,
    cmdline: str,
    duration: int | None,
    memory_mib: int | None,
    timeout: int | None,
    url: str | None,
    external_labels: dict[str, str] | None,
) -> int:
    """Run a virtual machine, its serial console on standard output.

    Without options it boots a bundled guest that works for 15 s in four phases: CPU burst, idle, I/O, mixed. Every
    second of it is in the store when it ends, however it ends.

    \b
    rondo vmm --store demo.rondo --duration 45
    rondo vmm --machine qemu --kernel vmlinuz --initrd initramfs.cpio --disk disk.img --duration 30
    rondo vmm --store vm1.rondo --remote-write http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    """
    if duration is not None:
        if duration < 1:
            raise click.BadParameter(f"{duration}: at least 1 second", param_hint="--duration")
        cmdline = f"{cmdline} workload_duration={duration}".strip()
    if memory_mib is None:
        memory_mib = LINUX_MEMORY_MIB if machine == "qemu" else MEMORY_MIB
    config = VmConfig(
        machine, kernel, cmdline, memory_mib, timeout / NS_PER_S if timeout else None, initrd, vcpus, disk
    )
    if no_metrics:
        result = _open_monitor(config, None).run()
        _summarise(result)
        return result.exit_status
    return _run_recorded(config, store, url, external_labels)


def _run_recorded(config: VmConfig, path: Path, url: str | None, labels: dict[str, str] | None) -> int:
    from rondo_core import Store

    with Store(path, None if path.exists() else _schemas(config), writer="vmm") as store:
        runner = _start_export(store, url, labels)
        try:
            monitor = _open_monitor(config, store)
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


def _schemas(config: VmConfig) -> tuple[Schema, ...]:
    if config.machine == "qemu":
        from rondo_vmm.qemu.schemas import qemu_schemas

        return qemu_schemas(config.vcpus)
    from rondo_vmm import VMM_SCHEMAS

    return VMM_SCHEMAS


def _open_monitor(config: VmConfig, store: Store | None) -> Monitor | QemuMonitor:
    if config.machine == "qemu":
        from rondo_vmm.qemu.machine import QemuMonitor

        return QemuMonitor(config, store, _console)
    return Monitor(config, store, _console)


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
    if b"\n" in data:
        sys.stdout.buffer.flush()


def _summarise(result: VmResult) -> None:
    sys.stdout.flush()
    reasons = ", ".join(f"{reason} {count}" for reason, count in result.exits.items() if count)
    exits = f", {sum(result.exits.values())} exits ({reasons})" if result.exits else ""
    click.echo(f"rondo: {result.ended} after {result.uptime_s:.1f} s{exits}", err=True)
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
