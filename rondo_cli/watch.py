"""`rondo watch`: record a virtual machine that another monitor runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from rondo_cli import run_long
from rondo_cli.params import PATH, Duration
from rondo_cli.printing import say
from rondo_cli.terminal import unstalled_stderr
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import UsageError
from rondo_core.model import is_there
from rondo_core.signals import stopped_by_signals

if TYPE_CHECKING:
    from rondo_core import Schema, Store
    from rondo_vmm.observe.result import VmResult

F = TypeVar("F", bound=Callable[..., Any])


@click.group("watch", invoke_without_command=True, no_args_is_help=True)
@click.option(
    "--discover",
    type=PATH,
    default=None,
    metavar="DIRECTORY",
    help="Record every machine whose monitor's socket appears below it.",
)
@click.option("--store", type=PATH, default=Path("vms"), show_default=True, help="Where each machine gets a store.")
@click.option("--keep-last", type=click.IntRange(0), default=None, help="How many stores of ended machines are kept.")
@click.option("--keep-for", default=None, metavar="DURATION", help="For how long after their end, such as 1d.")
@click.option("--keep-bytes", default=None, metavar="SIZE", help="What all stores may take, such as 1GiB.")
@click.option("--timeout", type=Duration(), default=None, help="Stop watching after that long; the machines go on.")
@click.pass_context
def command(context: click.Context, /, discover: Path | None, store: Path, timeout: int | None, **keep: Any) -> int:
    """Record virtual machines that QEMU or Firecracker runs: one, or all below a directory.

    With --discover, each QMP socket and each socket of Firecracker's API that appears there is a machine with a store
    of its own; stores of ended machines beyond a bound are folded into ended.rondo beside them.

    \b
    rondo watch --discover /run/vms --store vms --keep-last 200
    rondo watch qemu --qmp /run/vm1.qmp --store vm1.rondo
    rondo watch firecracker --api /run/vm2.api --metrics /run/vm2.metrics --store vm2.rondo
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) == ParameterSource.COMMANDLINE for name in context.params):
            raise UsageError("watch: options before a command are those of --discover; give them behind it")
        return 0
    if discover is None:
        raise UsageError(
            "watch: nothing to watch; give --discover DIRECTORY, or one of the commands qemu and firecracker"
        )
    from rondo_core.retention import Bound
    from rondo_vmm.discovery.lives import MachineDiscovery

    discovery = MachineDiscovery(discover, store, Bound.read(keep), lambda line: say(f"rondo: {line}", err=True))
    with unstalled_stderr():
        say(f"rondo: watching what appears below {discover}; recording to {store}", err=True)
        run_long()
        ended = discovery.run(timeout / NS_PER_S if timeout else None)
        say(f"rondo: {ended}; {discovery.n_lives} machines recorded", err=True)
    return 128 + int(ended.removeprefix("signal ")) if ended.startswith("signal ") else 0


def _shared(function: F) -> F:
    function = click.option(
        "--timeout", type=Duration(), default=None, help="Stop watching after that long; the machine goes on."
    )(function)
    return click.option(
        "--store",
        type=PATH,
        default=Path("vm.rondo"),
        show_default=True,
        help="Where to record; made where it is missing.",
    )(function)


@command.command("qemu")
@click.option(
    "--qmp",
    type=PATH,
    required=True,
    metavar="SOCKET",
    help="A QMP socket for rondo alone.",
)
@_shared
def qemu(qmp: Path, store: Path, timeout: int | None) -> int:
    """Record a QEMU through its monitor, once a second, until it ends.

    QEMU takes one client at each monitor: give it one more, beside that of libvirt or another manager:

    \b
    qemu-system-x86_64 ... -qmp unix:/run/vm1.qmp,server=on,wait=off
    """
    from rondo_vmm.qemu.watch import QemuWatcher

    watcher = QemuWatcher(qmp)
    with (
        unstalled_stderr(),
        closing(watcher),
        stopped_by_signals(lambda number: watcher.stop(f"signal {number}")),
        _open(store, watcher.watched.schemas, "watch qemu") as opened,
    ):
        pid = watcher.watched.facts.pid
        say(f"rondo: watching {f'process {pid}' if pid else qmp}; recording to {store}", err=True)
        run_long()
        result = watcher.run(opened, timeout_s=timeout / NS_PER_S if timeout else None)
        opened.close(result.ended)
        say(f"rondo: {result.ended} after {result.uptime_s:.1f} s", err=True)
        for plugin, failures in result.failed_plugins.items():
            say(f"rondo: plugin {plugin} failed {failures} times", err=True)
        _say_notes(result)
    return result.exit_status


@command.command("firecracker")
@click.option(
    "--metrics",
    type=PATH,
    default=None,
    metavar="PATH",
    help="The FIFO, or the file, that Firecracker's --metrics-path names.",
)
@click.option(
    "--api",
    type=PATH,
    default=None,
    metavar="SOCKET",
    help="The socket that its --api-sock names: it is asked for a flush each second, and how its machine is.",
)
@_shared
def firecracker(metrics: Path | None, api: Path | None, store: Path, timeout: int | None) -> int:
    """Record Firecracker until it ends; without --api, a file of metrics is replayed, each flush at its own time.

    Firecracker flushes its metrics once a minute, and whenever its API is asked to, as --api does each second:

    \b
    mkfifo /run/vm2.metrics; firecracker --api-sock /run/vm2.api --metrics-path /run/vm2.metrics ... &
    rondo watch firecracker --api /run/vm2.api --metrics /run/vm2.metrics --store vm2.rondo
    """
    from rondo_vmm.firecracker.recorder import firecracker_schemas, line_counters
    from rondo_vmm.firecracker.watch import FirecrackerWatcher, find_api

    if metrics is None and api is None:
        raise UsageError("watch firecracker: nothing to watch; give --api, --metrics or both")
    watcher = FirecrackerWatcher(metrics, store, None if api is None else find_api(api))
    with (
        unstalled_stderr(),
        closing(watcher),
        stopped_by_signals(lambda number: watcher.stop(f"signal {number}")),
        _open(store, firecracker_schemas(), "watch firecracker", watcher.clock) as opened,
    ):
        say(f"rondo: {'replaying' if watcher.replayed else 'watching'} {metrics or api} into {store}", err=True)
        run_long()
        counters = line_counters(opened)
        before = {name: counter.value for name, counter in counters.items()}
        result = watcher.run(opened, timeout / NS_PER_S if timeout else None)
        lines = {name: counter.value - before[name] for name, counter in counters.items()}
        opened.close(result.on_record)
        said = ", ".join(f"{int(count)} {name.replace('_', ' ')}" for name, count in lines.items() if count)
        say(f"rondo: {result.ended} after {result.uptime_s:.1f} s; lines: {said or 'none'}", err=True)
        _say_notes(result)
    return result.exit_status


def _say_notes(result: VmResult) -> None:
    for note in result.notes:
        say(f"rondo: {note}", err=True)


def _open(path: Path, schemas: tuple[Schema, ...], writer: str, clock: Callable[[], int] = wall_ns) -> Store:
    from rondo_core import Store

    return Store(path, None if is_there(path) else schemas, clock=clock, writer=writer)
