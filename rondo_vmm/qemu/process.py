"""VmConfig -> a QEMU process that stands before its first instruction, with its monitor connected."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable
from itertools import takewhile

import attrs

from rondo_core.errors import one_line
from rondo_vmm.config import VmConfig, disk_name
from rondo_vmm.errors import QmpError, StoppedError, VmmError
from rondo_vmm.kvm import speed, vm
from rondo_vmm.qemu.kernel import check_initrd, check_kernel, prepare_disk
from rondo_vmm.qemu.qmp import Qmp

PROGRAM = "qemu-system-x86_64"
DISK_BYTES = 64 << 20
ON_ERROR = "werror=report,rerror=report"  # QEMU's own habit: a machine stands still when the host's disk is full
BALLOON = "/machine/peripheral/balloon0"
CONSOLE, REBOOT_ON_PANIC = "console=ttyS0", "panic=-1"
START_S = 30.0
QUIT_TIMEOUT_S = 5.0
POLL_S = 0.1
CHUNK_BYTES = 1 << 16
STDERR_LINES = 20
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')  # Source: next_arg of Linux's lib/cmdline.c: quotes hold blanks together
_libc = ctypes.CDLL(None)


@attrs.frozen
class Accelerator:
    """How QEMU runs the guest's instructions, and why so.

    The machine goes with it: microvm has no clock but KVM's, so that an emulated processor gets the machine pc, without
    what would only be probed in vain.
    """

    name: str
    why: str

    def arguments(self) -> tuple[list[str], str]:
        """Give QEMU's machine and processor, and the bus of its virtio devices."""
        if self.name == "kvm":
            return ["-M", "microvm,accel=kvm,rtc=on", "-cpu", "host"], "device"
        return ["-M", "pc,accel=tcg,hpet=off,usb=off,vmport=off", "-cpu", "max"], "pci"


class QemuProcess:
    """A QEMU that this process started; it does not outlive it.

    Attributes: `accelerator`, `qmp`; `pid`; `status`: QEMU's exit status once it has ended, -n for signal n.
    """

    def __init__(self, process: asyncio.subprocess.Process, accelerator: Accelerator) -> None:
        """Wrap a process; `start` makes it."""
        self._process, self.accelerator = process, accelerator
        self._qmp: Qmp | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._readers: list[asyncio.Task[None]] = []

    @property
    def qmp(self) -> Qmp:
        """Its monitor."""
        if self._qmp is None:
            raise QmpError(f"{PROGRAM}: its monitor is not connected")
        return self._qmp

    def connected(self, qmp: Qmp) -> None:
        """Take note of its monitor."""
        self._qmp = qmp

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait until it has ended, and all that it wrote was taken."""
        status = await self._process.wait()
        await asyncio.gather(*self._readers)
        return status

    async def end(self, timeout_s: float = QUIT_TIMEOUT_S) -> None:
        """Have it ended: by its monitor, or else by SIGKILL."""
        if self.status is None and self._qmp is not None:
            with contextlib.suppress(QmpError, TimeoutError):
                await asyncio.wait_for(self._qmp.ask("quit"), timeout_s)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s if self._qmp else 0.01)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._qmp is not None:
            await self._qmp.close()
        await self.ended()

    def error_line(self) -> str:
        """Give the line of its standard error that says what is wrong: the last that names an error, or the last."""
        lines = [line for line in self._stderr if line]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or [""])[-1].removeprefix(f"{PROGRAM}: ")

    def stderr_has(self, words: str) -> bool:
        """Whether its standard error has these words."""
        return any(words in line for line in self._stderr)

    def read(self, sink: Callable[[bytes], object]) -> None:
        """Have its output read: the serial console into `sink`, of its standard error the last lines."""
        console, stderr = self._process.stdout, self._process.stderr
        if console is not None and stderr is not None:
            self._readers = [
                asyncio.create_task(_pump(console, sink)),
                asyncio.create_task(_pump(stderr, self._keep_stderr)),
            ]

    def _keep_stderr(self, data: bytes) -> None:
        self._stderr.extend(line.strip()[:500] for line in data.decode(errors="replace").splitlines())


async def start(config: VmConfig, sink: Callable[[bytes], object], stopped: Callable[[], str] = str) -> QemuProcess:
    """Start QEMU before its first instruction: with KVM where it is of use, else with an emulated processor.

    Args: `sink` takes what it writes to its console, and never waits; `stopped` says why to give up, "" for not.
    Raises: VmmError and those below it: QEMU is missing, ends at once, or the kernel or the disk cannot be used;
    StoppedError.
    """
    if config.kernel is None:
        raise VmmError("machine qemu: boots Linux only; give --kernel and --initrd (make guest-linux makes both)")
    if shutil.which(PROGRAM) is None:
        raise VmmError(f"{PROGRAM}: not installed; install the package qemu-system-x86, or use --machine kvm or soft")
    check_kernel(config.kernel)
    if config.initrd is not None:
        check_initrd(config.initrd)
    for disk in config.disks:
        prepare_disk(disk, DISK_BYTES, read_only=config.disk_read_only)
    trouble = _kvm_trouble()
    if not trouble:
        qemu = await _spawn(config, Accelerator("kvm", "/dev/kvm can be used"), sink, stopped)
        if qemu.status is None:
            return qemu
        _check_disk(config, qemu)
        trouble = f"QEMU cannot use /dev/kvm ({qemu.error_line()})"
    qemu = await _spawn(config, Accelerator("tcg", trouble), sink, stopped)
    if qemu.status is None:
        return qemu
    _check_disk(config, qemu)
    raise VmmError(f"{PROGRAM}: ended at start, {how_ended(qemu.status)}: {qemu.error_line() or 'it said nothing'}")


def _kvm_trouble() -> str:
    """Say why QEMU had better not use /dev/kvm: an emulated one needs minutes where QEMU's emulator needs seconds."""
    try:
        return vm.usable() or speed.emulated()
    except VmmError as error:
        return one_line(error)


