"""Which monitor listens at a socket, found out without a word to one that is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import attrs

from rondo_core.errors import one_line
from rondo_vmm.errors import QmpError
from rondo_vmm.firecracker.api import FirecrackerApi, peer_of
from rondo_vmm.plugins.proc import read_proc

GREETING_S = 1.0
PROGRAM = b"firecracker"
_GREETING = b'{"QMP"'
_METRICS_OPTION = b"--metrics-path"


@attrs.frozen
class Probed:
    """A monitor of process `pid`, 0 where that is not known here: a QEMU's connected socket, or a Firecracker's API."""

    pid: int
    qmp: socket.socket | None = None
    api: FirecrackerApi | None = None


async def probe(path: Path) -> Probed:
    """Connect and see. QEMU greets of itself; only a process that is called firecracker is asked anything.

    Raises: QmpError, ApiError: no one listens there, or no monitor does, or one that another client holds.
    """
    loop = asyncio.get_running_loop()
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connected.setblocking(False)
        await loop.sock_connect(connected, str(path))
        pid = peer_of(connected)
        if _is_firecracker(pid):
            connected.close()
            api = FirecrackerApi(path)
            await api.get("/")
            return Probed(pid, api=api)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_readable(connected), GREETING_S)
            if connected.recv(len(_GREETING), socket.MSG_PEEK) == _GREETING:
                return Probed(pid, qmp=connected)
    except BlockingIOError:
        connected.close()
        raise QmpError(f"{path}: its monitor takes no more clients; give QEMU a -qmp of rondo's own") from None
    except OSError as error:
        connected.close()
        raise QmpError(f"{path}: {error.strerror or one_line(error)}; no monitor listens there") from None
    except BaseException:
        connected.close()
        raise
    connected.close()
    mend = "give QEMU a -qmp of rondo's own there, and keep sockets of other kinds elsewhere"
    raise QmpError(f"{path}: no monitor, or another client holds it; {mend}")


async def _readable(connected: socket.socket) -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connected, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(connected)


def _is_firecracker(pid: int) -> bool:
    try:
        return bool(pid) and read_proc(f"/proc/{pid}/comm").startswith(PROGRAM)
    except OSError:
        return False


def metrics_of(api: FirecrackerApi) -> Path | None:
    """Give where a Firecracker writes its metrics: what its command line names, else NAME.metrics beside its socket.

    None: neither is there. A path of a jailed one is looked up in its jail.
    """
    beside = api.path.with_suffix(".metrics")
    try:
        words = read_proc(f"/proc/{api.pid}/cmdline").split(b"\0")
    except OSError:
        words = []
    for word, following in zip(words, [*words[1:], b""], strict=True):
        option, _, value = word.partition(b"=")
        if option == _METRICS_OPTION and (value or following):
            named = (value or following).decode(errors="surrogateescape")
            home = "root" if named.startswith("/") else "cwd"
            inside = Path(f"/proc/{api.pid}/{home}", named.lstrip("/"))
            return inside if inside.exists() else None
    return beside if beside.exists() else None
