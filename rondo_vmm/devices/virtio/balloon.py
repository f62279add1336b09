"""virtio-balloon, section 5.5: pages that the guest gives up go back to the host, and it tells how it fares."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import attrs

from rondo_vmm.devices.virtio.queue import Chain, Queue, QueueError, total_bytes
from rondo_vmm.memory import GuestMemory

# Source: section 5.5.3, feature bits, and 5.5.6: a page of the balloon has 4096 bytes whatever the guest's are.
F_STATS_VQ, F_DEFLATE_ON_OOM = 1 << 1, 1 << 2
INFLATE, DEFLATE, STATS = range(3)
PAGE_BYTES = 4096
CONFIG = struct.Struct("<II")  # pages wanted by the host, pages given by the guest
ACTUAL_OFFSET = 4
STATISTIC = struct.Struct("<HQ")
MAX_PAGES = 16 << 10  # in one chain; Linux sends 256
MAX_STATISTICS = 64

# Source: section 5.5.6.4, memory statistics tags, in order: bytes, but for faults and allocations, which are counted.
TAGS = (
    "swap_in",
    "swap_out",
    "major_faults",
    "minor_faults",
    "free",
    "total",
    "available",
    "disk_caches",
    "hugetlb_allocations",
    "hugetlb_failures",
)


@attrs.frozen
class BalloonState:
    """How a balloon stands.

    Attributes: `target_bytes`: what the host wants given up; `actual_bytes`: what the guest says it gave up;
    `statistics`: the guest's last, by the names in TAGS, as it counts them; none before it has told any.
    """

    target_bytes: int
    actual_bytes: int
    statistics: Mapping[str, int]


class Balloon:
    """Guest memory that shrinks and grows.

    Attributes: `target_pages`: what the host wants given up; `actual_pages`: what the guest says it gave up;
    `statistics`: the guest's last, by the names in TAGS, as it counts them; a new dict each time.
    """

    device_id = 5
    features = F_STATS_VQ | F_DEFLATE_ON_OOM
    queue_sizes = (128, 128, 16)

    def __init__(self, memory: GuestMemory) -> None:
        """Start empty."""
        self._memory = memory
        self.target_pages = 0
        self._asked_for: tuple[Queue, int] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the guest's side; what the host wants stays."""
        self.actual_pages = 0
        self.statistics: dict[str, int] = {}
        self._asked_for = None

    def accept(self, features: int) -> None:
        """A queue that is not there is not served."""

    def config(self) -> bytes:
        """Give what is wanted and what was given, pages."""
        return CONFIG.pack(self.target_pages, self.actual_pages)

    def write_config(self, offset: int, data: bytes) -> None:
        """Learn how many pages the guest has given up, at most all of them."""
        if offset == ACTUAL_OFFSET and len(data) == 4:
            self.actual_pages = min(int.from_bytes(data, "little"), self._memory.size_bytes // PAGE_BYTES)

    def notify(self, index: int, queue: Queue) -> None:
        """Serve a queue. Raises: QueueError, GuestMemoryError."""
        for _ in range(queue.waiting()):
            chain = queue.pop()
            if index == STATS:
                self._take_statistics(queue, chain)
                continue
            pages = _pages(chain)
            for first, count in _runs(pages):
                self._memory.check(first * PAGE_BYTES, count * PAGE_BYTES)
                if index == INFLATE:
                    self._memory.release(first * PAGE_BYTES, count * PAGE_BYTES)
            queue.push(chain.head, 0)

    def _take_statistics(self, queue: Queue, chain: Chain) -> None:
        """Keep the statistics, and their chain: to hand it back is to ask for the next."""
        size = min(total_bytes(chain.readable), MAX_STATISTICS * STATISTIC.size)
        data = chain.take(size - size % STATISTIC.size)
        told = {tag: value for tag, value in STATISTIC.iter_unpack(data) if tag < len(TAGS)}
        self.statistics = {TAGS[tag]: value for tag, value in sorted(told.items())}
        if self._asked_for is not None:
            queue.push(self._asked_for[1], 0)
        self._asked_for = (queue, chain.head)

    # -- the host's side, inside the transport's `run`

    def ask(self) -> None:
        """Ask the guest for its statistics; without an answer to the last asking this does nothing."""
        if self._asked_for is not None and self._asked_for[0].ready:
            queue, head = self._asked_for
            self._asked_for = None
            queue.push(head, 0)

    @property
    def state(self) -> BalloonState:
        """Say how it stands."""
        return BalloonState(self.target_pages * PAGE_BYTES, self.actual_pages * PAGE_BYTES, self.statistics)

    def want(self, size_bytes: int) -> None:
        """Want that much given up, whole pages of it, as far as there is memory."""
        self.target_pages = min(max(size_bytes, 0), self._memory.size_bytes) // PAGE_BYTES


def _pages(chain: Chain) -> list[int]:
    size = total_bytes(chain.readable)
    if not size or size % 4 or size > MAX_PAGES * 4:
        raise QueueError(f"balloon of {size} bytes of page numbers: 4 each, at most {MAX_PAGES} of them")
    return [number for (number,) in struct.iter_unpack("<I", chain.take(size))]


def _runs(pages: list[int]) -> list[tuple[int, int]]:
    """Give (first page, count) of neighbouring pages, so that the host is asked once for each."""
    runs: list[tuple[int, int]] = []
    for page in sorted(set(pages)):
        if runs and sum(runs[-1]) == page:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((page, 1))
    return runs
