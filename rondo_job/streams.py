"""What is written to a stream whole: pipes and terminals take less than they are given, or nothing for a while."""

from __future__ import annotations

import os


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor, however long that takes. Raises: OSError: who reads it is gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares it has made it non-blocking
            import select

            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
