"""What a pidfd says of a process that has ended, also to one that is not its parent: Linux 6.15 and newer."""

from __future__ import annotations

import fcntl
import select
import struct

_EXIT = 1 << 3  # PIDFD_INFO_EXIT: asked for, and given where it is known
# struct pidfd_info in its first form, of 64 bytes: mask and cgroup (u64), pid, tgid, ppid, eight ids (u32), exit code.
_INFO = struct.Struct("<QQ11Ii")
_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
_HANGUP_MS = 2000  # a parent that lives reaps at once; one that does not hides the status


def exit_status(pidfd: int, wait_ms: int = 0) -> int | None:
    """Give the wait status of a process that has ended; None: it has not been waited for, or the kernel does not tell.

    Args: `wait_ms`: for how long to wait for its parent to reap it.
    Source: linux/pidfd.h, PIDFD_GET_INFO.
    """
    if wait_ms:
        poll = select.poll()
        poll.register(pidfd, select.POLLHUP)
        poll.poll(wait_ms)
    try:
        info = fcntl.ioctl(pidfd, _GET_INFO, _INFO.pack(_EXIT, *[0] * 12, 0))
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(info)
    return status if mask & _EXIT else None


def has_ended(pidfd: int) -> bool:
    """Say whether the process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def status_when_reaped(pidfd: int) -> int | None:
    """Wait for a parent that lives to reap a process that has ended, and give its status; see `exit_status`."""
    return exit_status(pidfd, _HANGUP_MS)
