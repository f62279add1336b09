"""One ioctl, and its errno as a KvmError."""

from __future__ import annotations

import fcntl

from rondo_vmm.errors import KvmError
from rondo_vmm.kvm import uapi


def call(descriptor: int, request: int, argument: int | bytes | bytearray = 0) -> int:
    """Make the call and give its result; a bytearray is filled in by the kernel.

    Raises: KvmError: it failed; the message names the request.
    """
    try:
        if isinstance(argument, bytearray):
            return int(fcntl.ioctl(descriptor, request, argument, True))
        if isinstance(argument, bytes):
            fcntl.ioctl(descriptor, request, argument)
            return 0
        return int(fcntl.ioctl(descriptor, request, argument))
    except OSError as error:
        raise KvmError(uapi.NAMES.get(request, hex(request)), error.errno or 0) from None
