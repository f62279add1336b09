"""One QMP connection: connect, ask, learn of events; every failure is a QmpError of one line.

Source: docs/interop/qmp-spec of QEMU; the protocol itself is the package qemu.qmp's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from rondo_core.errors import one_line
from rondo_vmm.errors import QmpError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

CONNECT_S = 5.0
_UCRED = struct.Struct("iII")
Question = tuple[str, Mapping[str, object]]


class Qmp:
    """A connected monitor, used by one event loop.

    Attributes: `where` names it in errors; `peer`: the process that listened at the socket, by the kernel's own word;
    0 where that is in no namespace that can be seen from here.
    """

    def __init__(self, client: QMPClient, where: str, peer: int = 0) -> None:
        """Wrap a client that is connected; `connect` makes both."""
        self._client, self.where, self.peer = client, where, peer

    @classmethod
    async def connect(cls, address: str | socket.socket, where: str, timeout_s: float = CONNECT_S) -> Self:
        """Connect to the socket at that path, or take one that is connected.

        Raises: QmpError: the package qemu.qmp is missing, the socket is missing, is no QMP monitor's, or is silent.
        """
        client = _new_client()
        connected: socket.socket | None = None
        try:
            if isinstance(address, str):
                connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                connected.setblocking(False)
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connected, address), timeout_s)
            taken = address if connected is None else connected
            peer = _peer(taken)
            await asyncio.wait_for(client.connect(taken), timeout_s)
        except TimeoutError:
            _close(connected)
            mend = "another client holds this monitor, or its QEMU hangs; give QEMU a -qmp of rondo's own"
            raise QmpError(f"{where}: no greeting in {timeout_s:g} s; {mend}") from None
        except Exception as error:  # noqa: BLE001 - of many classes; each means that there is no session
            _close(connected)
            raise QmpError(f"{where}: {_why(error)}") from None
        return cls(client, where, peer)

    async def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Execute a command and give what it returns. Raises: QmpError: it was refused, or the connection is lost."""
        try:
            return await self._client.execute(command, dict(arguments or {}))
        except Exception as error:  # noqa: BLE001 - of many classes; each means that there is no answer
            raise QmpError(f"{self.where}: {command}: {one_line(error)}") from None

    async def ask_all(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """Ask one after the other, and leave out those that were refused. Raises: QmpError: the connection is lost."""
        answers = {}
        for key, (command, arguments) in questions.items():
            try:
                answers[key] = await self.ask(command, arguments)
            except QmpError:
                if not self.connected:
                    raise
        return answers

    async def next_event(self) -> tuple[str, Mapping[str, Any]]:
        """Wait for an event: its name and its data."""
        event = await self._client.events.get()
        data = event.get("data")
        return str(event.get("event")), data if isinstance(data, dict) else {}

    @property
    def connected(self) -> bool:
        """Whether the other side still listens, as far as is known."""
        return bool(self._client.runstate.name == "RUNNING")

    async def lost(self) -> None:
        """Wait until the connection is lost."""
        while self.connected:
            await self._client.runstate_changed()

    async def close(self) -> None:
        """Release the connection; what went wrong with it is known already."""
        with contextlib.suppress(Exception):
            await self._client.disconnect()


def _peer(connected: str | socket.socket) -> int:
    """Give the process at the other end. Source: unix(7), SO_PEERCRED, struct ucred."""
    assert isinstance(connected, socket.socket)  # noqa: S101 - for the type checker
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, _, _ = _UCRED.unpack(data)
    return int(pid)


def _close(connected: socket.socket | None) -> None:
    if connected is not None:
        connected.close()


def _new_client() -> QMPClient:
    try:
        from qemu.qmp import QMPClient
    except ImportError:
        raise QmpError("the package qemu.qmp is not installed; pip install qemu.qmp") from None
    logger = logging.getLogger("qemu.qmp")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # what it would print is raised as well
    return QMPClient("rondo")


def _why(error: Exception) -> str:
    """Say what kept the session from being established, and the mend."""
    from qemu.qmp import ConnectError

    cause = getattr(error, "exc", error)
    if isinstance(cause, FileNotFoundError):
        return "no such socket; start QEMU with -qmp unix:PATH,server=on,wait=off"
    if isinstance(cause, ConnectionRefusedError):
        return "no one listens there; its QEMU has ended"
    if isinstance(cause, OSError) and (cause is error or isinstance(error, ConnectError)):
        return f"{cause.strerror or cause}; give the path of a QMP socket"
    return "does not speak QMP; give the path of a socket made by QEMU's -qmp"
