"""Resource limits: whether this process may map what a machine needs. Met later, one ends it by a signal, or hangs."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from rondo_vmm.errors import VmmError

SPARE_BYTES = 24 << 20  # the store's files, what recording imports, and the heap
UNICORN_BYTES = 40 << 20  # its library, what it translates, and what it knows of the guest's memory
THREADS, UNICORN_THREADS = 3, 2  # beside the CPUs' own: the tick's, the signals', the store's; and unicorn's timers
UNLIMITED_STACK_BYTES = 8 << 20  # glibc's is less where there is no limit
_M_ARENA_MAX = -8  # Source: mallopt(3), malloc.h
_STATM = Path("/proc/self/statm")
# Each limit, the field of statm that counts towards it, in pages, and how a shell sets it. Source: proc(5).
_LIMITS = ((resource.RLIMIT_AS, 0, "ulimit -v"), (resource.RLIMIT_DATA, 5, "ulimit -d"))


def share_heap() -> None:
    """Where address space is limited, let all threads share one heap: glibc reserves 64 MiB for one of each thread's.

    To be called before there are threads.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    import ctypes

    with suppress(AttributeError, OSError):  # another libc has no such heaps
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def check_rlimits(vcpus: int, *, soft: bool) -> None:
    """See that there is room for a machine's threads and what else it maps; the guest's memory is mapped by now.

    Raises: VmmError: this process may not map that much.
    """
    limits = [(*resource.getrlimit(limit)[:1], field, how) for limit, field, how in _LIMITS]
    if all(most == resource.RLIM_INFINITY for most, _, _ in limits):
        return
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if stack == resource.RLIM_INFINITY:
        stack = UNLIMITED_STACK_BYTES
    needed = SPARE_BYTES + (vcpus + THREADS + UNICORN_THREADS * soft) * stack + UNICORN_BYTES * soft
    pages = _STATM.read_text(encoding="ascii").split()
    for most, field, how in limits:
        used = int(pages[field]) * resource.getpagesize()
        if most != resource.RLIM_INFINITY and most - used < needed:
            what = f"{max(0, most - used) >> 20} MiB are left for a machine that needs {needed >> 20}"
            raise VmmError(f"not enough memory for this process: {what}; give it more ({how})")


def allow_open_files() -> None:
    """Allow this process as many open files as it may allow itself: each store that it writes has a dozen."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # it stays as it is: a store that cannot be opened is said
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
