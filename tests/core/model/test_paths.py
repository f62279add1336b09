"""Small files that someone names are read whole, or not at all."""

import os

import pytest

from rondo_core.model import paths


@pytest.mark.parametrize(("pieces", "limit"), [((1, 1, 8, 8), 17), ((17, 1), 17), ((3, 5), 7), ((18,), 17)])
def test_a_file_that_comes_in_pieces_is_refused_by_what_they_are_together(tmp_path, monkeypatch, pieces, limit):
    """Whatever the size of each: as a pipe gives them, or a file that grows while it is read."""
    (tmp_path / "named").write_bytes(b"")
    whole = [bytes([number]) * size for number, size in enumerate(pieces)]
    for allowed in (limit, limit + 1):
        coming = [*whole, b""]
        monkeypatch.setattr(os, "read", lambda _descriptor, size, coming=coming: piece(coming, size))
        if allowed < sum(pieces):
            with pytest.raises(OSError, match=f"more than {allowed} bytes"):
                paths.read_named(tmp_path / "named", allowed)
        else:
            assert paths.read_named(tmp_path / "named", allowed) == b"".join(whole)


def piece(coming, size):
    """Give the next piece, no more than is asked for; the rest is the next one."""
    first = coming.pop(0)
    if len(first) > size:
        coming.insert(0, first[size:])
    return first[:size]