async def _spawn(
    config: VmConfig, accelerator: Accelerator, sink: Callable[[bytes], object], stopped: Callable[[], str]
) -> QemuProcess:
    """Start it and wait until its monitor answers, or it has ended."""
    ours, its = socket.socketpair()
    with its:
        arguments = command_line(config, accelerator, its.fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                PROGRAM,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[its.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the monitor, which ends QEMU in order
                restore_signals=False,  # SIGXFSZ stays ignored: a limit of the disk's size is an error to the guest
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            ours.close()
            raise VmmError(f"{PROGRAM}: cannot be started: {error.strerror}; look at the limits (ulimit -a)") from None
    qemu = QemuProcess(process, accelerator)
    qemu.read(sink)
    connecting = asyncio.create_task(Qmp.connect(ours, PROGRAM, START_S))
    ending = asyncio.create_task(process.wait())
    while not (connecting.done() or ending.done()):
        await asyncio.wait((connecting, ending), timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        if why := stopped():
            connecting.cancel()
            ending.cancel()
            await qemu.end()
            ours.close()
            raise StoppedError(why)
    try:
        connected = await connecting
    except QmpError:
        ours.close()
        await qemu.end()
        return qemu
    finally:
        ending.cancel()
    qemu.connected(connected)
    return qemu


def command_line(config: VmConfig, accelerator: Accelerator, qmp_fd: int) -> list[str]:
    """Say to QEMU what machine it is: paused before its start and after its end, so that both are recorded."""
    machine, bus = accelerator.arguments()
    arguments = [
        *machine,
        *("-m", f"{config.memory_mib}M", "-smp", str(config.vcpus)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-S"),
        *("-action", "reboot=shutdown,shutdown=pause,panic=pause"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"),
        *("-kernel", str(config.kernel), "-append", kernel_command_line(config.cmdline)),
        *("-device", f"virtio-rng-{bus}", "-device", f"virtio-balloon-{bus},id=balloon0"),
        *("-device", "pvpanic"),
    ]
    if config.initrd is not None:
        arguments += ["-initrd", str(config.initrd)]
    access = ",readonly=on" if config.disk_read_only else ""
    for index, disk in enumerate(config.disks):
        path, name = str(disk).replace(",", ",,"), disk_name(index)
        arguments += ["-drive", f"id={name},file={path},format=raw,if=none,{ON_ERROR}{access}"]
        arguments += ["-device", f"virtio-blk-{bus},drive={name}"]
    return arguments


def kernel_command_line(cmdline: str) -> str:
    """Give the kernel's command line: where it is not told of a console, a serial one; and that a panic is its end."""
    given = list(takewhile(lambda word: word != "--", _WORD.findall(cmdline)))  # what follows is for init
    console = [] if any(word.startswith("console=") for word in given) else [CONSOLE]
    panic = [] if any(word.startswith("panic=") for word in given) else [REBOOT_ON_PANIC]
    return " ".join([*console, *panic, *(["quiet"] if console else []), cmdline]).strip()


def how_ended(status: int | None) -> str:
    """Say how a process ended."""
    if status is not None and status < 0:
        return f"by signal {-status}"
    return f"with exit status {status}"


def _check_disk(config: VmConfig, qemu: QemuProcess) -> None:
    if qemu.stderr_has("Failed to get") and qemu.stderr_has("lock"):
        disk = next((each for each in config.disks if qemu.stderr_has(f"[{each}]")), config.disks[0])
        raise VmmError(f"{disk}: another process uses this disk; stop it, or give another")


def _die_with_parent() -> None:
    """Have the kernel end QEMU when the monitor is killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _pump(source: asyncio.StreamReader, sink: Callable[[bytes], object]) -> None:
    """Hand over what comes, to what never waits."""
    while data := await source.read(CHUNK_BYTES):
        sink(data)
