"""`rondo vmm`: run a virtual machine that records every second of its own life."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli.params import CONFIG, PATH, Duration, LabelSet
from rondo_cli.printing import say
from rondo_cli.terminal import console_input, unstalled_stderr
from rondo_cli.vmm_run import VmRequest, VmRun, console_for, with_remote_write
from rondo_core.clock import NS_PER_S
from rondo_core.errors import UsageError
from rondo_core.signals import stopped_by_signals
from rondo_vmm.config import LINUX_MEMORY_MIB, MACHINES, MEMORY_MIB, VmConfig
from rondo_vmm.rlimits import share_heap

if TYPE_CHECKING:
    import socket

    from rondo_core.plugins import Config

MAX_PORT = 65535


STORE_PATH = Path("vmm.rondo")


@click.command("vmm")
@click.option(
    "--store",
    "--metrics-store",
    "store",
    type=PATH,
    default=None,
    help=f"Where to record; made where it is missing. Default: the config's, else {STORE_PATH}.",
)
@CONFIG
@click.option("--no-metrics", is_flag=True, help="Record nothing.")
@click.option(
    "--machine", type=click.Choice(MACHINES), default="auto", show_default=True, help="auto: kvm where it can be used."
)
@click.option(
    "--kernel",
    type=PATH,
    default=None,
    help="A Linux bzImage or vmlinux, or a bare 32-bit ELF kernel; default: the bundled guest.",
)
@click.option("--initrd", type=PATH, default=None, help="Linux's first file system.")
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
    type=PATH,
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
    type=PATH,
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
    help="Push to a Prometheus remote-write receiver, beside the config's exporters: the short form of such a table.",
)
@click.option("--external-labels", type=LabelSet(), default=None, help="Labels that every series gets on its way out.")
@click.option(
    "--api-port",
    type=click.IntRange(0, MAX_PORT),
    default=None,
    help="Serve the live store over HTTP, as rondo serve does; 0: any port that is free.",
)
@click.option("--api-host", default="127.0.0.1", show_default=True, help="The address that --api-port is on.")
@click.option(
    "--api-token-file",
    type=PATH,
    default=None,
    help="What clients of --api-port must send, as for rondo serve --token-file.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Machines; --store is then the directory of their stores, and each has the API port after the one before.",
)
@click.option("--processes", is_flag=True, help="Run each of them in a process of its own, not on threads of one.")
@click.option(
    "--stagger", type=Duration(), default="100ms", show_default=True, help="From one machine's start to the next's."
)
def command(
    store: Path | None,
    config: Path | None,
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
    api_port: int | None,
    api_host: str,
    api_token_file: Path | None,
    count: int,
    processes: bool,
    stagger: int,
) -> int:
    """Run a virtual machine, its serial console on standard output.

    Without options it boots a bundled guest that works for 15 s in four phases: CPU burst, idle, I/O, mixed. Every
    second of it is in the store when it ends, however it ends. A config file says how the store is kept, which
    recorders are on, and which exporters send what is recorded while the machine runs, and the rest of it at the end.

    \b
    rondo vmm --store demo.rondo --duration 45
    rondo vmm --kernel vmlinuz --initrd initrd.img --vcpus 2
    rondo vmm --machine qemu --kernel vmlinuz --initrd initramfs.cpio --disk disk.img --duration 30
    rondo vmm --store vm1.rondo --remote-write http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    rondo vmm --store vm2.rondo --config rondo.toml
    rondo vmm --store vms --count 10 --api-port 9500
    """
    share_heap()
    if duration is not None:
        if duration < 1:
            raise click.BadParameter(f"{duration}: at least 1 second", param_hint="--duration")
        cmdline = f"{cmdline} workload_duration={duration}".strip()
    if memory_mib is None:
        memory_mib = LINUX_MEMORY_MIB if kernel or machine == "qemu" else MEMORY_MIB
    timeout_s = timeout / NS_PER_S if timeout else None
    vm = VmConfig(
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
    known = _read_config(config)
    where = None if no_metrics else store or Path(known.store.get("path", STORE_PATH))
    request = VmRequest(
        vm,
        where,
        known,
        _exporters(known, url, {*(external_labels or ()), *(["instance"] if count > 1 else ())}),
        external_labels or {},
    )
    listening = _listen(api_port, api_host, api_token_file, count, recorded=not no_metrics)
    if count > 1:
        if source is not None:
            raise click.BadParameter("one console for several machines; leave it out", param_hint="--input")
        return _run_many(request, count, listening, api_token_file, processes, stagger)
    if processes:
        raise click.BadParameter("one machine has this process; give --count too", param_hint="--processes")
    if source is not None and machine == "qemu":
        raise click.BadParameter("the machine qemu reads no console; leave it out", param_hint="--input")
    with ExitStack() as stack:
        descriptor, raw = stack.enter_context(console_input(source, wanted=kernel is not None and machine != "qemu"))

        def serve(path: Path) -> None:
            for each in listening:
                from rondo_web import Sidecar

                sidecar = stack.enter_context(Sidecar(path, each, token_file=api_token_file))
                say(f"rondo: serving {path} on {sidecar.url}/info", err=True)

        run = VmRun(request, console_for(raw=raw), source=descriptor, on_recording=serve)
        with stopped_by_signals(lambda number: run.stop(f"signal {number}")), unstalled_stderr():
            return run.run().exit_status


def _read_config(path: Path | None) -> Config:
    from rondo_core.plugins import read_config

    known = read_config(path)
    if "tick_interval" in known.store:
        raise UsageError(f"{known.path}: store.tick_interval: a machine ticks its store each second; leave it out")
    for key in ("if_locked", "strict"):
        if key in known.store:
            raise UsageError(f"{known.path}: store.{key}: a machine has its store, or does not start; leave it out")
    return known


def _exporters(known: Config, url: str | None, labels: set[str]) -> dict[str, Any]:
    """Give the tables of the exporters, which are checked before anything is made. Raises: UsageError."""
    tables = with_remote_write(known, url)
    if tables:
        from rondo_core.export import check_exporters

        check_exporters(tables, labels)
    return tables


def _listen(port: int | None, host: str, token_file: Path | None, count: int, *, recorded: bool) -> list[socket.socket]:
    """Take the ports before any machine starts. Raises: UsageError: one is busy, or there is nothing to serve with."""
    if port is None:
        return []
    if not recorded:
        raise click.BadParameter("nothing is recorded with --no-metrics; leave one out", param_hint="--api-port")
    from rondo_web import check_installed, listen, read_token

    check_installed()
    read_token(token_file)
    if port + count - 1 > MAX_PORT:
        raise click.BadParameter(f"{port} and {count - 1} more: at most {MAX_PORT}", param_hint="--api-port")
    with ExitStack() as stack:
        listening = [
            stack.enter_context(listen(host, port + index if port else 0, token_file)) for index in range(count)
        ]
        stack.pop_all()
    return listening


def _run_many(
    request: VmRequest,
    count: int,
    listening: list[socket.socket],
    token_file: Path | None,
    processes: bool,
    stagger_ns: int,
) -> int:
    from rondo_cli.vmm_many import many, run_many

    if not processes and request.config.machine in {"auto", "kvm"}:
        from rondo_vmm.kvm.vcpu import install_kick

        install_kick()
    machines, stagger_s = many(request, count), stagger_ns / NS_PER_S
    return run_many(machines, listening, processes=processes, stagger_s=stagger_s, token_file=token_file)
