"""`rondo vmm`: run a virtual machine that records every second of its own life."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli.params import Duration, LabelSet
from rondo_cli.terminal import console_input
from rondo_core.clock import NS_PER_S
from rondo_vmm.config import LINUX_MEMORY_MIB, MACHINES, MEMORY_MIB, VmConfig
from rondo_vmm.monitor import Monitor, VmResult

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.export.outcome import Outcome
    from rondo_core.export.runner import Runner
    from rondo_vmm.qemu.machine import QemuMonitor

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
    "--kernel",
    type=click.Path(path_type=Path),
    default=None,
    help="A Linux bzImage or vmlinux, or a bare 32-bit ELF kernel; default: the bundled guest.",
)
@click.option("--initrd", type=click.Path(path_type=Path), default=None, help="Linux's first file system.")
@click.option("--cmdline", default="", help="The kernel's command line; Linux gets a serial console beside it.")
@click.option(
    "--duration", type=int, default=None, help="Seconds of workload; adds workload_duration=N to the command line."
)
@click.option(
    "--memory-mib",
    type=int,
    default=None,
    help=f"Guest memory; default: {MEMORY_MIB}, with --kernel {LINUX_MEMORY_MIB}.",
)
@click.option("--vcpus", type=int, default=1, show_default=True, help="Virtual CPUs; more than one with Linux only.")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    default=None,
    help="What a Linux guest's console reads, - for standard input; default: the terminal. Ctrl-A x ends the machine.",
)
@click.option(
    "--emulated-host",
    is_flag=True,
    help="/dev/kvm is itself emulated: unpack a bzImage here, and let Linux leave alone what such hosts lack.",
)
@click.option(
    "--disk",
    "disks",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A raw disk image, as virtio-blk; made with 64 MiB where it is missing. May be given again.",
)
@click.option("--disk-read-only", is_flag=True, help="Let the guest write to no disk.")
@click.option("--rng", is_flag=True, help="Give the guest randomness, as virtio-rng.")
@click.option("--balloon", is_flag=True, help="Give the guest a balloon, and record its memory statistics.")
@click.option(
    "--guest-samples", is_flag=True, help="Record what the guest writes to its virtio console: `name value` lines."
)
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
    cmdline: str,
    duration: int | None,
    memory_mib: int | None,
    vcpus: int,
    source: Path | None,
    emulated_host: bool,
    disks: tuple[Path, ...],
    disk_read_only: bool,
    rng: bool,
    balloon: bool,
    guest_samples: bool,
    timeout: int | None,
    url: str | None,
    external_labels: dict[str, str] | None,
) -> int:
    """Run a virtual machine, its serial console on standard output.

    Without options it boots a bundled guest that works for 15 s in four phases: CPU burst, idle, I/O, mixed. Every
    second of it is in the store when it ends, however it ends.

    \b
    rondo vmm --store demo.rondo --duration 45
    rondo vmm --kernel vmlinuz --initrd initrd.img --vcpus 2
    rondo vmm --machine qemu --kernel vmlinuz --initrd initramfs.cpio --disk disk.img --duration 30
    rondo vmm --store vm1.rondo --remote-write http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    """
    if duration is not None:
        if duration < 1:
            raise click.BadParameter(f"{duration}: at least 1 second", param_hint="--duration")
        cmdline = f"{cmdline} workload_duration={duration}".strip()
    if memory_mib is None:
        memory_mib = LINUX_MEMORY_MIB if kernel or machine == "qemu" else MEMORY_MIB
    timeout_s = timeout / NS_PER_S if timeout else None
    config = VmConfig(
        machine,
        kernel,
        cmdline,
        memory_mib,
        timeout_s,
        initrd,
        vcpus,
        emulated_host,
        disks=disks,
        disk_read_only=disk_read_only,
        rng=rng,
        balloon=balloon,
        guest_samples=guest_samples,
    )
    if source is not None and machine == "qemu":
        raise click.BadParameter("the machine qemu reads no console; leave it out", param_hint="--input")
    with console_input(source, wanted=kernel is not None and machine != "qemu") as (descriptor, raw):
        run = _Run(config, descriptor, raw)
        if no_metrics:
            result = run.start(None).run()
            _summarise(result)
            return result.exit_status
        return _run_recorded(run, store, url, external_labels)


class _Run:
    """A monitor to be made, with the console on standard output and its input from a descriptor, perhaps a terminal."""

    def __init__(self, config: VmConfig, descriptor: int | None, raw: bool) -> None:
        self.config, self._descriptor, self._raw = config, descriptor, raw
        self._monitor: Monitor | None = None

    def start(self, store: Store | None) -> Monitor | QemuMonitor:
        if self.config.machine == "qemu":
            from rondo_vmm.qemu.machine import QemuMonitor

            return QemuMonitor(self.config, store, _console)
        sink = _console_at_once if self._raw else _console
        self._monitor = Monitor(
            self.config, store, sink, source=self._descriptor, on_escape=self._escape if self._raw else None
        )
        return self._monitor

    def _escape(self) -> None:
        if self._monitor is not None:
            self._monitor.stop("stopped")


def _run_recorded(run: _Run, path: Path, url: str | None, labels: dict[str, str] | None) -> int:
    from rondo_core import Store
    from rondo_vmm.schemas import schemas_for

    with Store(path, None if path.exists() else schemas_for(run.config), writer="vmm") as store:
        runner = _start_export(store, url, labels)
        try:
            monitor = run.start(store)
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
    if b"\n" in data:
        sys.stdout.buffer.flush()


def _console_at_once(data: bytes) -> None:
    """Show every byte when it comes: someone is typing."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _summarise(result: VmResult) -> None:
    sys.stdout.flush()
    reasons = ", ".join(f"{reason} {count}" for reason, count in result.exits.items() if count)
    exits = f", {sum(result.exits.values())} exits ({reasons})" if result.exits else ""
    click.echo(f"rondo: {result.ended} after {result.uptime_s:.1f} s{exits}", err=True)
    if result.completed:
        done = ", ".join(f"{name} {count}" for name, count in sorted(result.completed.items()))
        click.echo(f"rondo: instructions completed for this host, which cannot emulate them: {done}", err=True)
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
