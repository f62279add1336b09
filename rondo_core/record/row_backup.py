"""A copy of the newest row while its slot is overwritten, so that a process killed in between does not take the totals.

The copy lies in the slot of the bucket before, where no reader looks; an odd sequence says that it is whole, and whose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo_core import faults
from rondo_core.model import layout, ring

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells, Slab, Words


def back_up(slab: Slab, bucket: int, newest: int, cells: Cells) -> Words:
    """Copy the cells of the bucket `newest` into the slot of `bucket`.

    Returns: the copy's header; a step of its sequence, [1], gives the copy up.
    """
    slot = ring.slot_of(bucket, slab.spec.slot_count)
    header = slab.row_header(slot)
    header[0] = ~bucket
    header[1] = 2 * newest
    slab.row_cells(slot)[:] = cells
    header[1] += 1
    return header


def recover(slab: Slab, *, copies: bool) -> None:
    """Mend what a killed writer left: rows in the middle of a batch and, with `copies`, a newest row in part."""
    if slab.blank:
        return
    slots = slab.spec.slot_count
    first, step = slab.row_word(0), slab.row_words
    sequences = slab.words[first + 1 : first + slots * step : step].tolist()
    odd = [slot for slot, sequence in enumerate(sequences) if sequence % 2] if any(sequences) else []
    if odd:
        slab.change()
    for slot in odd:
        staged = slab.row_header(slot)
        home = slab.row_header(ring.slot_of(sequences[slot] // 2, slots))
        if copies and staged[0] < 0 and home[0] == staged[0] - 1:
            slab.row_cells(ring.slot_of(sequences[slot] // 2, slots))[:] = slab.row_cells(slot)
            faults.point("recover.copied")
            home[0] = sequences[slot] // 2
        faults.point("recover.restored")
        # The seal above the sequence stays what it is: a damaged one may leave no room for a carry.
        staged[1] = staged[1] & ~layout.SEQUENCE_MASK | (staged[1] + 1) & layout.SEQUENCE_MASK
    if odd:
        slab.changed()
